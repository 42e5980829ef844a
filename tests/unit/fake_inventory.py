"""What an engine has, made up: resources of a clone, and foreign ones that look like them."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.cache import DiskUsage, Record
from synos_tasks.engine.client import snapshot
from synos_tasks.engine.labels import LABEL_BASE, LABEL_PROJECT, LABEL_ROLE, image_labels
from synos_tasks.images.base import BOOKWORM
from synos_tasks.images.ledger import Ledger
from synos_tasks.maint.ownership import Clone, Inventory, labels_of, layers_of, tags_of
from synos_tasks.maint.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synos_tasks.engine.client import Container, Image, Network, Volume

OURS = "synos-0123456789"
THEIRS = "synos-9876543210"
ROOT = Path("/home/me/synos")
NOW = 1_700_000_000.0
DAY = 86400.0
OLD = NOW - 100 * DAY
NEVER = "0001-01-01T00:00:00Z"
BUILDER = "synos-builder:aaaaaaaaaaaa"
IMAGE_LABELS = image_labels(OURS, "build", BUILDER)
LAYERS = ("base", "one", "two")
"""Of our image."""


def ident(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def moment(seconds: float) -> str:
    """Return a time as the engine prints it."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat() if seconds else NEVER


def clone(**given: Any) -> Clone:  # noqa: ANN401
    return Clone(**{"project": OURS, "root": ROOT, "ledger": Ledger(), "steps": frozenset(), **given})


def image(
    name: str,
    *tags: str,
    labels: dict[str, str] | None = None,
    layers: Iterable[str] | None = None,
    created: float = OLD,
    tagged: float = 0.0,
    id: str = "",  # noqa: A002
) -> Image:
    """Return an image without labels."""
    data = {
        "Id": id or ident(name),
        "RepoTags": list(tags),
        "Created": moment(created),
        "Config": {"Labels": labels},
        "RootFS": {"Type": "layers", "Layers": [name] if layers is None else list(layers)},
        "Metadata": {"LastTagTime": moment(tagged)},
    }
    found: Image = snapshot("image", data)
    return found


def our_image(name: str = "ours", *tags: str, **given: Any) -> Image:  # noqa: ANN401
    """Return an image as the clone builds it."""
    return image(name, *(tags or (BUILDER,)), **{"labels": IMAGE_LABELS, "layers": LAYERS, **given})


def our_base(*tags: str, **given: Any) -> Image:  # noqa: ANN401
    """Return a base image that the clone bootstrapped."""
    return image(
        "base", *(tags or (BOOKWORM.tag,)), **{"labels": {LABEL_BASE: OURS}, "layers": LAYERS[:1], **given}
    )


def altered(of: Image, **given: Any) -> Image:  # noqa: ANN401
    """Return the same image with other tags, labels, creation time or id."""
    tags = given.pop("tags", tags_of(of))
    told = {
        "id": of.id,
        "labels": dict(labels_of(of)),
        "layers": layers_of(of),
        "created": of.created.timestamp(),
    }
    return image("", *tags, **{**told, **given})


def container(
    name: str,
    of: Image | str = "sha256:gone",
    *,
    labels: dict[str, str] | None = None,
    state: str = "exited",
    created: float = OLD,
    ended: float = 0.0,
    volumes: Iterable[str] = (),
    networks: Iterable[str] = (),
) -> Container:
    """Return a container that ended; it has the labels of its image, as the engine hands them on."""
    inherited = {} if isinstance(of, str) else labels_of(of)
    data = {
        "Id": ident(name).removeprefix("sha256:"),
        "Name": f"/{name}",
        "Image": of if isinstance(of, str) else of.id,
        "Created": moment(created),
        "Config": {"Labels": {**inherited, **(labels or {})}},
        "State": {"Status": state, "FinishedAt": moment(ended)},
        "Mounts": [{"Type": "volume", "Name": one} for one in volumes],
        "NetworkSettings": {"Networks": {f"name of {one}": {"NetworkID": one} for one in networks}},
    }
    found: Container = snapshot("container", data)
    return found


def volume(
    name: str,
    project: str = OURS,
    role: str = "services",
    *,
    labels: dict[str, str] | None = None,
    created: float = OLD,
    device: str = "",
    place: str | None = None,
) -> Volume:
    data = {
        "Name": name,
        "Labels": {LABEL_PROJECT: project, LABEL_ROLE: role} if labels is None else labels,
        "CreatedAt": moment(created),
        "Mountpoint": f"/docker/{name}/_data" if place is None else place,
        "Options": {"device": device} if device else None,
    }
    found: Volume = snapshot("volume", data)
    return found


def network(name: str, project: str = OURS, *, labels: dict[str, str] | None = None) -> Network:
    data = {
        "Id": ident(name).removeprefix("sha256:"),
        "Name": name,
        "Labels": {LABEL_PROJECT: project, LABEL_ROLE: "services"} if labels is None else labels,
        "Created": moment(OLD),
    }
    found: Network = snapshot("network", data)
    return found


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
            images={one: size + 60 for one, size in own.items()},
            own_images=own,
            containers={one.id: known.get(one.name, 10) for one in containers},
            volumes={one.name: known.get(one.name, 1000) for one in volumes},
            layers=layers,
            records=tuple(records),
        ),
        root_dir="/nowhere",
    )


def resource(name: str, **given: Any) -> Resource:  # noqa: ANN401
    """Return an image of ours that nothing pins."""
    return Resource(**{"kind": "image", "id": name, "name": name, "bytes": 1, "used": OLD, **given})
