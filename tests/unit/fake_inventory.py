"""What an engine has, made up: resources of a clone, and foreign ones that look like them."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.cache import DiskUsage, Record
from synos_tasks.engine.labels import LABEL_BASE, LABEL_CONTAINER, image_labels
from synos_tasks.engine.labels import labels as marks
from synos_tasks.images.catalog import BOOKWORM
from synos_tasks.images.ledger import Ledger
from synos_tasks.maint.ownership import Clone, Inventory, labels_of, tags_of
from synos_tasks.maint.resources import Context, Resource
from tests.unit.fake_docker import FakeDocker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from synos_tasks.engine.client import Container, Image, Kind, Network, Volume
    from synos_tasks.settings import Settings

OURS = "synos-0123456789"
THEIRS = "synos-9876543210"
ROOT = Path("/home/me/synos")
NOW = 1_700_000_000.0
DAY = 86400.0
OLD = NOW - 100 * DAY
NEVER = "0001-01-01T00:00:00Z"
BUILDER = "synos-builder:aaaaaaaaaaaa"
IMAGE_LABELS = image_labels(OURS, "build", BUILDER)


def ident(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def moment(seconds: float) -> str:
    """Return a time as the engine prints it."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat() if seconds else NEVER


def clone(**given: Any) -> Clone:  # noqa: ANN401
    return Clone(**{"project": OURS, "ledger": Ledger(), "steps": frozenset(), **given})


def image(
    name: str,
    *tags: str,
    labels: dict[str, str] | None = None,
    created: float = OLD,
    tagged: float = 0.0,
    id: str = "",  # noqa: A002
) -> Image:
    """Return an image without labels."""
    docker, known = FakeDocker(), id or ident(name)
    docker.add_image(*tags, ident=known, labels=labels, created=moment(created), tagged=moment(tagged))
    return docker.images()[0]


def our_image(name: str = "ours", *tags: str, **given: Any) -> Image:  # noqa: ANN401
    """Return an image as the clone builds it."""
    return image(name, *(tags or (BUILDER,)), **{"labels": IMAGE_LABELS, **given})


def builder(number: int) -> Image:
    """Return a builder image, made the later the larger its number is."""
    tag = f"synos-builder:{number:012x}"
    return our_image(f"builder {number}", tag, labels=image_labels(OURS, "build", tag), created=OLD + number)


def our_base(*tags: str, **given: Any) -> Image:  # noqa: ANN401
    """Return a base image that the clone bootstrapped."""
    return image("base", *(tags or (BOOKWORM,)), **{"labels": {LABEL_BASE: OURS}, **given})


def altered(of: Image, **given: Any) -> Image:  # noqa: ANN401
    """Return the same image with other tags, labels, creation time or id."""
    tags, created = given.pop("tags", tags_of(of)), of.created.timestamp()
    told = {"id": of.id, "labels": dict(labels_of(of)), "created": created, **given}
    return image("", *tags, **told)


def container(
    name: str,
    of: Image | str = "sha256:gone",
    *,
    labels: dict[str, str] | None = None,
    state: str = "exited",
    created: float = OLD,
    volumes: Iterable[str] = (),
    networks: Iterable[str] = (),
) -> Container:
    """Return a container that ended; it has the labels of its image, as the engine hands them on.

    With ``labels`` it is one that this library made, which puts its name among them.
    """
    inherited = {} if isinstance(of, str) else labels_of(of)
    docker = FakeDocker()
    docker.add_container(
        name,
        image=of if isinstance(of, str) else of.id,
        labels={**inherited, LABEL_CONTAINER: name if labels else "", **(labels or {})},
        state=state,
        created=moment(created),
        volumes=volumes,
        networks=networks,
    )
    return docker.containers()[0]


def volume(
    name: str,
    project: str = OURS,
    role: str = "services",
    *,
    labels: dict[str, str] | None = None,
    created: float = OLD,
) -> Volume:
    docker = FakeDocker()
    docker.add_volume(
        name, labels=marks(project, role) if labels is None else labels, created=moment(created)
    )
    return docker.volumes()[0]


def network(name: str, project: str = OURS, *, labels: dict[str, str] | None = None) -> Network:
    docker, own = FakeDocker(), marks(project, "services") if labels is None else labels
    docker.add_network(name, labels=own, created=moment(OLD))
    return docker.networks()[0]


def record(name: str, description: str, *parents: str, **given: Any) -> Record:  # noqa: ANN401
    told = {"type": "regular", "in_use": False, "shared": False, "bytes": 5, "used": OLD, **given}
    return Record(id=name, parents=parents, description=description, **told)


def inventory(
    *,
    images: Iterable[Image] = (),
    containers: Iterable[Container] = (),
    volumes: Iterable[Volume] = (),
    networks: Iterable[Network] = (),
    records: Iterable[Record] = (),
    layers: int = 0,
    sizes: dict[str, int] | None = None,
) -> Inventory:
    """Return an inventory. An image has 40 bytes of its own, a container 10, a volume 1000; ``sizes`` by name or id."""
    images, containers, volumes = tuple(images), tuple(containers), tuple(volumes)
    known = sizes or {}
    own = {one.id: known.get((*tags_of(one), one.id)[0], 40) for one in images}
    return Inventory(
        images=images,
        containers=containers,
        volumes=volumes,
        networks=tuple(networks),
        usage=DiskUsage(
            images=own,
            containers={one.id: known.get(one.name, 10) for one in containers},
            volumes={one.name: known.get(one.name, 1000) for one in volumes},
            layers=layers,
            records=tuple(records),
        ),
    )


def resource(name: str, **given: Any) -> Resource:  # noqa: ANN401
    """Return an image of ours that nothing pins."""
    return Resource(**{"kind": "image", "id": name, "name": name, "bytes": 1, "used": OLD, **given})


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
        # the store is empty
        self.on_run = lambda *_: (0, b'{"event": "store", "entries": []}\n', b"")

    def _all(self, kind: Kind, labels: Mapping[str, str] | None = None) -> list[Any]:
        return list(getattr(self.inventory, f"{kind}s"))

    def _one(self, kind: Kind, ref: str) -> Any | None:  # noqa: ANN401
        def names(one: Any) -> set[str]:  # noqa: ANN401
            return {one.id, *tags_of(one)} if kind == "image" else {one.name, getattr(one, "id", "")}

        return next((one for one in self._all(kind) if ref in names(one)), None)

    def disk_usage(self) -> DiskUsage:
        self.looked += 1
        return self.inventory.usage

    def prune_records(self, idents: Sequence[str]) -> list[str]:
        gone = [ident for ident in idents if not self._refusal("record", ident)]
        left = tuple(one for one in self.inventory.usage.records if one.id not in gone)
        self.inventory = replace(self.inventory, usage=replace(self.inventory.usage, records=left))
        return gone

    def remove_container(self, ref: str, *, force: bool = False, volumes: bool = True) -> str:
        running = {one.id for one in self.inventory.containers if one.state.status == "running"}
        assert force or ref not in running
        self.forced += [ref] if force else []
        return self._remove("container", ref)

    def remove_image(self, ref: str) -> str:
        """Remove an image with its last name."""
        image = self.image(ref)
        trouble = self._refusal("image", ref)
        if image and not trouble and not set(tags_of(image)) - {ref}:
            self._drop("images", image)
        return trouble

    def names(self) -> list[str]:  # type: ignore[override]
        """Return all that is there."""
        have = self.inventory
        named = [one.name for part in (have.containers, have.volumes, have.networks) for one in part]
        tags = [tag for one in have.images for tag in tags_of(one)]
        return sorted([*named, *tags, *(one.id for one in have.usage.records)])

    def _refusal(self, kind: str, ident: str) -> str:
        self.on_ask(kind, ident)
        self.asked.append((kind, ident))
        return self.refused.get(ident, "")

    def _remove(self, kind: Kind, ref: str) -> str:
        trouble, gone = self._refusal(kind, ref), self._one(kind, ref)
        if gone and not trouble:
            self._drop(f"{kind}s", gone)
        return trouble

    def _drop(self, part: str, gone: object) -> None:
        parts: dict[str, Any] = {part: tuple(one for one in getattr(self.inventory, part) if one is not gone)}
        self.inventory = replace(self.inventory, **parts)


def context_of(settings: Settings, world: World, **given: Any) -> Context:  # noqa: ANN401
    """Return a context whose engine is ``world``, at NOW."""

    def union_bytes(idents: Sequence[str]) -> int:
        """Return what each image has of its own, and 100 that all share."""
        return sum(world.inventory.usage.images[one] for one in idents) + 100 * bool(idents)

    told: dict[str, Any] = {"say": lambda _: None, "now": lambda: NOW, "union_bytes": union_bytes, **given}
    told |= {"docker": world, "disk_usage": world.disk_usage, "prune_records": world.prune_records}
    return Context(settings=settings, **told)
