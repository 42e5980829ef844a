"""The store of ISO stages: its entries, and evicting them. A volume can only be read in a container."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from synos_tasks import errors
from synos_tasks.engine.labels import labels
from synos_tasks.engine.run import leased
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.images.catalog import BUILDER
from synos_tasks.images.recipe import tag_of
from synos_tasks.iso.housekeeping import Evicted, Kept, Limits
from synos_tasks.project import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synos_tasks.engine.client import Docker
    from synos_tasks.maint.resources import Context
    from synos_tasks.settings import Settings

SECONDS = 600.0
"""Within which the store answers."""


@dataclass(frozen=True, kw_only=True)
class StoreOf:
    """The store of a clone, and the image to read it with: the Dockerfile may change meanwhile."""

    settings: Settings
    docker: Docker
    image: str

    def listing(self) -> list[Kept]:
        """Return the entries of the store. Raises ContainerLost, or the error that the container met."""
        return [Kept(**entry) for entry in self._ask({"do": "store"}, "store")["entries"]]

    def evict(self, limits: Limits) -> Evicted:
        """Remove what is beyond limits; see iso/housekeeping.py. Raises as listing() does."""
        told = self._ask({"do": "evict", "limits": asdict(limits)}, "evicted")
        return Evicted(**{field.name: told[field.name] for field in fields(Evicted)})

    def _ask(self, request: Mapping[str, Any], answer: str) -> dict[str, Any]:
        spec = _spec(self.settings, self.image)
        with leased(self.docker, spec, request, seconds=SECONDS) as container:
            for event in container.events():
                if event["event"] == "error":
                    kind = errors.by_name(event.get("kind", ""))
                    raise kind(event["error"], where=event.get("where", ""), why=event.get("why", ""))
                if event["event"] == answer:
                    return event
            raise container.lost("the store could not be read", hint="run the command again; `inv doctor`")


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


def _spec(settings: Settings, image: str) -> ContainerSpec:
    return ContainerSpec(
        name=f"{settings.project_id}-store-{uuid.uuid4().hex[:8]}",
        image=image,
        command=("python3", "-m", "synos_tasks.iso"),
        labels=labels(settings.project_id, "build"),
        capabilities=("DAC_OVERRIDE", "FOWNER"),
        binds=(Bind(source=PACKAGE, target="/project/synos_tasks"),),
        volumes={settings.store_volume: "/cache"},
        tmpfs={"/work": "rw,size=64m"},
        network="none",
    )
