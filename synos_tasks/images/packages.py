"""Which packages an image has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synos_tasks.engine.gateway import Engine

LIST = ("dpkg-query", "--show")


def versions(engine: Engine, image: str) -> dict[str, tuple[str, bool]]:
    """Give version by package, as iso.lock.version_changes() compares them; nothing is marked as a security update.

    Raises EngineUnavailable where the image cannot tell.
    """
    lines = engine.output_of(image, LIST).splitlines()
    return {
        name: (version, False) for name, _, version in (line.partition("\t") for line in lines) if version
    }
