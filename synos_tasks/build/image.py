"""The images of docker/build: the builder and the boot tester, and the Debian base under them."""

from __future__ import annotations

import base64
import datetime as dt
import fcntl
import hashlib
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.build import base_image
from synos_tasks.engine.gateway import check_versions
from synos_tasks.engine.spec import labels
from synos_tasks.errors import ImageBuildFailed, MirrorUnreachable
from synos_tasks.iso.digests import of_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.settings import Settings

BASE = "debian:bookworm-slim"
LAST_WORDS = 4000
"""Bytes of a step's output that are kept for an error."""
CANCELED = "context canceled"
"""What BuildKit says of the steps beside one that fails; they are not to blame."""


@dataclass(frozen=True)
class Recipe:
    """How an image of ours is made: files of the project, and the stage of the Dockerfile."""

    dockerfile: str
    target: str = ""
    copied: str = ""
    """Folder whose files the stage copies."""


RECIPES = {
    "builder": Recipe("docker/build/Dockerfile", "runtime", "docker/build/image"),
    "toolchain": Recipe("docker/build/Dockerfile", "toolchain", "docker/build/image"),
    "boot": Recipe("docker/build/boot.Dockerfile"),
}


def tag_of(settings: Settings, name: str) -> str:
    """Give the tag of an image of ours: it changes with all that it is made of, so a stale image is never used."""
    recipe = RECIPES[name]
    found = hashlib.sha256((settings.root / recipe.dockerfile).read_bytes())
    if recipe.copied:
        found.update(of_folder(settings.root / recipe.copied).encode())
    return f"synos-{name}:{found.hexdigest()[:12]}"


def ensure_image(settings: Settings, engine: Engine, name: str, say: Callable[[str], None]) -> str:
    """Build an image of RECIPES unless it is there; returns its tag.

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
        build_image(settings, engine, name, say)
    return tag


def build_image(
    settings: Settings, engine: Engine, name: str, say: Callable[[str], None], *, cached: bool = True
) -> str:
    """Build an image, with what BuildKit has of its steps unless not ``cached``; returns its tag."""
    recipe, tag = RECIPES[name], tag_of(settings, name)
    engine.build(
        [
            f"--tag={tag}",
            f"--file={settings.root / recipe.dockerfile}",
            *([f"--target={recipe.target}"] if recipe.target else []),
            *([] if cached else ["--no-cache"]),
            *(f"--label={k}={v}" for k, v in labels(settings.project_id, "build").items()),
            str(settings.root),
        ],
        Steps(say),
    )
    return tag


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image that is there. Size in bytes; seconds that its build took, little where nothing changed."""

    name: str
    tag: str
    bytes: int
    seconds: float


def build_images(
    settings: Settings,
    engine: Engine,
    say: Callable[[str], None],
    *,
    names: Sequence[str] = ("toolchain", "builder"),
    cached: bool = True,
) -> list[Built]:
    """Build images of RECIPES, whether they are there or not. Raises as ensure_image() does."""
    check_versions(engine.facts())
    found = []
    with _one_at_a_time(settings.state_dir / "image.lock"):
        ensure_base(settings, engine, say)
        for name in names:
            began = time.monotonic()
            say(f"building image {tag_of(settings, name)}")
            tag = build_image(settings, engine, name, say, cached=cached)
            seconds = round(time.monotonic() - began, 2)
            found.append(Built(name=name, tag=tag, bytes=engine.image_bytes(tag), seconds=seconds))
    return found


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


class Steps:
    """Turns BuildKit's events into a line per step, and keeps the last words for an error."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._seen: set[str] = set()
        self._said: dict[str, bytes] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event; raises ImageBuildFailed or MirrorUnreachable when it tells of a failed step."""
        for log in event.get("logs") or []:
            said = self._said.get(log["vertex"], b"") + base64.b64decode(log.get("data") or "")
            self._said[log["vertex"]] = said[-LAST_WORDS:]
        for vertex in event.get("vertexes") or []:
            name, ident = vertex.get("name", ""), vertex.get("digest", "")
            if vertex.get("completed") and ident not in self._seen and not name.startswith("[internal]"):
                self._seen.add(ident)
                took = "cached" if vertex.get("cached") else f"{_seconds(vertex):.1f} s"
                self._say(f"  {took:>7}  {name.split(' && ')[0][:90]}")
            if vertex.get("error") and CANCELED not in vertex["error"]:
                lines = self._said.get(ident, b"").decode(errors="replace").splitlines()
                raise_for(name, "\n".join([*lines[-8:], vertex["error"]]))


def _seconds(vertex: dict[str, Any]) -> float:
    try:
        began, ended = (
            dt.datetime.fromisoformat(vertex[key][:26].rstrip("Z") + "+00:00")
            for key in ("started", "completed")
        )
    except (KeyError, ValueError, TypeError):
        return 0.0
    return (ended - began).total_seconds()


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
