"""Build images of this project: each only once, and one command at a time."""

from __future__ import annotations

import base64
import datetime as dt
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from synos_tasks.engine.failures import check_versions
from synos_tasks.engine.labels import LABEL_BASE, LABEL_PROJECT, image_labels
from synos_tasks.errors import ImageBuildFailed, MirrorUnreachable
from synos_tasks.images import ledger
from synos_tasks.images.base import ensure_base
from synos_tasks.images.dockerfile import steps_of
from synos_tasks.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from synos_tasks.images import Context
    from synos_tasks.images.catalog import Recipe
    from synos_tasks.settings import Settings

LAST_OUTPUT = 4000
"""Bytes of a step's output that are kept for an error."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image that was built. Size in bytes; few seconds where no step changed."""

    name: str
    tag: str
    bytes: int
    seconds: float


def ensure_image(context: Context, recipe: Recipe) -> str:
    """Build an image unless it is there; return its tag.

    Raises EngineUnavailable, EngineTooOld, ImageBuildFailed, or HostUnfit and MirrorUnreachable without a base.
    """
    docker, tag = context.docker, recipe.tag(context.settings.project)
    if docker.image_id(tag):
        return tag
    check_versions(docker.info())
    with one_at_a_time(context.settings):
        if not docker.image_id(tag):
            ensure_base(context, recipe.base)
            context.say(f"building image {tag} (once, until its Dockerfile changes)")
            build_image(context, recipe)
    return tag


def build_images(context: Context, recipes: Sequence[Recipe], *, cached: bool = True) -> list[Built]:
    """Build images, in order, whether they are there or not. Raises as ensure_image() does."""
    check_versions(context.docker.info())
    with one_at_a_time(context.settings):
        for base in dict.fromkeys(recipe.base for recipe in recipes):
            ensure_base(context, base)
        found = []
        for recipe in recipes:
            context.say(f"building image {recipe.tag(context.settings.project)}")
            found.append(build_image(context, recipe, cached=cached))
        return found


def build_image(context: Context, recipe: Recipe, *, cached: bool = True) -> Built:
    """Build an image. The caller has the base and the lock. Raises ImageBuildFailed or MirrorUnreachable."""
    settings, tag = context.settings, recipe.tag(context.settings.project)
    dockerfile = settings.project.root / recipe.dockerfile
    began = time.monotonic()
    context.docker.build_image(
        [
            f"--tag={tag}",
            f"--file={dockerfile}",
            *([f"--target={recipe.target}"] if recipe.target else []),
            *([] if cached else ["--no-cache"]),
            *(f"--build-arg={argument}" for argument in recipe.build_args),
            *(f"--secret=id=certificates,src={path}" for path in _certificates()),
            *(f"--label={k}={v}" for k, v in image_labels(settings.project.id, recipe.role, tag).items()),
            str(settings.project.root),
        ],
        Steps(context.say),
    )
    seconds = round(time.monotonic() - began, 2)
    image = context.docker.image(tag)
    if image is None:
        raise ImageBuildFailed(
            "an image was removed while it was built", where=tag, hint="run the command again"
        )
    steps = steps_of(dockerfile.read_text())
    ledger.remember(settings.project.state_dir, ident=image.id, tag=tag, seconds=seconds, steps=steps)
    return Built(name=recipe.name, tag=tag, bytes=image.size or 0, seconds=seconds)


def host_certificates() -> Path:
    """Return where the certificates are that this host trusts."""
    return Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")


def _certificates() -> list[Path]:
    """Return the file with certificates for packages that a build fetches."""
    path = host_certificates()
    # BuildKit refuses larger secrets
    return [path] if path.is_file() and path.stat().st_size <= 500 * 1024 else []


@contextmanager
def one_at_a_time(settings: Settings, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock of this clone's images; ``waiting`` is called before it waits for another command."""
    settings.project.state_dir.mkdir(parents=True, exist_ok=True)
    with exclusive(settings.project.state_dir / "image.lock", waiting):
        yield


def remove_nameless(context: Context, ident: str) -> None:
    """Remove an image of this project that has no name left; the engine keeps one that is in use."""
    image = context.docker.image(ident)
    if image is not None and not image.repo_tags:
        labels = image.config.labels or {}
        if context.settings.project.id in (labels.get(LABEL_PROJECT), labels.get(LABEL_BASE)):
            context.docker.remove_image(ident)


class Steps:
    """Turn BuildKit's events into a line per step, and keep the last output of each for an error."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._shown: set[str] = set()
        self._output: dict[str, bytes] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event; raises ImageBuildFailed or MirrorUnreachable for a failed step."""
        for log in event.get("logs") or []:
            output = self._output.get(log["vertex"], b"") + base64.b64decode(log.get("data") or "")
            self._output[log["vertex"]] = output[-LAST_OUTPUT:]
        for vertex in event.get("vertexes") or []:
            name, ident, error = (vertex.get(key, "") for key in ("name", "digest", "error"))
            if vertex.get("completed") and ident not in self._shown and not name.startswith("[internal]"):
                self._shown.add(ident)
                took = "cached" if vertex.get("cached") else f"{_seconds(vertex):.1f} s"
                self._say(f"  {took:>7}  {name.split(' && ')[0][:90]}")
            # other steps are canceled when one fails; they are not the cause
            if error and "context canceled" not in error:
                self._fail(name, self._output.get(ident, b"").decode(errors="replace"), error)

    def _fail(self, step: str, output: str, error: str) -> NoReturn:
        why = "\n".join([*output.splitlines()[-8:], error])
        if "Could not resolve" in why or "Failed to fetch" in why:
            raise MirrorUnreachable("the package mirror does not answer", where=step[:200], why=why)
        raise ImageBuildFailed("a step of an image's build failed", where=step[:200], why=why)


def _seconds(vertex: dict[str, Any]) -> float:
    try:
        began, ended = (dt.datetime.fromisoformat(vertex[key]) for key in ("started", "completed"))
    except (KeyError, ValueError, TypeError):
        return 0.0
    return (ended - began).total_seconds()
