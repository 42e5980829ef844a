"""Resources that may be pruned, with the reasons to keep them."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from synos_tasks import builder, images
from synos_tasks.engine import cache
from synos_tasks.engine.cache import DiskUsage, epoch
from synos_tasks.engine.client import LIVE, Docker
from synos_tasks.engine.labels import LABEL_FOLDER, LABEL_MARK, LABEL_ROLE, is_temporary
from synos_tasks.images import ledger
from synos_tasks.images.dockerfile import cache_id, steps_of
from synos_tasks.iso.scratch import entries
from synos_tasks.maint import ownership
from synos_tasks.maint.ownership import Clone, Inventory, labels_of, tags_of
from synos_tasks.project import STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.engine.cache import Record
    from synos_tasks.engine.client import Container, Image, Network, Volume

NAMES = {
    "store": "store of ISO stages",
    "running container": "services and development containers that run",
    "build container": "leftover builders",
    "container": "containers that ended",
    "dev container": "development containers",
    "scratch volume": "leftover volumes",
    "network": "networks",
    "image": "images",
    "cache": "build cache",
    "cache mount": "build cache mounts",
    "cache volume": "compilers' and other caches",
    "data volume": "volumes with data",
    "iso": "ISOs",
    "file": "files of this clone",
}
"""Names of each kind, in the order of removal: users of a resource are removed before it.

Build containers and scratch volumes end with their command: those that are there were left by a kill.
"""
ABOUT_TO_START = 600.0
"""Seconds for which a created container counts as one that a command is about to start."""
MANIFEST_SCHEMA = "synos.manifest/1"
ISO_FILES = (".log", ".report.html", ".sha256", ".manifest.json")
"""Endings of the files that belong to an ISO."""


@dataclass(frozen=True, kw_only=True)
class Context(images.Context):
    """What a command works with. ``now`` returns seconds since 1970.

    ``would`` ends a dry run, with what it would do.
    """

    docker: Docker = field(default_factory=Docker)
    disk_usage: Callable[[], DiskUsage] = cache.disk_usage
    union_bytes: Callable[[Sequence[str]], int] = cache.union_bytes
    prune_records: Callable[[Sequence[str]], list[str]] = cache.prune_records
    now: Callable[[], float] = time.time
    would: Callable[..., object] = lambda *_, **__: None

    def clone(self) -> Clone:
        """Return how this clone's resources are recognised."""
        project = self.settings.project
        paths = project.root.glob("docker/*/*Dockerfile*")  # an editor's backup too: its steps were ours
        texts = (path.read_text(errors="replace") for path in paths if path.is_file())
        return Clone(
            project=project.id,
            ledger=ledger.read(project.state_dir),
            steps=frozenset().union(*map(steps_of, texts)),
        )

    def inventory(self) -> Inventory:
        """Ask the engine for everything that it has.

        Raises EngineUnavailable, or HostUnfit where the engine is not on this machine.
        """
        cache.require_local_engine()  # before a client waits for one that is far away
        docker = self.docker
        with ThreadPoolExecutor(3) as threads:
            usage = threads.submit(self.disk_usage)
            containers, images = threads.submit(docker.containers), threads.submit(docker.images)
            return Inventory(
                volumes=docker.volumes(),
                networks=docker.networks(),
                usage=usage.result(),
                containers=containers.result(),
                images=images.result(),
            )


@dataclass(frozen=True)
class Resource:
    """One resource. Sizes in bytes, times in seconds since 1970."""

    kind: str
    id: str
    """By which the engine or the store removes it; the path of a file."""
    name: str
    bytes: int
    """What its removal frees, at most: a layer of an image may be shared with the cache."""
    used: float
    """When it was last used, as far as is known, else created."""
    _: KW_ONLY
    pinned: str = ""
    """Why it cannot be removed at all."""
    group: str = ""
    """Of each group the newest are kept; '' for none."""
    seconds: float | None = None
    """What it took to make; None where that is not known."""
    needed_by: tuple[str, ...] = ()
    """Ids of resources that need it: it stays while one of them does."""
    backup: str = ""
    """A fresh backup of its content, with its age."""
    names: tuple[str, ...] = ()
    """Of an image: the names that this clone gave; of an ISO: its files."""
    reason: str = ""
    """Why it stays, as a prune decides or finds; '' where it goes."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields of --json; ``reason`` only of what stays."""
        fields = asdict(self)
        fields["held"], fields["above"] = fields.pop("pinned"), fields.pop("needed_by")
        return fields if self.reason else {key: value for key, value in fields.items() if key != "reason"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the resources of a clone are read from. ``now`` in seconds since 1970."""

    inventory: Inventory
    clone: Clone
    owned: Inventory
    """What of it belongs to the clone."""
    now: float
    current: frozenset[str] = frozenset()
    """Names of the images that the Dockerfiles give now."""
    leased: frozenset[str] = frozenset()
    """Names of containers and temporary volumes whose command runs."""
    backups: Mapping[str, str] = field(default_factory=dict)
    """Fresh backups, by volume."""
    factory_reset: bool = False
    """The store is removed with its volume, and services and development containers are stopped."""

    @cached_property
    def _uses(self) -> list[tuple[Container, set[str | None]]]:
        """Containers by name, each with the ids and names of its image, networks and volumes."""
        found = []
        for one in sorted(self.inventory.containers, key=lambda one: one.name):
            # of a container that never ran the engine knows the networks' names alone
            networks = (one.network_settings.networks if one.network_settings else None) or {}
            ids = (net.network_id for net in networks.values())
            volumes = (mount.name for mount in one.mounts or () if mount.type == "volume")
            found.append((one, {one.image, *networks, *ids, *volumes}))
        return found

    def users(self, *names: str) -> tuple[str, tuple[str, ...]]:
        """Return the reason to keep what is used under any of these names, and else the ids to remove before it."""
        ours = {one.id for one in self.owned.containers if self.factory_reset or one.state.status not in LIVE}
        found = [one for one, uses in self._uses if not uses.isdisjoint(names)]
        if others := [one.name for one in found if one.id not in ours]:
            return f"in use by {others[0]}", ()
        return "", tuple(one.id for one in found)


def stored(context: Context, image: str) -> Iterator[Resource]:
    """Return the entries of the store as resources; raises ContainerLost, or the error that the container met."""
    took: dict[str, float] = {}  # the longest of all profiles
    for stages in builder.build_seconds(context.settings).values():
        took |= {name: max(seconds, took.get(name, 0.0)) for name, seconds in stages.items()}
    for one in builder.list_store(context, image):
        name, pinned = f"{one.stage or one.kind} {one.key[:12]}", "a build is using it" if one.in_use else ""
        seconds = took.get(one.stage)
        yield Resource("store", one.key, name, one.bytes, one.last_used, pinned=pinned, seconds=seconds)


def isos(output: Path, *, pin_linked: bool = True) -> Iterator[Resource]:
    """Return the ISOs of builds in the output folder; none whose manifest or checksum file is missing or does not fit.

    One of which they cannot be read is pinned: whose it is is not known.
    ``names`` are the paths of its files, the manifest last, because it marks the set.
    """
    found = entries(output, "*.iso")
    linked = {path.resolve() for path in found if path.is_symlink() and pin_linked}
    for iso in (path for path in found if not path.is_symlink()):
        paths = (iso, *(iso.with_name(f"{iso.name}{ending}") for ending in ISO_FILES))
        try:
            status, manifest = iso.stat(), json.loads(paths[-1].read_text())
            profile, checksum = str(manifest["profile"]), f"{manifest['sha256']}  {iso.name}\n"
            fits = (
                (manifest["schema"], manifest["bytes"]["iso"]) == (MANIFEST_SCHEMA, status.st_size)
                and iso.name.endswith(f"-{profile}-{manifest['build_id']}.iso")
                and paths[-2].read_text() == checksum
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            continue
        except OSError as error:
            status, why = iso.lstat(), f"{error.filename} cannot be read: {error.strerror}"
            size = status.st_blocks * 512
            yield Resource("iso", str(iso), iso.name, size, status.st_mtime, pinned=why)
            continue
        if fits:
            files = [path for path in paths if path.is_file() and not path.is_symlink()]
            size = sum(path.stat().st_blocks * 512 for path in files)
            pinned, names = "a link points to it" if iso.resolve() in linked else "", tuple(map(str, files))
            yield Resource(
                "iso", str(iso), iso.name, size, status.st_mtime, pinned=pinned, group=profile, names=names
            )


def resources(facts: Facts) -> list[Resource]:
    """Return all resources of the clone in the engine, without the entries of the store."""
    owned = facts.owned
    return [
        *(_container(one, facts) for one in owned.containers),
        *(_network(one, facts) for one in owned.networks),
        *(_image(one, facts) for one in owned.images),
        *(_volume(one, facts) for one in owned.volumes),
        *_records(facts.inventory.usage.records, owned.usage.records),
    ]


def _container(one: Container, facts: Facts) -> Resource:
    labels, state, created = labels_of(one), str(one.state.status), epoch(one.created)
    role = "dev" if LABEL_FOLDER in labels else labels.get(LABEL_ROLE, "")
    kind = f"{role} container" if role in {"build", "dev"} else "container"
    ended, pinned = epoch(one.state.finished_at), ""
    if role == "build":
        pinned = "its command is running" if one.name in facts.leased else ""
    elif state == "created" and facts.now - created < ABOUT_TO_START:
        pinned = "it is about to start"
    elif state in LIVE and facts.factory_reset:
        kind, ended = "running container", 0.0
    elif state in LIVE:
        ended, pinned = 0.0, f"it is {state}"
    size = facts.inventory.usage.containers.get(one.id, 0)
    return Resource(kind, one.id, one.name, size, ended or created, pinned=pinned)


def _network(one: Network, facts: Facts) -> Resource:
    pinned, needed_by = facts.users(one.id, one.name)
    return Resource("network", one.id, one.name, 0, epoch(one.created), pinned=pinned, needed_by=needed_by)


def _image(one: Image, facts: Facts) -> Resource:
    names = ownership.own_names(one, facts.clone)
    group = names[0].rpartition(":")[0] if names else ""
    others = set(tags_of(one)) - set(names)
    pinned, needed_by = facts.users(one.id)
    if not pinned and facts.current & set(names):
        pinned = "what the Dockerfiles give now"
    if not pinned and others and not names:
        pinned = f"has only names of others, as {min(others)}"
    name = names[0] if names else f"nameless {one.id.removeprefix('sha256:')[:12]}"
    size = 0 if others else facts.inventory.usage.images.get(one.id, 0)
    seconds = facts.clone.ledger.seconds_of(group)
    found = Resource("image", one.id, name, size, _named(one), pinned=pinned, names=names)
    return replace(found, needed_by=needed_by, group=group, seconds=seconds)


def _volume(one: Volume, facts: Facts) -> Resource:
    project, name = facts.clone.project, one.name
    kind = kind_of_volume(one, project)
    pinned, needed_by = facts.users(name)
    if not pinned and kind == "scratch volume" and name in facts.leased:
        pinned = "a command is using it"
    if not pinned and name == f"{project}-{STORE}" and not facts.factory_reset:
        pinned = "the store: its content is removed with --store"
    size, backup = facts.inventory.usage.volumes.get(name, 0), facts.backups.get(name, "")
    created = epoch(one.created_at)
    return Resource(kind, name, name, size, created, pinned=pinned, needed_by=needed_by, backup=backup)


def kind_of_volume(volume: Volume, project: str) -> str:
    """Return what a volume of this clone holds: leftovers of one command, what can be rebuilt, or data."""
    labels = volume.labels or {}
    if LABEL_MARK in labels or labels.get(LABEL_ROLE) not in {"cache", "build"}:  # a copy is made on purpose
        return "data volume"
    return "scratch volume" if is_temporary(volume, project) else "cache volume"


def _records(every: Iterable[Record], ours: Iterable[Record]) -> Iterable[Resource]:
    children: dict[str, list[str]] = defaultdict(list)
    for record in every:
        for parent in record.parents:
            children[parent].append(record.id)
    for record in ours:
        mount = cache_id(record.description) if record.type == ownership.CACHE_MOUNT else ""
        yield Resource(
            "cache",
            record.id,
            f"cache mount {mount}" if mount else record.description,
            0 if record.shared else record.bytes,
            record.used,
            pinned="a build is using it" if record.in_use else "",
            needed_by=tuple(children[record.id]),
        )


def _named(image: Image) -> float:
    """Return when an image got its last name, or was created."""
    tagged = (image.metadata or {}).get("LastTagTime")
    return max(epoch(tagged or None), epoch(image.created))
