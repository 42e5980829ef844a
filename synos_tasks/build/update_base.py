"""`inv build.update-base`: a newer base image, all images of ours built on it anew, and what changed in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.build.image import build_images, tag_of
from synos_tasks.engine.gateway import check_versions
from synos_tasks.images.base import BOOKWORM, renew
from synos_tasks.images.catalog import RECIPES
from synos_tasks.images.packages import versions
from synos_tasks.iso.lock import Change, version_changes

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Updated:
    """One image: which of its packages changed; of one that was not ``there`` before, none."""

    image: str
    there: bool
    packages: int
    changes: list[Change]


def update(settings: Settings, engine: Engine, say: Callable[[str], None]) -> list[Updated]:
    """Renew the base image, from a registry or else from the Debian mirror, and build every image without cache.

    Until an image is built, the one before stays. Raises MirrorUnreachable, ImageBuildFailed or HostUnfit.
    """
    check_versions(engine.facts())
    tags = [BOOKWORM.tag, *(tag_of(settings, name) for name in RECIPES)]
    before = {tag: _packages(engine, tag) for tag in tags}
    old = {tag: engine.image_id(tag) for tag in tags}
    renew(settings, engine, BOOKWORM, say)
    build_images(settings, engine, say, names=tuple(RECIPES), cached=False)
    found = []
    for tag in tags:
        after = _packages(engine, tag)
        changes = version_changes(before[tag], after) if before[tag] else []
        found.append(Updated(image=tag, there=bool(before[tag]), packages=len(after), changes=changes))
    for tag, ident in old.items():
        if ident and ident != engine.image_id(tag):
            engine.remove_nameless(ident, settings.project_id)
    return found


def _packages(engine: Engine, tag: str) -> dict[str, tuple[str, bool]]:
    """Give version by package, empty where there is no such image."""
    return versions(engine, tag) if engine.image_id(tag) else {}
