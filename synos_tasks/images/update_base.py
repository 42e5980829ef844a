"""Newer base images, the images of this project built on them, and which packages that changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.failures import check_versions
from synos_tasks.images import catalog
from synos_tasks.images.base import renew
from synos_tasks.images.building import build_images, remove_nameless
from synos_tasks.images.recipe import tag_of
from synos_tasks.iso.lock import Change, version_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synos_tasks.engine.client import Docker
    from synos_tasks.images.recipe import Recipe
    from synos_tasks.settings import Settings

LIST_PACKAGES = ("dpkg-query", "--show")


@dataclass(frozen=True, kw_only=True)
class Updated:
    """One image: which of its packages changed; none where it was not there before."""

    image: str
    there: bool
    packages: int
    changes: list[Change]

    def to_json(self) -> dict[str, Any]:
        """Return it as the verb's JSON object has it."""
        return {**self.__dict__, "changes": [change.__dict__ for change in self.changes]}

    def lines(self, limit: int) -> list[str]:
        """Return lines for people, with at most ``limit`` of the changes."""
        changes = [change.line for change in self.changes]
        more = ["  …"] if len(changes) > limit else []
        count = f"{len(changes)} changed" if self.there else "was not there before"
        return [f"{self.image}: {self.packages} packages, {count}", *changes[:limit], *more]


def update_base(
    settings: Settings, docker: Docker, say: Callable[[str], None], *, limit: int, dry: bool
) -> dict[str, Any]:
    """Build all images that are there on newer bases, and show what changed; return the verb's JSON fields.

    ``limit`` is the number of lines shown of each image. Raises as update() does.
    """
    check_versions(docker.info())  # without an engine there seems to be no image either
    recipes = catalog.every(settings)
    there = [recipe for recipe in recipes if docker.image_id(tag_of(settings.project, recipe))]
    names = [recipe.name for recipe in there]
    missing = [recipe.name for recipe in recipes if recipe not in there]
    if missing:
        say(f"not built yet, so not updated: {', '.join(missing)}")
    if not there:
        say("nothing to do: no image of this project is built")
    if dry:
        say(f"would build on newer bases, without cache: {', '.join(names) or 'nothing'}")
        return {"not_built": missing, "images": names}
    updated = update(settings, docker, there, say)
    for one in updated:
        say("\n".join(one.lines(limit)))
    if any(recipe.role == "services" for recipe in there):
        say("`inv services.upgrade` brings running services to them")
    return {"not_built": missing, "images": [one.to_json() for one in updated]}


def update(
    settings: Settings, docker: Docker, recipes: Sequence[Recipe], say: Callable[[str], None]
) -> list[Updated]:
    """Renew the bases of images that are there, each once, and build the images without cache.

    Until an image is built, the one before stays. Raises MirrorUnreachable, ImageBuildFailed or HostUnfit.
    """
    bases = list(dict.fromkeys(recipe.base for recipe in recipes))
    tags = [*(base.tag for base in bases), *(tag_of(settings.project, recipe) for recipe in recipes)]
    old = {tag: ident for tag in tags if (ident := docker.image_id(tag))}
    before = {tag: versions(docker, tag) for tag in old}
    for base in bases:
        renew(settings, docker, base, say)
    build_images(settings, docker, say, recipes, cached=False)
    after = {tag: versions(docker, tag) for tag in tags}
    for tag, ident in old.items():
        if ident != docker.image_id(tag):
            remove_nameless(settings, docker, ident)
    return [
        Updated(
            image=tag,
            there=tag in before,
            packages=len(after[tag]),
            changes=version_changes(before.get(tag, after[tag]), after[tag]),
        )
        for tag in tags
    ]


def versions(docker: Docker, image: str) -> dict[str, tuple[str, bool]]:
    """Return version by package, as iso.lock.version_changes() compares them; raises EngineUnavailable.

    No package is marked as a security update: an image does not say.
    """
    lines = (line.partition("\t") for line in docker.output_of(image, LIST_PACKAGES).splitlines())
    return {name: (version, False) for name, _, version in lines if version}
