"""Has the engine build images of ours, each only once and one command at a time."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.engine.gateway import check_versions
from synos_tasks.engine.spec import image_labels
from synos_tasks.host.locks import held
from synos_tasks.images import ledger
from synos_tasks.images.base import ensure_base
from synos_tasks.images.dockerfile import steps_of
from synos_tasks.images.recipe import tag_of
from synos_tasks.images.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.images.recipe import Recipe
    from synos_tasks.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image that is there. Size in bytes; seconds that its build took, little where nothing changed."""

    name: str
    tag: str
    bytes: int
    seconds: float


def ensure_image(settings: Settings, engine: Engine, recipe: Recipe, say: Callable[[str], None]) -> str:
    """Build an image unless it is there; returns its tag.

    Raises EngineUnavailable, EngineTooOld, ImageBuildFailed, or HostUnfit and MirrorUnreachable when no base
    image is to be had.
    """
    tag = tag_of(settings.root, recipe)
    if engine.image_id(tag):
        return tag
    check_versions(engine.facts())  # no image, or nobody who would know of it
    with one_at_a_time(settings):
        if engine.image_id(tag):
            return tag
        ensure_base(settings, engine, recipe.base, say)
        say(f"building image {tag} (once, until its Dockerfile changes)")
        build_image(settings, engine, recipe, say)
    return tag


def build_image(
    settings: Settings,
    engine: Engine,
    recipe: Recipe,
    say: Callable[[str], None],
    *,
    cached: bool = True,
    tag: str | None = None,
) -> str:
    """Build an image, with what BuildKit has of its steps unless not ``cached``; returns its tag.

    That is ``tag``, or by default the one of what the image is made of. Sees to no base image and holds no
    lock: see ensure_image(). Raises ImageBuildFailed or MirrorUnreachable.
    """
    tag = tag or tag_of(settings.root, recipe)
    began = time.monotonic()
    engine.build(
        [
            f"--tag={tag}",
            f"--file={settings.root / recipe.dockerfile}",
            *([f"--target={recipe.target}"] if recipe.target else []),
            *([] if cached else ["--no-cache"]),
            *(f"--build-arg={argument}" for argument in recipe.build_args),
            *(f"--secret=id=certificates,src={path}" for path in _certificates()),
            *(f"--label={k}={v}" for k, v in image_labels(settings.project_id, recipe.role, tag).items()),
            str(settings.root),
        ],
        Steps(say),
    )
    ledger.remember(
        settings.state_dir,
        ident=engine.image_id(tag) or "",
        tag=tag,
        seconds=time.monotonic() - began,
        steps=steps_of((settings.root / recipe.dockerfile).read_text()),
    )
    return tag


def build_images(
    settings: Settings,
    engine: Engine,
    say: Callable[[str], None],
    recipes: Sequence[Recipe],
    *,
    cached: bool = True,
) -> list[Built]:
    """Build images, in order, whether they are there or not. Raises as ensure_image() does."""
    check_versions(engine.facts())
    found = []
    with one_at_a_time(settings):
        for base in dict.fromkeys(recipe.base for recipe in recipes):
            ensure_base(settings, engine, base, say)
        for recipe in recipes:
            began = time.monotonic()
            say(f"building image {tag_of(settings.root, recipe)}")
            tag = build_image(settings, engine, recipe, say, cached=cached)
            seconds = round(time.monotonic() - began, 2)
            found.append(Built(name=recipe.name, tag=tag, bytes=engine.image_bytes(tag), seconds=seconds))
    return found


def _certificates() -> list[Path]:
    """Return the file with the certificates that this host trusts, for packages that a build fetches."""
    path = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    # BuildKit refuses larger secrets
    return [path] if path.is_file() and path.stat().st_size <= 500 * 1024 else []


@contextmanager
def one_at_a_time(settings: Settings, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Let the second of two commands wait for the image of the first; ``waiting`` is called before it does."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with held(settings.state_dir / "image.lock", waiting):
        yield
