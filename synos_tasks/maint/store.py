"""Asks the store what it holds, and lets things go: a volume can only be read in a container."""

from __future__ import annotations

import uuid
from dataclasses import asdict, fields
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


def listing(settings: Settings, engine: Engine) -> list[Kept]:
    """Give what the store holds; nothing where there is no store, or no image yet to read it with.

    Raises ContainerLost, or the error that the container met.
    """
    if not is_there(settings, engine):
        return []
    return [Kept(**entry) for entry in _ask(settings, engine, {"do": "store"}, "store")["entries"]]


def evict(settings: Settings, engine: Engine, limits: Limits) -> Evicted:
    """Let go what is beyond limits; see iso/housekeeping.py."""
    told = _ask(settings, engine, {"do": "evict", "limits": asdict(limits)}, "evicted")
    return Evicted(**{field.name: told[field.name] for field in fields(Evicted)})


def is_there(settings: Settings, engine: Engine) -> bool:
    """Tell whether there is a store, and an image to read it with."""
    image = tag_of(settings.root, RECIPES["builder"])
    return engine.volume_exists(_volume(settings)) and engine.image_id(image) is not None


def _volume(settings: Settings) -> str:
    return f"{settings.project_id}-store"


def _ask(settings: Settings, engine: Engine, request: Mapping[str, Any], answer: str) -> dict[str, Any]:
    with leased(engine, _spec(settings), request, seconds=SECONDS) as container:
        for event in container.events():
            if event["event"] == "error":
                kind = errors.by_name(event.get("kind", ""))
                raise kind(event["error"], where=event.get("where", ""), why=event.get("why", ""))
            if event["event"] == answer:
                return event
        raise container.lost("the store could not be asked", hint="run the command again; `inv doctor`")


def _spec(settings: Settings) -> ContainerSpec:
    return ContainerSpec(
        name=f"{settings.project_id}-store-{uuid.uuid4().hex[:8]}",
        image=tag_of(settings.root, RECIPES["builder"]),
        command=("python3", "-m", "synos_tasks.iso"),
        labels=labels(settings.project_id, "build"),
        capabilities=("DAC_OVERRIDE", "FOWNER"),
        binds=(Bind(source=settings.root, target="/project"),),
        volumes={_volume(settings): "/cache"},
        tmpfs={"/work": "rw,size=64m"},
        network="none",
    )
