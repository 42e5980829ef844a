"""Everything that the engine has, of whatever project, as frozen data: what cleaning up is planned from."""

from __future__ import annotations

import datetime as dt
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks.engine import api
from synos_tasks.engine.old_compose import LABEL_COMPOSE_PROJECT
from synos_tasks.errors import EngineUnavailable, HostUnfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SECONDS = 120.0
"""The engine may have to measure volumes with many files."""
AT_ONCE = 4
API = "1.44"
"""From 1.52 on, `/system/df` has another form unless it is asked for in an older one."""
_FRACTION = re.compile(r"\.(\d{6})\d*")


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image. ``own_bytes`` is what no other image has; the build cache may have it all the same. Times: epoch seconds."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    bytes: int
    own_bytes: int
    created: float
    tagged: float = 0.0
    """When it got its last name; 0 where nobody asked."""
    layers: tuple[str, ...] = ()
    """Digests, the lowest first; () where nobody asked."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container. ``bytes`` is what it has written beside its volumes."""

    id: str
    name: str
    image: str
    """Id of its image."""
    labels: Mapping[str, str]
    state: str
    bytes: int
    created: float
    volumes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    """Their ids and names."""

    @property
    def compose_project(self) -> str:
        """Name of the compose project it belongs to; '' for none."""
        return self.labels.get(LABEL_COMPOSE_PROJECT, "")


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume. One that is another name of a folder (``device``) holds no bytes itself."""

    name: str
    labels: Mapping[str, str]
    bytes: int
    created: float
    device: str = ""
    place: str = ""
    """The engine's folder of it."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network."""

    id: str
    name: str
    labels: Mapping[str, str]
    created: float


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record of BuildKit's cache. A ``shared`` one is a layer of an image too."""

    id: str
    parents: tuple[str, ...]
    type: str
    description: str
    in_use: bool
    shared: bool
    bytes: int
    used: float


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All of it."""

    images: tuple[Image, ...] = ()
    containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    networks: tuple[Network, ...] = ()
    records: tuple[Record, ...] = ()
    layers_bytes: int = 0
    """What all images take together."""
    root_dir: str = field(default="")


def take() -> Inventory:
    """Ask the engine for all it has; raises EngineUnavailable, or HostUnfit where the engine is not this machine's."""
    if api.socket_path() is None:
        raise HostUnfit(
            "the engine is not this machine's",
            why="what is freed can only be measured, and what is ours only be told, on the engine's own machine",
            hint="unset DOCKER_HOST and DOCKER_CONTEXT, or run this there",
        )
    told = _get(f"{_version()}/system/df", timeout=SECONDS)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        images = [image for image in threads.map(_more_of, map(_image, told["Images"] or ())) if image]
    return Inventory(
        images=tuple(images),
        containers=tuple(map(_container, told["Containers"] or ())),
        volumes=tuple(map(_volume, told["Volumes"] or ())),
        networks=tuple(map(_network, _get("/networks"))),
        records=tuple(map(_record, told["BuildCache"] or ())),
        layers_bytes=told["LayersSize"],
        root_dir=_get("/info")["DockerRootDir"],
    )


def _version() -> str:
    """Give the path of the version that tells disk usage in the form read here; that of an older engine is its own."""
    known = _get("/version").get("ApiVersion", "")
    return f"/v{API}" if tuple(map(int, known.split("."))) >= tuple(map(int, API.split("."))) else ""


def union_bytes(images: Iterable[Image]) -> int:
    """Give what images take together, layers that they share counted once, in bytes."""
    sizes: dict[int, int] = {}
    for image in images:
        path = 0
        for layer in reversed(api.get(f"/images/{image.id}/history") or ()):
            path = hash((path, layer["Created"], layer["CreatedBy"], layer["Size"]))
            sizes[path] = layer["Size"]
    return sum(sizes.values())


def ended(container: Container) -> float:
    """Tell when a container ended, in epoch seconds; 0 where it runs, never ran, or is gone."""
    told = api.get(f"/containers/{container.id}/json")
    return epoch(told["State"]["FinishedAt"]) if told and not told["State"]["Running"] else 0.0


def epoch(text: str) -> float:
    """Read a time as the engine prints it; 0 for none, which it prints as the year 1."""
    moment = dt.datetime.fromisoformat(_FRACTION.sub(r".\1", text.replace("Z", "+00:00")))
    return 0.0 if moment.year == 1 else moment.timestamp()


def _get(path: str, *, timeout: float = api.TIMEOUT) -> Any:  # noqa: ANN401
    status, told = api.request("GET", path, timeout=timeout)
    if status != 200 or told is None:
        raise EngineUnavailable("the Docker Engine refused a request", where=path, why=api.message_of(told))
    return told


def _image(told: Mapping[str, Any]) -> Image:
    return Image(
        id=told["Id"],
        tags=tuple(tag for tag in told["RepoTags"] or () if tag != "<none>:<none>"),
        labels=told["Labels"] or {},
        bytes=told["Size"],
        own_bytes=told["Size"] - max(0, told["SharedSize"]),
        created=float(told["Created"]),
    )


def _more_of(image: Image) -> Image | None:
    """Ask for what the list of images lacks; None where the image is gone."""
    told = api.get(f"/images/{image.id}/json")
    if told is None:
        return None
    return Image(
        **{
            **vars(image),
            "tagged": epoch((told.get("Metadata") or {}).get("LastTagTime") or "0001-01-01T00:00:00Z"),
            "layers": tuple(told["RootFS"].get("Layers") or ()),
        }
    )


def _container(told: Mapping[str, Any]) -> Container:
    networks = (told.get("NetworkSettings") or {}).get("Networks") or {}
    return Container(
        id=told["Id"],
        name=(told["Names"] or [""])[0].lstrip("/"),
        image=told["ImageID"],
        labels=told["Labels"] or {},
        state=told["State"],
        bytes=told.get("SizeRw") or 0,
        created=float(told["Created"]),
        volumes=tuple(one["Name"] for one in told["Mounts"] or () if one.get("Type") == "volume"),
        networks=tuple(sorted({*networks, *(one["NetworkID"] for one in networks.values())} - {""})),
    )


def _volume(told: Mapping[str, Any]) -> Volume:
    options = told.get("Options") or {}
    return Volume(
        name=told["Name"],
        labels=told["Labels"] or {},
        bytes=max(0, (told.get("UsageData") or {}).get("Size", 0)),
        created=epoch(told["CreatedAt"]),
        device=options.get("device", ""),
        place=told["Mountpoint"],
    )


def _network(told: Mapping[str, Any]) -> Network:
    return Network(
        id=told["Id"], name=told["Name"], labels=told["Labels"] or {}, created=epoch(told["Created"])
    )


def _record(told: Mapping[str, Any]) -> Record:
    parents = told.get("Parents") or told.get(" Parents") or ()  # with that space in Engine 23 to 26
    return Record(
        id=told["ID"],
        parents=tuple(parents),
        type=told["Type"],
        description=told["Description"],
        in_use=told["InUse"],
        shared=told["Shared"],
        bytes=told["Size"],
        used=epoch(told.get("LastUsedAt") or told["CreatedAt"]),
    )
