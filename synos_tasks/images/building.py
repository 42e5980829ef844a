"""Build images of this project: each only once, and one command at a time."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.engine.failures import check_versions
from synos_tasks.engine.labels import LABEL_BASE, LABEL_PROJECT, image_labels
from synos_tasks.errors import ImageBuildFailed
from synos_tasks.images import ledger
from synos_tasks.images.base import ensure_base
from synos_tasks.images.dockerfile import steps_of
from synos_tasks.images.recipe import tag_of
from synos_tasks.images.steps import Steps
from synos_tasks.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from synos_tasks.engine.client import Docker
    from synos_tasks.images.recipe import Recipe
    from synos_tasks.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image that was built. Size in bytes; few seconds where no step changed."""

    name: str
    tag: str
    bytes: int
    seconds: float


def ensure_image(settings: Settings, docker: Docker, recipe: Recipe, say: Callable[[str], None]) -> str:
    """Build an image unless it is there; return its tag.

    Raises EngineUnavailable, EngineTooOld, ImageBuildFailed, or HostUnfit and MirrorUnreachable without a base.
    """
    tag = tag_of(settings.project, recipe)
    if docker.image_id(tag):
        return tag
    check_versions(docker.info())
    with one_at_a_time(settings):
        if docker.image_id(tag):
            return tag
        ensure_base(settings, docker, recipe.base, say)
        say(f"building image {tag} (once, until its Dockerfile changes)")
        return build_image(settings, docker, recipe, say).tag


def build_images(
    settings: Settings,
    docker: Docker,
    say: Callable[[str], None],
    recipes: Sequence[Recipe],
    *,
    cached: bool = True,
) -> list[Built]:
    """Build images, in order, whether they are there or not. Raises as ensure_image() does."""
    check_versions(docker.info())
    with one_at_a_time(settings):
        for base in dict.fromkeys(recipe.base for recipe in recipes):
            ensure_base(settings, docker, base, say)
        found = []
        for recipe in recipes:
            say(f"building image {tag_of(settings.project, recipe)}")
            found.append(build_image(settings, docker, recipe, say, cached=cached))
        return found


def build_image(
    settings: Settings,
    docker: Docker,
    recipe: Recipe,
    say: Callable[[str], None],
    *,
    cached: bool = True,
    tag: str = "",
) -> Built:
    """Build an image, as ``tag`` or as its own. The caller has the base and the lock.

    Raises ImageBuildFailed or MirrorUnreachable.
    """
    tag = tag or tag_of(settings.project, recipe)
    dockerfile = settings.project.root / recipe.dockerfile
    began = time.monotonic()
    docker.build_image(
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
        Steps(say),
    )
    seconds = round(time.monotonic() - began, 2)
    image = docker.image(tag)
    if image is None:
        raise ImageBuildFailed(
            "an image was removed while it was built", where=tag, hint="run the command again"
        )
    steps = steps_of(dockerfile.read_text())
    ledger.remember(settings.project.state_dir, ident=image.id, tag=tag, seconds=seconds, steps=steps)
    return Built(name=recipe.name, tag=tag, bytes=image.size or 0, seconds=seconds)


def _certificates() -> list[Path]:
    """Return the file with the certificates that this host trusts, for packages that a build fetches."""
    path = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    # BuildKit refuses larger secrets
    return [path] if path.is_file() and path.stat().st_size <= 500 * 1024 else []


@contextmanager
def one_at_a_time(settings: Settings, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock of this clone's images; ``waiting`` is called before it waits for another command."""
    settings.project.state_dir.mkdir(parents=True, exist_ok=True)
    with exclusive(settings.project.state_dir / "image.lock", waiting):
        yield


def remove_nameless(settings: Settings, docker: Docker, ident: str) -> None:
    """Remove an image of this project that has no name left; the engine keeps one that is in use."""
    image = docker.image(ident)
    if image is not None and not image.repo_tags:
        labels = image.config.labels or {}
        if settings.project.id in (labels.get(LABEL_PROJECT), labels.get(LABEL_BASE)):
            docker.remove_image(ident)
