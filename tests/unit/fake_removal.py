"""A removal that takes out nothing but names from its lists, and refuses what it is told to refuse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synos_tasks.engine.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synos_tasks.engine.removal import Removal


@dataclass
class FakeRemoval:
    """Keeps what it was asked, as kind and id, in order."""

    refused: dict[str, str] = field(default_factory=dict)
    """What the engine says, by id."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Names that were to be taken from an image, by its id."""
    stopped: list[str] = field(default_factory=list)
    """Containers that might have run."""
    on_ask: Callable[[str, str], object] = lambda *_: None
    """Called before anything is removed."""

    def _remove(self, kind: str, ident: str) -> str:
        self.on_ask(kind, ident)
        self.asked.append((kind, ident))
        return self.refused.get(ident, "")

    def container(self, ident: str, *, running: bool = False, volumes: bool = False) -> str:
        if running:
            self.stopped.append(ident)
        return self._remove("container", ident)

    def image(self, ident: str, names: Sequence[str]) -> str:
        self.names[ident] = tuple(names)
        return self._remove("image", ident)

    def volume(self, name: str, created: float) -> str:
        return self._remove("volume", name)

    def network(self, ident: str) -> str:
        return self._remove("network", ident)

    def records(self, idents: Sequence[str]) -> list[str]:
        return [ident for ident in idents if not self._remove("record", ident)]


def as_removal(fake: FakeRemoval) -> Removal:
    """Let mypy check that the fake still fits the Protocol."""
    return fake


_KINDS = {
    "container": "containers",
    "image": "images",
    "volume": "volumes",
    "network": "networks",
    "record": "records",
}


@dataclass
class FakeWorld(FakeRemoval):
    """An engine that has things until they are taken out of it."""

    inventory: Inventory = field(default_factory=Inventory)
    looked: int = 0
    """How often somebody asked for all of it."""

    def take(self) -> Inventory:
        self.looked += 1
        return self.inventory

    def _remove(self, kind: str, ident: str) -> str:
        trouble = super()._remove(kind, ident)
        if not trouble:
            part = _KINDS[kind]
            key = "name" if kind == "volume" else "id"
            left = tuple(one for one in getattr(self.inventory, part) if getattr(one, key) != ident)
            self.inventory = Inventory(**{**vars(self.inventory), part: left})
        return trouble
