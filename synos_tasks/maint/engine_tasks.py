"""The verbs of `inv maint.*` about what the engine keeps: its rules for build cache, and images' bases."""

from __future__ import annotations

from synos_tasks import console
from synos_tasks.cli import Command, verb

JSON = "one JSON object on standard output"


@verb("maint.update-base", help={"limit": "lines shown of each image; --json has all", "json": JSON})
def update_base(command: Command, limit: int = 20) -> None:
    """Take newer base images, build every image of ours that is there on them, and show which packages changed."""
    from synos_tasks.engine.gateway import DockerEngine  # noqa: PLC0415
    from synos_tasks.images import catalog  # noqa: PLC0415
    from synos_tasks.images import update_base as updating  # noqa: PLC0415

    settings, engine = command.settings, DockerEngine()
    there, missing = updating.split(settings, engine, catalog.every(settings))
    names = [recipe.name for recipe in there]
    if missing:
        console.say(f"not built, so left alone: {', '.join(recipe.name for recipe in missing)}")
    told = {"not_built": [recipe.name for recipe in missing]}
    if command.dry:
        command.would(
            f"build {', '.join(names) or 'nothing'} on newer bases, without cache", **told, images=names
        )
        return
    updated = updating.update(settings, engine, there, console.say)
    for one in updated:
        console.say("\n".join(one.lines(limit)))
    if any(recipe.role == "services" for recipe in there):
        console.say("`inv services.upgrade` lets services that run have them")
    if not updated:
        console.say("nothing to do: no image of ours is there")
    command.result({**told, "images": [one.to_json() for one in updated]})


VERBS = [update_base]
