"""What one command of `inv maint.*` works with: the engine, this clone's own folders, and the clock."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synos_tasks.engine import inventory
from synos_tasks.engine.gateway import DockerEngine, Engine
from synos_tasks.engine.removal import DockerRemoval, Removal
from synos_tasks.images import catalog, ledger
from synos_tasks.images.dockerfile import steps_of
from synos_tasks.images.recipe import tag_of
from synos_tasks.maint.ownership import Clone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synos_tasks.engine.inventory import Container, Inventory
    from synos_tasks.settings import Settings


_DOCKERFILE = re.compile(r"(?:[A-Za-z0-9-]+\.)?Dockerfile(?:\.[A-Za-z0-9-]+)?", re.ASCII)
"""Their names here; not what an editor lays beside one."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One command's means. ``now`` gives seconds since 1970."""

    settings: Settings
    say: Callable[[str], None]
    engine: Engine = field(default_factory=DockerEngine)
    removal: Removal = field(default_factory=DockerRemoval)
    take: Callable[[], Inventory] = inventory.take
    ended: Callable[[Container], float] = inventory.ended
    now: Callable[[], float] = time.time

    def clone(self) -> Clone:
        """Say whose things are looked for."""
        settings = self.settings
        return Clone(
            project=settings.project_id,
            root=settings.root,
            ledger=ledger.read(settings.state_dir),
            steps=frozenset().union(
                *(steps_of(path.read_text(errors="replace")) for path in dockerfiles(settings))
            ),
        )

    def histories(self) -> dict[str, dict[str, float]]:
        """Give the seconds that each stage of each profile took last time; see build/progress.py."""
        try:
            told = json.loads((self.settings.state_dir / "history.json").read_text())
            return {
                str(profile): {str(name): float(took) for name, took in stages.items()}
                for profile, stages in told.items()
            }
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def history(self) -> dict[str, float]:
        """Give the seconds that each stage took, the longest of all profiles."""
        longest: dict[str, float] = {}
        for stages in self.histories().values():
            for name, took in stages.items():
                longest[name] = max(took, longest.get(name, 0.0))
        return longest

    def inventory(self) -> Inventory:
        """Ask the engine; raises EngineUnavailable or HostUnfit."""
        return self.take()

    def current(self) -> frozenset[str]:
        """Give the names of the images that the Dockerfiles of now give."""
        root = self.settings.root
        return frozenset(tag_of(root, recipe) for recipe in catalog.every(self.settings))


def dockerfiles(settings: Settings) -> list[Path]:
    """Give the Dockerfiles of this project."""
    found = settings.root.glob("docker/*/*Dockerfile*")
    return sorted(path for path in found if _DOCKERFILE.fullmatch(path.name) and path.is_file())
