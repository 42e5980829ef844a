"""Volumes into archives, out of them, and from one into another: all that GNU tar can keep of a file is kept.

Owners by number, modes, times, extended attributes, access lists, hard and symbolic links, holes, devices. The
work is done in a container that has the volume and nothing of this machine; the archive is its input or output.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.archive import CREATED
from synos_tasks.engine.spec import LABEL_PROJECT
from synos_tasks.engine.spec import labels as own_labels
from synos_tasks.engine.streams import MEMBER, is_file
from synos_tasks.errors import CacheUnusable, DiskFull, OutputNotWritable, SettingsError
from synos_tasks.iso.scratch import sync
from synos_tasks.maint import exports, unfinished, volumes
from synos_tasks.maint.exports import Record
from synos_tasks.maint.files import (
    Sum,
    chunks,
    named_errors,
    partial,
    read_chunks,
    settle,
    sweep,
    write_durably,
)
from synos_tasks.maint.volumes import PLACE, READING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.engine.streams import Ended
    from synos_tasks.engine.volumes import User, VolumeFacts
    from synos_tasks.maint.means import Means

WRITING = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")
"""What it takes to give files their owners, modes, attributes and kinds."""
CHANGED = 1
"""GNU tar's exit code where files changed while it read them."""
COMPOSE = "com.docker.compose."
TARGET = "/target"
_ALL = "--numeric-owner --acls --xattrs --xattrs-include='*' --quoting-style=escape --verbose"
_PACK = (
    f"tar --create {_ALL} --index-file=/dev/stderr --sparse --sort=name --format=posix "
    f"--pax-option=delete=atime,delete=ctime --directory={PLACE} --file=-"
)
_UNPACK = f"tar --extract {_ALL} --same-owner --same-permissions --file=- --directory="
NO_SPACE = "No space left on device"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An archive that was written."""

    path: Path
    record: Record


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A volume that was made; ``files`` is all that is no folder in it."""

    volume: str
    files: int


def export(means: Means, name: str, to: Path | None = None) -> Exported:
    """Write a volume into an archive, by default .synos/volumes/NAME-TIME.tar.zst, and what it is beside it.

    Raises SettingsError where there is no such volume or the file exists, CacheUnusable where the volume cannot be
    read, DiskFull, OutputNotWritable; then there is no archive.
    """
    volume, users = whole(means, name)
    target = export_path(means, volume, to)
    command = ("bash", "-c", f"{_PACK} --use-compress-program='{means.zstd()}' .")
    spec = means.container(command, capabilities=READING, reads={volume.name: PLACE})
    _warn(means, volume, users)
    with named_errors(target.parent, "the export"):
        _ready(means, target.parent)
        with partial(target.parent, mode=0o600) as (temporary, stream):
            record = _written(means, spec, volume, users, stream)
            # the archive gets its name last: where it is, its record is too
            write_durably(exports.record_path(target), record.text(), mode=0o600)
            temporary.rename(target)
            sync(target.parent)
    return Exported(path=target, record=record)


def export_path(means: Means, volume: VolumeFacts, to: Path | None) -> Path:
    """Say where an export goes; raises SettingsError where something is there, or the folder is not."""
    short = volume.name.removeprefix(f"{means.settings.project_id}-")
    time = dt.datetime.fromtimestamp(means.now(), dt.UTC).strftime("%Y%m%dT%H%M%S")
    target = to or exports.folder_of(means.settings) / f"{short}-{time}{exports.SUFFIX}"
    if target.exists() or target.is_symlink():
        raise SettingsError(
            f"{target.name} exists: it was left as it is", where=str(target), hint="--to names another file"
        )
    if to is not None and not to.parent.is_dir():
        raise OutputNotWritable("there is no such folder", where=str(to.parent))
    return target


def whole(means: Means, name: str) -> tuple[VolumeFacts, list[User]]:
    """Find a volume to copy; raises SettingsError where it is not there or not whole."""
    volume, users = volumes.find(means, name)
    if volume.name in unfinished.marked(means.settings):
        raise SettingsError(
            f"volume {volume.name} is not whole: it is not copied",
            where=volume.name,
            why="a command is filling it, or was killed at it",
            hint="wait for its end; of a killed one, the next import or clone of another removes what is left",
        )
    return volume, users


def _ready(means: Means, folder: Path) -> None:
    """Make our own folder of exports, and tidy it up; another, which a user named, is as it is."""
    own = exports.folder_of(means.settings)
    if folder.resolve() == own.resolve():
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(own)


def _written(
    means: Means, spec: ContainerSpec, volume: VolumeFacts, users: Sequence[User], stream: BinaryIO
) -> Record:
    """Write a volume's archive, see it on the disk, and say what it is."""
    read, began = Sum(), means.now()  # what is written from now on may not be in it
    with means.volumes.stream(spec) as packed:
        for part in means.paced(chunks(packed.out), f"volume {volume.name}"):
            stream.write(read.add(part))
        ended = packed.finish()
    known = {user.name for user in users}
    later = [user for user in volumes.live_users(means, volume) if user.name not in known]
    _warn(means, volume, later)
    every = (*users, *later)
    files = _packed(means, volume, every, ended)
    settle(stream)
    return Record(
        volume=volume.name,
        project=means.settings.project_id,
        role=volume.role,
        bytes=read.bytes,
        sha256=read.sha256,
        files=files,
        created=dt.datetime.fromtimestamp(began, dt.UTC).strftime(CREATED),
        users=tuple(user.name for user in every),
        labels=dict(volume.labels),
    )


def load(means: Means, archive: Path, name: str = "") -> Filled:
    """Make a volume of an export; its sum is checked before anything is touched.

    Raises BackupDamaged, SettingsError where there is a volume of that name, CacheUnusable where it cannot be written,
    DiskFull; then the volume is gone again.
    """
    record = exports.read(archive)
    full = load_name(means, record, name)
    exports.verify(archive, record)
    with unfinished.new_volume(means.settings, means.volumes, full, _labels(means, record, full)):
        try:
            given, files = _unpacked(means, archive, full)
        except OSError as error:
            raise exports.damaged(archive, f"it cannot be read: {error.strerror}") from error
        if not given.same_as(record.bytes, record.sha256):
            raise exports.damaged(archive, "it changed while it was read")
        if files != record.files:
            raise exports.damaged(archive, f"it has {files} files, not {record.files}")
    return Filled(volume=full, files=files)


def load_name(means: Means, record: Record, name: str = "") -> str:
    """Say how the volume of an export will be called; raises SettingsError where there is one of that name."""
    if name:
        full = volumes.new_name(means.settings, name)
    elif record.volume.startswith(f"{record.project}-"):
        full = volumes.new_name(means.settings, record.short)
    else:
        full = volumes.new_name(means.settings, record.volume)
    if full not in unfinished.marked(means.settings):  # what a killed command left is removed in time
        unfinished.refuse_existing(means.volumes, full)
    return full


def clone(means: Means, name: str, to: str) -> Filled:
    """Make a new volume with what another holds. Raises as export() and load() do; then there is no new one."""
    volume, users = whole(means, name)
    full = volumes.new_name(means.settings, to)
    _warn(means, volume, users)
    labels = _own(means, volume.role)
    with unfinished.new_volume(means.settings, means.volumes, full, labels):
        spec = means.container(
            ("bash", "-c", f"set -o pipefail; {_PACK} . | {_UNPACK}{TARGET}"),
            capabilities=(*READING, *WRITING),
            reads={volume.name: PLACE},
            writes={full: TARGET},
        )
        with means.volumes.stream(spec) as copied:
            files = _named(copied.out)
            read = _packed(means, volume, users, copied.finish())
        if files != read:
            raise CacheUnusable(f"of {read} files in volume {volume.name} {files} were copied", where=full)
    return Filled(volume=full, files=files)


def _unpacked(means: Means, archive: Path, volume: str) -> tuple[Sum, int]:
    """Fill a volume; gives what of the archive went in, and how many files came out."""
    given = Sum()
    command = ("bash", "-c", f"{_UNPACK}{PLACE} --use-compress-program='zstd -q'")
    spec = means.container(command, capabilities=WRITING, writes={volume: PLACE})
    parts = means.paced(map(given.add, read_chunks(archive)), f"volume {volume}")
    with means.volumes.stream(spec, parts) as stream:
        files = _named(stream.out)
        _refuse(stream.finish(), volume, "filled")
    return given, files


def _warn(means: Means, volume: VolumeFacts, users: Sequence[User]) -> None:
    if not users:
        return
    names = ", ".join(user.name for user in users)
    means.say(
        f"warning: volume {volume.name} is in use by {names}: what is written meanwhile may be copied half"
    )
    if volume.role == "services":
        means.say("what services hold is copied as of one moment by inv services.backup")


def _packed(means: Means, volume: VolumeFacts, users: Sequence[User], ended: Ended) -> int:
    """Give the number of files that tar read; raises CacheUnusable or DiskFull."""
    if ended.code == CHANGED and users:
        means.say(f"warning: files changed while they were read: {ended.said}")
    else:
        _refuse(ended, volume.name, "read")
    return ended.files


def _refuse(ended: Ended, volume: str, what: str) -> None:
    if ended.code == 0:
        return
    if NO_SPACE in ended.said:
        raise DiskFull(
            "no space is left on the engine's disk",
            where=volume,
            why=ended.said,
            hint="inv maint.prune makes room",
        )
    raise CacheUnusable(f"volume {volume} could not be {what}", where=volume, why=ended.said)


def _named(listing: Iterable[bytes]) -> int:
    """Count the files that tar names while it unpacks them."""
    return sum(line.startswith(MEMBER) and is_file(line) for line in listing)


def _labels(means: Means, record: Record, name: str) -> Mapping[str, str]:
    """Give the labels of a volume that is made of an export: compose takes one back that has those it gave it."""
    labels = _own(means, record.role)
    if name != record.volume:
        return labels
    return {**{key: text for key, text in record.labels.items() if key.startswith(COMPOSE)}, **labels}


def _own(means: Means, role: str) -> dict[str, str]:
    """Give the labels of a copy: a role that nobody gave would say that it is of no worth."""
    project = means.settings.project_id
    return own_labels(project, role) if role else {LABEL_PROJECT: project}
