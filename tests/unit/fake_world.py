"""An engine that has an inventory, until its resources are removed one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from synos_tasks.maint.ownership import tags_of
from synos_tasks.maint.resources import Context
from tests.unit.fake_docker import FakeDocker
from tests.unit.fake_inventory import NOW, inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from synos_tasks.engine.cache import DiskUsage
    from synos_tasks.engine.client import Container, Image, Network, Volume
    from synos_tasks.maint.ownership import Inventory
    from synos_tasks.settings import Settings


class World(FakeDocker):
    """Keeps what it was asked to remove, as kind and id, in order."""

    def __init__(self, **parts: Any) -> None:  # noqa: ANN401
        """Start with inventory(**parts)."""
        super().__init__()
        self.inventory: Inventory = inventory(**parts)
        self.asked: list[tuple[str, str]] = []
        self.forced: list[str] = []
        """Containers that were killed."""
        self.refused: dict[str, str] = {}
        """What the engine says, by id or name."""
        self.looked = 0
        """How often it was asked for everything."""
        self.on_ask: Callable[[str, str], object] = lambda *_: None
        """Called before anything is removed."""
        self.root_dir = self.inventory.root_dir
        # the store is empty
        self.on_run = lambda *_: (0, b'{"event": "store", "entries": []}\n', b"")

    def containers(self, labels: Mapping[str, str] | None = None) -> list[Container]:
        return list(self.inventory.containers)

    def images(self) -> list[Image]:
        return list(self.inventory.images)

    def volumes(self, labels: Mapping[str, str] | None = None) -> list[Volume]:
        return list(self.inventory.volumes)

    def networks(self, labels: Mapping[str, str] | None = None) -> list[Network]:
        return list(self.inventory.networks)

    def image(self, ref: str) -> Image | None:
        return next((one for one in self.inventory.images if ref in {one.id, *tags_of(one)}), None)

    def volume(self, name: str) -> Volume | None:
        return next((one for one in self.inventory.volumes if one.name == name), None)

    def disk_usage(self) -> DiskUsage:
        self.looked += 1
        return self.inventory.usage

    def prune_records(self, idents: Sequence[str]) -> list[str]:
        gone = [ident for ident in idents if not self._ask_for("record", ident)]
        left = tuple(one for one in self.inventory.usage.records if one.id not in gone)
        self.inventory = replace(self.inventory, usage=replace(self.inventory.usage, records=left))
        return gone

    def remove_container(self, ref: str, *, force: bool = False, volumes: bool = True) -> str:
        running = {one.id for one in self.inventory.containers if one.state.status == "running"}
        assert force or ref not in running
        self.forced += [ref] if force else []
        return self._take("container", "containers", "id", ref)

    def remove_image(self, ref: str) -> str:
        """Remove an image with its last name."""
        image = self.image(ref)
        trouble = self._ask_for("image", ref)
        if trouble or image is None:
            return trouble
        names = [tag for tag in tags_of(image) if tag != ref]
        if not names:
            self._drop("images", "id", image.id)
        return ""

    def remove_volume(self, name: str) -> str:
        return self._take("volume", "volumes", "name", name)

    def remove_network(self, ref: str) -> str:
        return self._take("network", "networks", "id", ref)

    def names(self) -> list[str]:  # type: ignore[override]
        """Return all that is there."""
        have = self.inventory
        named = [one.name for part in (have.containers, have.volumes, have.networks) for one in part]
        tags = [tag for one in have.images for tag in tags_of(one)]
        return sorted([*named, *tags, *(one.id for one in have.usage.records)])

    def _ask_for(self, kind: str, ident: str) -> str:
        self.on_ask(kind, ident)
        self.asked.append((kind, ident))
        return self.refused.get(ident, "")

    def _take(self, kind: str, part: str, key: str, ident: str) -> str:
        trouble = self._ask_for(kind, ident)
        if not trouble:
            self._drop(part, key, ident)
        return trouble

    def _drop(self, part: str, key: str, ident: str) -> None:
        left = tuple(one for one in getattr(self.inventory, part) if getattr(one, key) != ident)
        parts: dict[str, Any] = {part: left}
        self.inventory = replace(self.inventory, **parts)


def context_of(settings: Settings, world: World, **given: Any) -> Context:  # noqa: ANN401
    """Return a context whose engine is ``world``, at NOW."""

    def union_bytes(idents: Sequence[str]) -> int:
        """Return what each image has of its own, and 100 that all share."""
        return sum(world.inventory.usage.own_images[one] for one in idents) + 100 * bool(idents)

    told = {"say": lambda _: None, "now": lambda: NOW, "union_bytes": union_bytes, **given}
    return Context(
        settings=settings,
        docker=world,
        disk_usage=world.disk_usage,
        prune_records=world.prune_records,
        **told,
    )
