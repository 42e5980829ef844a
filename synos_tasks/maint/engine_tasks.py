"""The verbs of `inv maint.*` about what the engine keeps: its rules for build cache, and images' bases."""

from __future__ import annotations

from synos_tasks import console
from synos_tasks.cli import Command, verb

JSON = "one JSON object on standard output"


@verb("maint.update-base", help={"limit": "lines shown of each image; --json has all", "json": JSON})
def update_base(command: Command, limit: int = 20) -> None:
    """Take newer base images, build all images on them without cache, and show which packages changed."""
    from synos_tasks.engine.client import Docker  # noqa: PLC0415
    from synos_tasks.images import update_base as updating  # noqa: PLC0415

    command.result(
        updating.update_base(command.settings, Docker(), console.say, limit=limit, dry=command.dry)
    )


VERBS = [update_base]
