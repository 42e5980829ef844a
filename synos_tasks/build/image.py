"""The images of docker/build: the builder and the boot tester, and the Debian base under them."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from synos_tasks.build import base_image
from synos_tasks.engine.gateway import check_versions
from synos_tasks.engine.spec import labels
from synos_tasks.errors import ImageBuildFailed, MirrorUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.settings import Settings

BASE = "debian:bookworm-slim"
DOCKERFILES = {"builder": "docker/build/Dockerfile", "boot": "docker/build/boot.Dockerfile"}


def tag_of(settings: Settings, name: str) -> str:
    """Give the tag of an image of ours: it changes with its Dockerfile, so a stale image is never used."""
    dockerfile = settings.root / DOCKERFILES[name]
    digest = hashlib.sha256(dockerfile.read_bytes()).hexdigest()[:12]
    return f"synos-{name}:{digest}"


def ensure_image(settings: Settings, engine: Engine, name: str, say: Callable[[str], None]) -> str:
    """Build the image ``name`` ("builder" or "boot") unless it is there; returns its tag.

    Raises EngineUnavailable, EngineTooOld, ImageBuildFailed, or MirrorUnreachable when no base image is to be had.
    """
    tag = tag_of(settings, name)
    if engine.image_id(tag):
        return tag
    check_versions(engine.facts())  # no image, or nobody who would know of it
    with _one_at_a_time(settings.state_dir / "image.lock"):
        if engine.image_id(tag):
            return tag
        ensure_base(settings, engine, say)
        say(f"building image {tag} (once, until its Dockerfile changes)")
        steps = _Steps(say)
        engine.build(
            [
                f"--tag={tag}",
                f"--tag=synos-{name}:latest",
                f"--file={settings.root / DOCKERFILES[name]}",
                f"--build-arg=MIRROR={settings.build.mirror}",
                *(f"--label={k}={v}" for k, v in labels(settings.project_id, "build").items()),
                str(settings.root),
            ],
            steps,
        )
    return tag


def ensure_base(settings: Settings, engine: Engine, say: Callable[[str], None]) -> None:
    """Have debian:bookworm-slim: local, else from a registry, else bootstrapped from the Debian mirror.

    Raises MirrorUnreachable or ImageBuildFailed.
    """
    if engine.image_id(BASE):
        return
    say(f"base image {BASE}: asking the registry")
    if engine.pull(BASE, timeout=settings.build.registry_timeout):
        return
    say(f"base image {BASE}: no registry answers; bootstrapping it from {settings.build.mirror}")
    base_image.bootstrap(settings, engine, BASE)


class _Steps:
    """Turns BuildKit's events into a line per step, and keeps the last words for an error."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._seen: set[str] = set()

    def __call__(self, event: dict[str, Any]) -> None:
        for vertex in event.get("vertexes") or []:
            name, ident = vertex.get("name", ""), vertex.get("digest", "")
            if vertex.get("completed") and ident not in self._seen and not name.startswith("[internal]"):
                self._seen.add(ident)
                cached = " (cached)" if vertex.get("cached") else ""
                self._say(f"  {name.split(' && ')[0][:100]}{cached}")
            if vertex.get("error"):
                raise_for(name, vertex["error"])


def raise_for(step: str, message: str) -> None:
    """Raise the error for a failed step of an image's build."""
    if "Could not resolve" in message or "Failed to fetch" in message:
        raise MirrorUnreachable("the package mirror does not answer", where=step[:200], why=message)
    raise ImageBuildFailed("a step of an image's build failed", where=step[:200], why=message)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock file: the second of two commands waits for the first one's image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
