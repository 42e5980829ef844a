"""The caches of development containers: volumes that outlive them, and that several share.

A devcontainer.json can only name volumes after its own container (``synos-${devcontainerId}-ccache``). Such a name is
made here as another name of the clone's volume, so that docker/build and all development containers use one cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.engine.spec import LABEL_PROJECT, LABEL_ROLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BUILDER_UID = 1000
"""As whom docker/build compiles: what that user has cached, sccache lets nobody else read."""
WITH_BUILD = ("ccache", "sccache")
BETWEEN = ("uv", "cargo")
OWN = ("history",)


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume as a devcontainer.json names it, and the one that it stands for; '' for none but itself."""

    name: str
    behind: str
    role: str


def plan(project: str, sources: Iterable[str], container_id: str, uid: int) -> list[Volume]:
    """Give the volumes to see to. Others than ``synos-${devcontainerId}-KIND`` are the engine's business."""
    found = []
    for source in sources:
        prefix, _, kind = source.rpartition("-")
        if prefix != f"synos-{container_id}":
            continue
        if kind in WITH_BUILD + BETWEEN:
            found.append(Volume(name=source, behind=shared(project, kind, uid), role="cache"))
        elif kind in OWN:
            found.append(Volume(name=source, behind="", role="dev"))
    return found


def shared(project: str, kind: str, uid: int) -> str:
    """Give the name of a clone's cache volume; who is not the builder's user has one apart."""
    return f"{project}-{kind}" if uid == BUILDER_UID else f"{project}-{kind}-{uid}"


def labels(project: str, volume: Volume) -> Mapping[str, str]:
    """Give the labels of a volume."""
    return {LABEL_PROJECT: project, LABEL_ROLE: volume.role}
