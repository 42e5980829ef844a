"""The volumes of this project: which there are, who uses them, what is in one, and how a new one may be called."""

from __future__ import annotations

import datetime as dt
import difflib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks import archive
from synos_tasks.archive import CREATED
from synos_tasks.engine import cache
from synos_tasks.engine.client import LIVE
from synos_tasks.engine.labels import (
    LABEL_COMPOSE_PROJECT,
    LABEL_MARK,
    LABEL_PROJECT,
    LABEL_ROLE,
    ONCE,
    labels,
)
from synos_tasks.engine.run import streaming
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import CacheUnusable, SettingsError
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import BUILDER
from synos_tasks.maint import exports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synos_tasks.engine.client import Container, Volume
    from synos_tasks.maint.resources import Context
    from synos_tasks.settings import Settings

SOURCE = "/volume"
READING = ("DAC_READ_SEARCH",)
"""Lets programs read files that only their owner may read."""
MARK = ".unfinished-"
"""The name of a file in .synos/volumes that is there until a copy is whole; the copy's label has its full name."""
_LOOK = (
    f"set -o pipefail; find {SOURCE} -printf '%y %T@\\n' | awk '"
    '$1 == "d" { folders++ } $1 != "d" { files++ } $2 + 0 > newest + 0 { newest = $2 } '
    "END { print folders - 1, files + 0, newest }'"
)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One line of the listing. ``bytes`` is None where the engine is on another machine; ``created``: ISO-8601 in UTC."""

    name: str
    short: str
    role: str
    bytes: int | None
    created: str
    users: tuple[str, ...]
    """Containers that have it, also under its other names; running ones are marked."""
    alias_of: str = ""
    """The volume, or the folder, that this is another name of; it takes no bytes of its own."""
    unfinished: bool = False
    """A command is filling it, or was killed while it did."""


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """All of one volume. ``changed`` is the newest change of a file or folder in it, ISO-8601 in UTC."""

    volume: Listed
    files: int
    folders: int
    changed: str
    exports: tuple[str, ...]
    """Paths, newest first."""
    backups: tuple[str, ...]
    """Names of the backups of its stack of services, newest first."""


@dataclass(frozen=True)
class Snapshot:
    """The volumes of this project by name, all containers, and the marks of unfinished copies."""

    context: Context
    volumes: Mapping[str, Volume]
    containers: Sequence[Container]
    marks: frozenset[str]

    def find(self, name: str) -> Volume:
        """Return a volume by its full or short name; raise SettingsError."""
        project = self.context.settings.project_id
        for wanted in (name, f"{project}-{name}"):
            if wanted in self.volumes:
                return self.volumes[wanted]
        if exports.is_volume_name(name) and self.context.docker.volume(name):
            raise SettingsError(
                f"volume {name} is not this project's: it is left alone",
                where=name,
                why=f"it does not carry the label {LABEL_PROJECT}={project}",
                hint="inv maint.volumes lists those that are",
            )
        short = [one.removeprefix(f"{project}-") for one in self.volumes]
        close = difflib.get_close_matches(name, [*short, *self.volumes], n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        hint += f"there are: {', '.join(short)}" if short else "this project has no volume"
        raise SettingsError(f"there is no volume {name!r} of this project", hint=hint)

    def users(self, volume: Volume) -> list[Container]:
        """Return the containers that have a volume, under whatever name."""
        place = device(volume) or str(volume.mountpoint or "")
        same = (one for one in self.volumes.values() if place and place in {str(one.mountpoint), device(one)})
        names = {volume.name, *(one.name for one in same)}
        return [one for one in self.containers if names & {mount.name for mount in one.mounts or ()}]

    def live_users(self, volume: Volume) -> list[str]:
        """Return the names of the containers that may write to it now."""
        return sorted(one.name for one in self.users(volume) if one.state.status in LIVE)

    def is_unfinished(self, volume: Volume) -> bool:
        """Tell whether a command is filling it, or was killed while it did."""
        return labels_of(volume).get(LABEL_MARK) in self.marks

    def listed(self, volume: Volume, sizes: Mapping[str, int]) -> Listed:
        """Return its line of the listing."""
        users = self.users(volume)
        place = device(volume)
        same = (one.name for one in self.volumes.values() if str(one.mountpoint) == place)
        return Listed(
            name=volume.name,
            short=volume.name.removeprefix(f"{self.context.settings.project_id}-"),
            role=labels_of(volume).get(LABEL_ROLE, ""),
            bytes=0 if place else sizes.get(volume.name),
            created=volume.created_at.astimezone(dt.UTC).strftime(CREATED) if volume.created_at else "",
            users=tuple(
                sorted(f"{one.name} (runs)" if one.state.status in LIVE else one.name for one in users)
            ),
            alias_of=next(same, place) if place else "",
            unfinished=self.is_unfinished(volume),
        )


def snapshot(context: Context) -> Snapshot:
    """Ask the engine; raise EngineUnavailable."""
    found = context.docker.volumes({LABEL_PROJECT: context.settings.project_id})
    by_name = {one.name: one for one in sorted(found, key=lambda one: one.name)}
    marks = exports.folder_of(context.settings).glob(f"{MARK}*")
    containers = context.docker.containers() if found else []
    return Snapshot(context, by_name, containers, frozenset(path.name for path in marks))


def listing(context: Context) -> list[Listed]:
    """Return all volumes of the project, by name; raise EngineUnavailable."""
    found = snapshot(context)
    sizes = _sizes() if found.volumes else {}
    return [found.listed(one, sizes) for one in found.volumes.values()]


def inspect(context: Context, name: str) -> Inspected:
    """Look into one volume. Raise SettingsError where it is not ours, CacheUnusable where it cannot be read."""
    found = snapshot(context)
    volume = found.find(name)
    with streaming(context.docker, container(context, _LOOK, READING, reads={volume.name: SOURCE})) as stream:
        answer = stream.out.read().split()
        ended = stream.finish()
    if ended.code or len(answer) != 3:
        raise CacheUnusable(f"volume {volume.name} cannot be read", where=volume.name, why=ended.stderr)
    stack = labels_of(volume).get(LABEL_COMPOSE_PROJECT, "").removeprefix(f"{context.settings.project_id}-")
    backups = archive.listing(context.settings.state_dir / "backups" / stack) if stack else []
    return Inspected(
        volume=found.listed(volume, _sizes()),
        folders=int(answer[0]),
        files=int(answer[1]),
        changed=dt.datetime.fromtimestamp(float(answer[2]), dt.UTC).strftime(CREATED),
        exports=tuple(str(path) for path, _ in exports.known(context.settings, volume.name)),
        backups=tuple(one.name for one in backups if not one.trouble),
    )


def new_name(settings: Settings, name: str) -> str:
    """Return the full name of a volume that is to be made: with the project's id in front; raise SettingsError."""
    prefix = f"{settings.project_id}-"
    full = prefix + name.removeprefix(prefix)
    if not exports.is_volume_name(full):
        raise SettingsError(
            f"{name!r} is not a valid name for a volume", hint="use letters, digits, . _ and -"
        )
    if ONCE in full:
        hint = f"use a name without {ONCE.strip('-')}-"
        raise SettingsError(
            f"{full} would be taken for what a killed command left, and be removed", hint=hint
        )
    return full


def labels_of(volume: Volume) -> dict[str, str]:
    """Return its labels."""
    return volume.labels or {}


def device(volume: Volume) -> str:
    """Return the folder that a volume is another name of; '' where it has its own."""
    return (volume.options or {}).get("device", "")


def container(
    context: Context,
    script: str,
    capabilities: tuple[str, ...],
    *,
    reads: Mapping[str, str] | None = None,
    writes: Mapping[str, str] | None = None,
) -> ContainerSpec:
    """Describe a container of the builder image, which has GNU tar and zstd: with volumes, without network."""
    return ContainerSpec(
        name=f"{context.settings.project_id}-maint-{secrets.token_hex(4)}",
        image=ensure_image(context.settings, context.docker, BUILDER, context.say),
        command=("bash", "-c", script),
        labels=labels(context.settings.project_id, "build"),
        capabilities=capabilities,
        volumes=writes or {},
        read_only_volumes=reads or {},
        tmpfs={"/work": "size=1m"},  # or the engine makes the volume that the image declares there
        environment={"LC_ALL": "C"},  # names of files are bytes
        network="none",
        logged=False,
    )


def _sizes() -> Mapping[str, int]:
    return cache.disk_usage("volume").volumes if cache.socket_path() else {}
