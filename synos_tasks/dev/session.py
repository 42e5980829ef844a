"""What every command on a development container needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.errors import DevContainerMissing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.engine.gateway import Engine
    from synos_tasks.engine.old_compose import Compose, ComposeFile
    from synos_tasks.engine.running import Containers, Running
    from synos_tasks.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Session:
    """The settings, the engine, and who is told what happens."""

    settings: Settings
    engine: Engine
    containers: Containers
    say: Callable[[str], None]
    compose: Callable[[ComposeFile], Compose]

    @property
    def state(self) -> Path:
        """Folder of what the room keeps of this clone."""
        return self.settings.state_dir / "dev"

    def find(self, config: DevContainer) -> Running | None:
        """Give the container of a devcontainer.json, whoever made it; None where there is none."""
        found = self.containers.find(config.labels)
        return found[0] if found else None

    def running(self, config: DevContainer) -> Running:
        """Give the container, which runs; raises DevContainerMissing."""
        found = self.find(config)
        if found is None or found.state != "running":
            raise DevContainerMissing(
                f"development container {config.name} {'has ended' if found else 'is not there'}",
                where=str(config.path),
                hint=f"inv dev.up --name {config.name}",
            )
        return found
