"""Newer base images, the images of this project built on them, and which packages that changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.failures import check_versions
from synos_tasks.images import catalog
from synos_tasks.images.base import renew
from synos_tasks.images.building import build_images, remove_nameless
from synos_tasks.iso.codec import to_data
from synos_tasks.iso.lock import Change, version_changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.engine.client import Docker
    from synos_tasks.images import Context
    from synos_tasks.images.catalog import Recipe

LIST_PACKAGES = ("dpkg-query", "--show")


@dataclass(frozen=True, kw_only=True)
class Updated:
    """One image, as the verb's JSON object has it: which packages changed; none where it was not there before."""

    image: str
    there: bool
    packages: int
    changes: list[Change]


def update_base(context: Context, *, limit: int, dry: bool) -> dict[str, Any]:
    """Build all images that are there on newer bases, and show what changed; return the verb's JSON fields.

    ``limit`` is the number of lines shown of each image. Raises as update() does.
    """
    check_versions(context.docker.info())  # without an engine there seems to be no image either
    recipes, project = catalog.every(context.settings), context.settings.project
    there = [recipe for recipe in recipes if context.docker.image_id(recipe.tag(project))]
    names = [recipe.name for recipe in there]
    missing = [recipe.name for recipe in recipes if recipe not in there]
    if missing:
        context.say(f"not built yet, so not updated: {', '.join(missing)}")
    if not there:
        context.say("nothing to do: no image of this project is built")
    if dry:
        context.say(f"would build on newer bases, without cache: {', '.join(names) or 'nothing'}")
        return {"not_built": missing, "images": names}
    updated = update(context, there)
    for one in updated:
        count = f"{len(one.changes)} changed" if one.there else "was not there before"
        more = ["  …"] if len(one.changes) > limit else []
        lines = [change.line for change in one.changes[:limit]]
        context.say("\n".join([f"{one.image}: {one.packages} packages, {count}", *lines, *more]))
    if any(recipe.role == "services" for recipe in there):
        context.say("`inv services.upgrade` brings running services to them")
    return {"not_built": missing, "images": [to_data(one) for one in updated]}


def update(context: Context, recipes: Sequence[Recipe]) -> list[Updated]:
    """Renew the bases of images that are there, each once, and build the images without cache.

    Until an image is built, the one before stays. Raises MirrorUnreachable, ImageBuildFailed or HostUnfit.
    """
    docker = context.docker
    bases = list(dict.fromkeys(recipe.base for recipe in recipes))
    tags = [*(base.tag for base in bases), *(recipe.tag(context.settings.project) for recipe in recipes)]
    old = {tag: ident for tag in tags if (ident := docker.image_id(tag))}
    before = {tag: versions(docker, tag) for tag in old}
    for base in bases:
        renew(context, base)
    build_images(context, recipes, cached=False)
    after = {tag: versions(docker, tag) for tag in tags}
    for tag, ident in old.items():
        if ident != docker.image_id(tag):
            remove_nameless(context, ident)
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
