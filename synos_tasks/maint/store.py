"""The store of ISO stages: its entries, and evicting them. A volume can only be read in a container."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks import builder
from synos_tasks.images.catalog import BUILDER
from synos_tasks.images.recipe import tag_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.engine.client import Docker
    from synos_tasks.iso.eviction import Evicted, Limits, Stored
    from synos_tasks.maint.resources import Context
    from synos_tasks.settings import Settings


@dataclass(frozen=True, kw_only=True)
class StoreOf:
    """The store of a clone, and the image to read it with: the Dockerfile may change meanwhile."""

    settings: Settings
    docker: Docker
    image: str

    def listing(self) -> Sequence[Stored]:
        """Return the entries of the store. Raises ContainerLost, or the error that the container met."""
        return builder.list_store(self.settings, self.docker, self.image)

    def evict(self, limits: Limits) -> Evicted:
        """Remove what is beyond limits, unless a build runs; see iso/eviction.py. Raises as listing() does."""
        return builder.evict_store(self.settings, self.docker, self.image, limits)


def store_of(context: Context) -> StoreOf | None:
    """Return the store of a clone; None where there is none, or no image yet to read it with."""
    settings, docker = context.settings, context.docker
    image = docker.image_id(tag_of(settings.project, BUILDER))
    if image is None or docker.volume(settings.store_volume) is None:
        return None
    return StoreOf(settings=settings, docker=docker, image=image)


def histories(settings: Settings) -> dict[str, dict[str, float]]:
    """Return the seconds that each stage of each profile took last time; see build/progress.py."""
    try:
        told = json.loads((settings.state_dir / "history.json").read_text())
        return {
            str(profile): {str(name): float(took) for name, took in stages.items()}
            for profile, stages in told.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def history(settings: Settings) -> dict[str, float]:
    """Return the seconds that each stage took, the longest of all profiles."""
    longest: dict[str, float] = {}
    for stages in histories(settings).values():
        for name, took in stages.items():
            longest[name] = max(took, longest.get(name, 0.0))
    return longest
