"""The volumes of this project, and copies of them: into archives, out of them, from one into another.

All that GNU tar can keep of a file is kept: owners by number, modes, times, extended attributes, access lists, links, holes,
devices. Tar runs in a container that has the volume and nothing of this machine; the archive is its input or output.
"""

from __future__ import annotations

import datetime as dt
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from synos_tasks import archive, locks
from synos_tasks.archive import CREATED, Manifest
from synos_tasks.builder import container_name
from synos_tasks.engine import cache
from synos_tasks.engine.client import LIVE
from synos_tasks.engine.labels import LABEL_MARK, LABEL_PROJECT, LABEL_ROLE, ONCE, labels
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import CacheUnusable, DiskFull, OutputNotWritable, SettingsError
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import BUILDER
from synos_tasks.iso.scratch import entries, scratch, sync
from synos_tasks.maint import exports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.maint.resources import Context

SOURCE, TARGET = "/volume", "/target"
"""Where a container has the volume that it reads, and the one that it fills."""
READING = ("DAC_READ_SEARCH",)
"""Lets programs read files that only their owner may read."""
WRITING = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")
"""Let tar give files their owners, modes, attributes and kinds."""
MARK = ".unfinished-"
"""Begins the name of a file in .synos/volumes that exists until a copy is whole. The copy's label has that name."""
PARTIAL = ".synos-partial-"
_LOOK = (
    f"set -o pipefail; find {SOURCE} -printf '%y %T@\\n' | awk '"
    '$1 == "d" { folders++ } $1 != "d" { files++ } $2 + 0 > newest + 0 { newest = $2 } '
    "END { print folders - 1, files + 0, newest }'"
)
_ALL = "--numeric-owner --acls --xattrs --xattrs-include='*' --quoting-style=escape"
_NAMED = "--verbose --totals --index-file=/dev/stderr"
_PACK = (
    f"tar --create {_ALL} --sparse --sort=name --format=posix "
    f"--pax-option=delete=atime,delete=ctime --directory={SOURCE} --file=-"
)
_UNPACK = f"tar --extract {_ALL} {_NAMED} --same-owner --same-permissions --file=- --directory={TARGET}"
_COUNT = (
    "awk '/^\\.\\// { files += !/\\/$/; next } /^Total bytes / { bytes = $4; next } { print substr($0, 1, 1000) } "
    'END { print "files: " files + 0, bytes + 0 }\''
)
"""On standard error names of files start with ./ and messages do not: the last line becomes their number, and tar's bytes."""
_EXPAND = (
    "zstd --decompress --quiet | {{ head --bytes={0}; "
    "[ $(head --bytes=1 | wc --bytes) = 0 ] || {{ echo it unpacks to more than {0} bytes >&2; false; }}; }}"
)
"""Unpack no more than the manifest says: a few kB may become any number of bytes."""
MEMORY_MB = 1024
"""For tar, which keeps the attributes of a file in memory, however many an archive has."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One volume. ``bytes`` is None where the engine is on another machine; ``created``: ISO-8601 in UTC."""

    name: str
    short: str
    role: str
    bytes: int | None
    created: str
    users: tuple[str, ...]
    """Containers that have it; running ones are marked."""
    live: tuple[str, ...]
    """Those that may write to it now."""
    labels: Mapping[str, str]
    unfinished: bool = False
    """A command is filling it, or was killed while it did."""


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """What is known of one volume; exports and backups are the newest first."""

    volume: Listed
    folders: int
    files: int
    changed: str
    """The newest change of a file or folder in it, ISO-8601 in UTC."""
    exports: list[str]
    backups: list[str]
    damaged: list[str]
    """Exports and backups that cannot be used, each with the reason."""


def listing(context: Context, *, measured: bool = True) -> list[Listed]:
    """Return all volumes of the project, by name; raise EngineUnavailable. To measure them takes long."""
    project, found = context.settings.project.id, []
    volumes = sorted(context.docker.volumes({LABEL_PROJECT: project}), key=lambda one: one.name)
    mounts = [(each, {mount.name for mount in each.mounts or ()}) for each in context.docker.containers()]
    measured = measured and bool(volumes) and cache.socket_path() is not None
    sizes = cache.disk_usage("volume").volumes if measured else {}
    marks = {path.name for path in entries(exports.folder_of(context.settings), f"{MARK}*")}
    for one in volumes:
        marked = one.labels or {}
        users = [each for each, mounted in mounts if one.name in mounted]
        live = tuple(sorted(each.name for each in users if each.state.status in LIVE))
        shown = sorted(f"{each.name} (runs)" if each.name in live else each.name for each in users)
        found.append(
            Listed(
                name=one.name,
                short=one.name.removeprefix(f"{project}-"),
                role=marked.get(LABEL_ROLE, ""),
                bytes=sizes.get(one.name),
                created=one.created_at.astimezone(dt.UTC).strftime(CREATED) if one.created_at else "",
                users=tuple(shown),
                live=live,
                labels=marked,
                unfinished=marked.get(LABEL_MARK) in marks,
            )
        )
    return found


def find(context: Context, name: str, *, measured: bool = False) -> Listed:
    """Return a volume by its full or short name; raise SettingsError."""
    found, project = listing(context, measured=measured), context.settings.project.id
    for one in found:
        if one.name in {name, f"{project}-{name}"}:
            return one
    raise SettingsError(
        f"there is no volume {name!r} of this project",
        why=f"only those with the label {LABEL_PROJECT}={project} are looked at",
        hint=f"there are: {', '.join(one.short for one in found) or 'none'}",
    )


def inspect(context: Context, name: str) -> Inspected:
    """Look into one volume. Raise SettingsError where it is not ours, CacheUnusable where it cannot be read."""
    volume = find(context, name, measured=True)
    context.would(f"look into volume {volume.name}")
    spec, printed = _spec(context, _LOOK, source=volume.name), list[bytes]()
    with context.lease(spec.name):
        code, stderr = context.docker.pipe(spec, printed.append)
    answer = b"".join(printed).split()
    if code or len(answer) != 3:
        raise CacheUnusable(f"volume {volume.name} cannot be read", where=volume.name, why=stderr)
    backups = archive.listing(exports.backups_of(context.settings, volume.labels), exports.BACKUP_FACTS)
    whole, damaged = exports.known(context.settings, volume.name)
    return Inspected(
        volume=volume,
        folders=int(answer[0]),
        files=int(answer[1]),
        changed=dt.datetime.fromtimestamp(float(answer[2]), dt.UTC).strftime(CREATED),
        exports=[str(path) for path, _ in whole],
        backups=[one.name for one in backups if not one.trouble],
        damaged=[*damaged, *(f"backup {one.name}: {one.trouble}" for one in backups if one.trouble)],
    )


def export(context: Context, name: str, to: Path | None = None) -> tuple[Path, Manifest]:
    """Write a volume into an archive, by default .synos/volumes/NAME-TIME.tar.zst, and its manifest next to it.

    Raises SettingsError where there is no such volume or the file exists, CacheUnusable where the volume cannot be
    read, DiskFull, OutputNotWritable; then there is no archive.
    """
    volume = _whole(context, name)
    began = dt.datetime.fromtimestamp(context.now(), dt.UTC)
    usual = f"{volume.short}-{began:%Y%m%dT%H%M%S}{exports.SUFFIX}"
    target = to or exports.folder_of(context.settings) / usual
    if target.exists() or target.is_symlink():
        hint = "--to names another file"
        raise SettingsError(f"{target.name} exists: it was left as it is", where=str(target), hint=hint)
    if to is not None and not to.parent.is_dir():
        raise OutputNotWritable("there is no such folder", where=str(to.parent))
    context.would(f"write volume {volume.name} into {target}", volume=volume.name, file=str(target))
    pack = f"{_PACK} {_NAMED} --use-compress-program='zstd -q -3 -T{context.settings.build.cpus}' ."
    with archive.disk_errors(target.parent, "the export"):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with scratch(target.parent, PARTIAL) as working:
            draft = archive.Draft(working)
            with draft.file(exports.CONTENT) as out:
                count, unpacked, users = _tar(context, pack, source=volume, out=out.write)
            facts = {"project": context.settings.project.id, "role": volume.role, "files": count}
            facts |= {"unpacked": unpacked, "users": users, "labels": volume.labels}
            created, files = began.strftime(CREATED), tuple(draft.files)
            manifest = Manifest(name=volume.name, created=created, facts=facts, files=files)
            with draft.file("json") as out:
                out.write(manifest.text().encode())
            # the archive gets its name last: where it is, its manifest is too
            (working / "json").rename(f"{target}.json")
            (working / exports.CONTENT).rename(target)
            sync(target.parent)
    return target, manifest


def load(context: Context, path: Path, name: str = "") -> tuple[str, int]:
    """Make a volume of an archive, which is checked before anything is touched; return its name, and how many files it has.

    Raises BackupDamaged, SettingsError where there is a volume of that name, CacheUnusable where it cannot be written,
    DiskFull; then the volume is gone again.
    """
    found = exports.read(path)
    facts = found.facts
    full = free_name(context, name or found.name.removeprefix(f"{facts['project']}-"))
    unpack = f"{_EXPAND.format(facts['unpacked'])} | {_UNPACK}"
    stack = {key: text for key, text in facts["labels"].items() if key.startswith("com.docker.compose.")}
    # under its old name, compose takes it back by the labels that it gave
    named = stack if full == found.name else {}
    with exports.verified(path, found) as stream:
        context.would(f"make volume {full} of {path}", volume=full, files=facts["files"])
        with _new_volume(context, full, facts["role"], named):
            files, _, _ = _tar(context, unpack, target=full, stdin=stream)
            if files != facts["files"]:
                raise exports.damaged(path, f"it has {files} files, not {facts['files']}")
    return full, files


def clone(context: Context, name: str, to: str) -> tuple[str, int]:
    """Make a new volume with what another holds. Raises and returns as load() does; then there is no new one."""
    volume, full = _whole(context, name), free_name(context, to)
    context.would(f"make volume {full} of volume {volume.name}", volume=full)
    with _new_volume(context, full, volume.role, {}):
        files, _, _ = _tar(context, f"{_PACK} . | {_UNPACK}", source=volume, target=full)
    return full, files


def _whole(context: Context, name: str) -> Listed:
    """Return a volume to copy; raise SettingsError where there is none, or it is not whole."""
    volume = find(context, name)
    if volume.unfinished:
        hint = "wait for its end; what a killed one left is removed by the next import or clone of another"
        why = "a command is filling it, or was killed while it did"
        what = f"volume {volume.name} is not whole: it is not copied"
        raise SettingsError(what, where=volume.name, why=why, hint=hint)
    return volume


def free_name(context: Context, name: str) -> str:
    """Return the full name of a copy, with the project's id in front; raise SettingsError where a volume has it.

    What a killed command left does not count: it is removed in time.
    """
    prefix = f"{context.settings.project.id}-"
    full = prefix + name.removeprefix(prefix)
    # with ONCE in it, it would be taken for what a killed command left
    if not exports.VOLUME_NAME.fullmatch(full) or ONCE in full:
        hint = f"use letters, digits, . _ and -, and not {ONCE}"
        raise SettingsError(f"{name!r} is not a valid name for a volume", hint=hint)
    unfinished = (one.name for one in listing(context, measured=False) if one.unfinished)
    if context.docker.volume(full) and full not in unfinished:
        raise _taken(full)
    return full


def _taken(name: str) -> SettingsError:
    hint = "use another name: --name for an import, --to for a clone"
    return SettingsError(f"volume {name} exists already: it was left as it is", where=name, hint=hint)


def _warn(context: Context, volume: Listed, warned: Sequence[str]) -> tuple[str, ...]:
    """Warn of containers that may write to a volume now, but of no one twice; return their names."""
    users = tuple(name for name in volume.live if name not in warned)
    if users:
        names = ", ".join(users)
        context.say(f"warning: volume {volume.name} is in use by {names}: the copy may be inconsistent")
        if volume.role == "services" and not warned:
            context.say("`inv services.backup` copies what services hold as of one moment")
    return users


@contextmanager
def _new_volume(context: Context, name: str, role: str, more: Mapping[str, str]) -> Iterator[None]:
    """Make a volume for the caller to fill; after an exception it is gone again.

    Until it is whole there is a mark, whose lock this command holds. The volume's label has the mark's random name, so
    that nothing else is ever removed for it. What killed commands left is removed first.
    """
    folder, project = exports.folder_of(context.settings), context.settings.project.id
    mark = folder / f"{MARK}{secrets.token_hex(8)}"
    with archive.disk_errors(folder, "the mark of an unfinished volume"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in entries(folder, f"{MARK}*"):  # what a container still uses is left for the next time
            with locks.try_exclusive(left) as is_free:
                if is_free and _is_gone(context, left):
                    left.unlink(missing_ok=True)
        mark.touch()
        sync(folder)  # first: without its mark a volume that is half full would pass for a whole one
    # with a role that its source has not, it might be taken for a cache
    given = labels(project, role) if role else {LABEL_PROJECT: project}
    is_whole = False
    with locks.exclusive(mark):
        try:
            context.docker.create_volume(name, {**more, **given, LABEL_MARK: mark.name})
            made = context.docker.volume(name)
            if made is None or (made.labels or {}).get(LABEL_MARK) != mark.name:
                raise _taken(name)  # another command was quicker, and the engine made none
            yield
            is_whole = True
        finally:
            if is_whole or _is_gone(context, mark):  # or it stays for the next command
                mark.unlink()


def _is_gone(context: Context, mark: Path) -> bool:
    """Remove the volume of a mark; tell whether there is none any more."""
    found = context.docker.volumes({LABEL_MARK: mark.name})
    return not any(context.docker.remove_volume(one.name) for one in found)


def _tar(
    context: Context,
    tar: str,
    *,
    source: Listed | None = None,
    target: str = "",
    stdin: BinaryIO | None = None,
    out: Callable[[bytes], object] = len,
) -> tuple[int, int, tuple[str, ...]]:
    """Run tar; return how many files it named, its bytes, and which containers ran with the source meanwhile.

    Raises CacheUnusable or DiskFull. Files that changed while they were read, which tar ends with 1 for, are an error
    only where nobody uses the volume.
    """
    users = _warn(context, source, ()) if source else ()
    name, what = (source.name, "read") if source else (target, "filled")
    script = f"set -o pipefail; exec 3>&1; {{ {tar}; }} 2>&1 >&3 3>&- | {_COUNT} >&2"
    spec = _spec(context, script, source=source.name if source else "", target=target)
    with context.lease(spec.name):
        code, stderr = context.docker.pipe(spec, out, stdin)
    if source:
        users = (*users, *_warn(context, find(context, source.name), users))
    messages, _, counted = stderr.rpartition("files: ")
    if code == 1 and users:
        context.say(f"warning: files changed while they were read: {messages.strip()}")
    elif code and "No space left on device" in messages:
        full, hint = "no space is left on the engine's disk", "inv maint.prune makes room"
        raise DiskFull(full, where=name, why=messages.strip(), hint=hint)
    elif code:
        raise CacheUnusable(f"volume {name} could not be {what}", where=name, why=stderr)
    files, unpacked = map(int, counted.split())
    return files, unpacked, users


def _spec(context: Context, script: str, *, source: str = "", target: str = "") -> ContainerSpec:
    """Return a container of the builder image, which has GNU tar and zstd: with volumes, without network."""
    project = context.settings.project.id
    return ContainerSpec(
        name=container_name(project, "maint"),
        image=ensure_image(context, BUILDER),
        command=("bash", "-c", script),
        labels=labels(project, "build"),
        capabilities=(*(READING if source else ()), *(WRITING if target else ())),
        volumes={target: TARGET} if target else {},
        read_only_volumes={source: SOURCE} if source else {},
        tmpfs={"/work": "size=1m"},  # or the engine makes the volume that the image declares there
        memory_mb=MEMORY_MB,
        environment={"LC_ALL": "C"},  # names of files are bytes
        network="none",
        logged=False,
    )
