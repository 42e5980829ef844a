"""Asks the store what it holds, and lets things go: a volume can only be read in a container."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from synos_tasks import errors
from synos_tasks.engine.leased import leased
from synos_tasks.engine.spec import Bind, ContainerSpec, labels
from synos_tasks.images.catalog import RECIPES
from synos_tasks.images.recipe import tag_of
from synos_tasks.iso.housekeeping import Evicted, Kept, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.settings import Settings

SECONDS = 600.0
"""Within which the store answers."""


@dataclass(frozen=True, kw_only=True)
class StoreOf:
    """The store of a clone, and the image to read it with: the Dockerfile may change meanwhile."""

    settings: Settings
    engine: Engine
    image: str

    def listing(self) -> list[Kept]:
        """Give what the store holds. Raises ContainerLost, or the error that the container met."""
        return [Kept(**entry) for entry in self._ask({"do": "store"}, "store")["entries"]]

    def evict(self, limits: Limits) -> Evicted:
        """Let go what is beyond limits; see iso/housekeeping.py. Raises as listing() does."""
        told = self._ask({"do": "evict", "limits": asdict(limits)}, "evicted")
        return Evicted(**{field.name: told[field.name] for field in fields(Evicted)})

    def _ask(self, request: Mapping[str, Any], answer: str) -> dict[str, Any]:
        spec = _spec(self.settings, self.image)
        with leased(self.engine, spec, request, seconds=SECONDS) as container:
            for event in container.events():
                if event["event"] == "error":
                    kind = errors.by_name(event.get("kind", ""))
                    raise kind(event["error"], where=event.get("where", ""), why=event.get("why", ""))
                if event["event"] == answer:
                    return event
            raise container.lost("the store could not be asked", hint="run the command again; `inv doctor`")


def store_of(settings: Settings, engine: Engine) -> StoreOf | None:
    """Give the store of a clone; None where there is none, or no image yet to read it with."""
    image = engine.image_id(tag_of(settings.root, RECIPES["builder"]))
    if image is None or not engine.volume_exists(settings.store_volume):
        return None
    return StoreOf(settings=settings, engine=engine, image=image)


def _spec(settings: Settings, image: str) -> ContainerSpec:
    return ContainerSpec(
        name=f"{settings.project_id}-store-{uuid.uuid4().hex[:8]}",
        image=image,
        command=("python3", "-m", "synos_tasks.iso"),
        labels=labels(settings.project_id, "build"),
        capabilities=("DAC_OVERRIDE", "FOWNER"),
        binds=(Bind(source=settings.root, target="/project"),),
        volumes={settings.store_volume: "/cache"},
        tmpfs={"/work": "rw,size=64m"},
        network="none",
    )
