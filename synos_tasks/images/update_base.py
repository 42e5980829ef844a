"""Newer base images, images of ours built on them anew, and what changed in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.gateway import check_versions
from synos_tasks.images.base import renew
from synos_tasks.images.building import build_images
from synos_tasks.images.packages import versions
from synos_tasks.images.recipe import tag_of
from synos_tasks.iso.lock import Change, version_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.images.recipe import Recipe
    from synos_tasks.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Updated:
    """One image: which of its packages changed; of one that was not ``there`` before, none."""

    image: str
    there: bool
    packages: int
    changes: list[Change]

    def to_json(self) -> dict[str, Any]:
        """Give it as a verb's JSON object has it."""
        return {**self.__dict__, "changes": [change.__dict__ for change in self.changes]}

    def lines(self, limit: int) -> list[str]:
        """Tell people of it, with at most ``limit`` of the changes."""
        told = f"{len(self.changes)} changed" if self.there else "was not there before"
        changes = [change.line for change in self.changes]
        more = ["  …"] if len(changes) > limit else []
        return [f"{self.image}: {self.packages} packages, {told}", *changes[:limit], *more]


def update(
    settings: Settings, engine: Engine, recipes: Sequence[Recipe], say: Callable[[str], None]
) -> list[Updated]:
    """Renew the bases of images, each once, from a registry or else from the Debian mirror; build without cache.

    Tells of the bases first. Until an image is built, the one before stays. Raises EngineUnavailable,
    EngineTooOld, MirrorUnreachable, ImageBuildFailed or HostUnfit.
    """
    check_versions(engine.facts())
    bases = list(dict.fromkeys(recipe.base for recipe in recipes))
    tags = [*(base.tag for base in bases), *(tag_of(settings.root, recipe) for recipe in recipes)]
    before = {tag: _packages(engine, tag) for tag in tags}
    old = {tag: engine.image_id(tag) for tag in tags}
    for base in bases:
        renew(settings, engine, base, say)
    build_images(settings, engine, say, recipes, cached=False)
    found = []
    for tag in tags:
        after = _packages(engine, tag)
        changes = version_changes(before[tag], after) if before[tag] else []
        found.append(Updated(image=tag, there=bool(before[tag]), packages=len(after), changes=changes))
    for tag, ident in old.items():
        if ident and ident != engine.image_id(tag):
            engine.remove_nameless(ident, settings.project_id)
    return found


def split(settings: Settings, engine: Engine, recipes: Sequence[Recipe]) -> tuple[list[Recipe], list[Recipe]]:
    """Tell the images that are there, as their Dockerfiles give them now, from those that are not built.

    Raises EngineUnavailable.
    """
    engine.facts()  # where no engine answers, there seems to be no image either
    there = [recipe for recipe in recipes if engine.image_id(tag_of(settings.root, recipe))]
    return there, [recipe for recipe in recipes if recipe not in there]


def _packages(engine: Engine, tag: str) -> dict[str, tuple[str, bool]]:
    """Give version by package, empty where there is no such image."""
    return versions(engine, tag) if engine.image_id(tag) else {}
