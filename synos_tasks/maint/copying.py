"""Volumes into archives, out of them, and from one into another: all that GNU tar can keep of a file is kept.

Owners by number, modes, times, extended attributes, access lists, hard and symbolic links, holes, devices. Tar runs in a
container that has the volume and nothing of this machine; the archive is its input or output.
"""

from __future__ import annotations

import datetime as dt
import secrets
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import archive, locks
from synos_tasks.engine.labels import LABEL_MARK, LABEL_PROJECT, LABEL_ROLE, labels
from synos_tasks.engine.run import streaming
from synos_tasks.errors import CacheUnusable, DiskFull, OutputNotWritable, SettingsError
from synos_tasks.iso.scratch import scratch, sync
from synos_tasks.maint import exports
from synos_tasks.maint.exports import Export
from synos_tasks.maint.volumes import MARK, READING, SOURCE, container, labels_of, new_name, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from synos_tasks.engine.client import Volume
    from synos_tasks.engine.run import ExitResult
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.maint.resources import Context

WRITING = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")
"""Let tar give files their owners, modes, attributes and kinds."""
CHANGED = 1
"""GNU tar's exit code where files changed while it read them."""
TARGET = "/target"
COMPOSE = "com.docker.compose."
PARTIAL = ".synos-partial-"
PROGRESS_SECONDS = 10.0
CHUNK = 2**20
_ALL = "--numeric-owner --acls --xattrs --xattrs-include='*' --quoting-style=escape"
_NAMED = "--verbose --index-file=/dev/stderr"
_PACK = (
    f"tar --create {_ALL} --sparse --sort=name --format=posix "
    f"--pax-option=delete=atime,delete=ctime --directory={SOURCE} --file=-"
)
_UNPACK = f"tar --extract {_ALL} {_NAMED} --same-owner --same-permissions --file=- --directory="
_COUNT = "awk '/^\\.\\// { files += !/\\/$/; next } { print } END { print \"files: \" files + 0 }'"
"""On standard error names of files start with ./ and messages do not: the last line becomes the number of files."""


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A volume that was made; ``files`` is all that is no folder in it."""

    volume: str
    files: int


def export_path(context: Context, volume: Volume, to: Path | None) -> Path:
    """Return where the archive of a volume goes; raise SettingsError where something is there, OutputNotWritable."""
    short = volume.name.removeprefix(f"{context.settings.project_id}-")
    moment = dt.datetime.fromtimestamp(context.now(), dt.UTC).strftime("%Y%m%dT%H%M%S")
    target = to or exports.folder_of(context.settings) / f"{short}-{moment}{exports.SUFFIX}"
    if target.exists() or target.is_symlink():
        hint = "--to names another file"
        raise SettingsError(f"{target.name} exists: it was left as it is", where=str(target), hint=hint)
    if to is not None and not to.parent.is_dir():
        raise OutputNotWritable("there is no such folder", where=str(to.parent))
    return target


def export(context: Context, name: str, to: Path | None = None) -> tuple[Path, Export]:
    """Write a volume into an archive, by default .synos/volumes/NAME-TIME.tar.zst, and its manifest beside it.

    Raises SettingsError where there is no such volume or the file exists, CacheUnusable where the volume cannot be
    read, DiskFull, OutputNotWritable; then there is no archive.
    """
    volume = whole(context, name)
    target = export_path(context, volume, to)
    began = dt.datetime.fromtimestamp(context.now(), dt.UTC).strftime(archive.CREATED)
    before = _warn(context, volume)
    zstd = f"zstd -q -3 -T{context.settings.build.cpus}"
    pack = _counted(f"{_PACK} {_NAMED} --use-compress-program='{zstd}' .")
    with archive.disk_errors(target.parent, "the export"), _working_folder(context, target.parent) as working:
        draft = archive.Draft(working)
        with draft.file("archive") as out:
            ended = _run(
                context, container(context, pack, READING, reads={volume.name: SOURCE}), out=out.write
            )
        users = (*before, *_warn(context, volume, before))
        done = Export(
            volume=volume.name,
            project=context.settings.project_id,
            role=labels_of(volume).get(LABEL_ROLE, ""),
            bytes=draft.files[0].bytes,
            sha256=draft.files[0].sha256,
            files=_files(context, volume.name, "read", ended, users),
            created=began,
            users=users,
            labels=labels_of(volume),
        )
        with draft.file("manifest") as out:
            out.write(done.manifest.text().encode())
        # the archive gets its name last: where it is, its manifest is too
        (working / "manifest").rename(exports.manifest_path(target))
        (working / "archive").rename(target)
        sync(target.parent)
    return target, done


def check_import(context: Context, path: Path, name: str = "") -> tuple[Export, str]:
    """Check an archive; return its manifest, and the full name of the volume that it is to become.

    Raises SettingsError where that is taken, BackupDamaged.
    """
    found = exports.read(path)
    full = free_name(context, name or found.volume.removeprefix(f"{found.project}-"))
    exports.verify(path, found)
    return found, full


def load(context: Context, path: Path, name: str = "") -> Filled:
    """Make a volume of an archive, which is checked before anything is touched.

    Raises BackupDamaged, SettingsError where there is a volume of that name, CacheUnusable where it cannot be written,
    DiskFull; then the volume is gone again.
    """
    found, full = check_import(context, path, name)
    marks = _labels(context, found.role)
    if full == found.volume:  # compose takes a volume back that has the labels that it gave it
        marks = {key: text for key, text in found.labels.items() if key.startswith(COMPOSE)} | marks
    unpack = _counted(f"{_UNPACK}{SOURCE} --use-compress-program='zstd -q'")
    with _new_volume(context, full, marks):
        spec = container(context, unpack, WRITING, writes={full: SOURCE})
        files = _files(context, full, "filled", _run(context, spec, given=exports.content(path, found)))
        if files != found.files:
            raise exports.damaged(path, f"it has {files} files, not {found.files}")
    return Filled(volume=full, files=files)


def clone(context: Context, name: str, to: str) -> Filled:
    """Make a new volume with what another holds. Raises as export() and load() do; then there is no new one."""
    volume, full = whole(context, name), free_name(context, to)
    users = _warn(context, volume)
    copy = _counted(f"{{ {_PACK} . | {_UNPACK}{TARGET}; }}")
    with _new_volume(context, full, _labels(context, labels_of(volume).get(LABEL_ROLE, ""))):
        rights = (*READING, *WRITING)
        spec = container(context, copy, rights, reads={volume.name: SOURCE}, writes={full: TARGET})
        files = _files(context, volume.name, "copied", _run(context, spec), users)
    return Filled(volume=full, files=files)


def whole(context: Context, name: str) -> Volume:
    """Return a volume to copy; raise SettingsError where there is none, or it is not whole."""
    found = snapshot(context)
    volume = found.find(name)
    if found.is_unfinished(volume):
        raise SettingsError(
            f"volume {volume.name} is not whole: it is not copied",
            where=volume.name,
            why="a command is filling it, or was killed while it did",
            hint="wait for its end; what a killed one left is removed by the next import or clone of another",
        )
    return volume


def free_name(context: Context, name: str) -> str:
    """Return the full name of a copy; raise SettingsError where a volume has it, whoever's.

    What a killed command left does not count: it is removed in time.
    """
    full = new_name(context.settings, name)
    volume = context.docker.volume(full)
    if volume and not snapshot(context).is_unfinished(volume):
        raise _taken(full)
    return full


def _taken(name: str) -> SettingsError:
    hint = "use another name: --name for an import, --to for a clone"
    return SettingsError(f"volume {name} exists already: it was left as it is", where=name, hint=hint)


def _warn(context: Context, volume: Volume, warned: Sequence[str] = ()) -> tuple[str, ...]:
    """Warn of containers that may write to a volume now, but of no one twice; return their names."""
    users = tuple(name for name in snapshot(context).live_users(volume) if name not in warned)
    if users:
        names = ", ".join(users)
        context.say(f"warning: volume {volume.name} is in use by {names}: the copy may be inconsistent")
        if labels_of(volume).get(LABEL_ROLE) == "services" and not warned:
            context.say("`inv services.backup` copies what services hold as of one moment")
    return users


def _labels(context: Context, role: str) -> dict[str, str]:
    """Return the labels of a copy. One of a volume without a role has none: with one it might be taken for a cache."""
    project = context.settings.project_id
    return labels(project, role) if role else {LABEL_PROJECT: project}


@contextmanager
def _new_volume(context: Context, name: str, given: Mapping[str, str]) -> Iterator[None]:
    """Make a volume for the caller to fill; after an exception it is gone again.

    Until it is whole there is a mark, whose lock this command holds. The volume's label has the mark's random name, so
    that nothing else is ever removed for it. What killed commands left is removed first.
    """
    folder = exports.folder_of(context.settings)
    mark = folder / f"{MARK}{secrets.token_hex(8)}"
    with archive.disk_errors(folder, "the mark of an unfinished volume"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_leftovers(context)
        mark.touch()
        sync(folder)  # before there is a volume that only its mark tells from a whole one
    is_whole = False
    with locks.exclusive(mark):
        try:
            context.docker.create_volume(name, {**given, LABEL_MARK: mark.name})
            made = context.docker.volume(name)
            if made is None or labels_of(made).get(LABEL_MARK) != mark.name:
                raise _taken(name)  # another command was quicker, and the engine made none
            yield
            is_whole = True
        finally:
            if is_whole or _is_gone(context, mark):  # or it stays for the next command
                mark.unlink()


def _remove_leftovers(context: Context) -> None:
    """Remove what killed commands left; what a container still uses is left for the next time."""
    for mark in exports.folder_of(context.settings).glob(f"{MARK}*"):
        with locks.try_exclusive(mark) as is_free:
            if is_free and _is_gone(context, mark):
                mark.unlink(missing_ok=True)


def _is_gone(context: Context, mark: Path) -> bool:
    """Remove the volume of a mark; tell whether there is none any more."""
    found = context.docker.volumes({LABEL_MARK: mark.name})
    return not any(context.docker.remove_volume(one.name) for one in found)


@contextmanager
def _working_folder(context: Context, folder: Path) -> Iterator[Path]:
    """Make a hidden folder in ``folder``. Our own is tidied up before; in one that a user named nothing else changes."""
    own = exports.folder_of(context.settings)
    if folder.resolve() == own.resolve():
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        with scratch(own, PARTIAL) as working:
            yield working
    else:
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder) as name:
            yield Path(name)


def _counted(tar: str) -> str:
    """Return a script that ends as tar does, with the number of files as the last line of standard error."""
    return f"set -o pipefail; exec 3>&1; {tar} 2>&1 >&3 3>&- | {_COUNT} >&2"


def _run(
    context: Context,
    spec: ContainerSpec,
    *,
    given: Iterable[bytes] = (),
    out: Callable[[bytes], object] = len,
) -> ExitResult:
    """Run a container from its input to its output, and say every few seconds how much has passed."""
    passed, said = 0, time.monotonic()

    def paced(chunks: Iterable[bytes]) -> Iterator[bytes]:
        nonlocal passed, said
        for chunk in chunks:
            passed += len(chunk)
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                context.say(f"  {passed / 1e9:.2f} GB")
            yield chunk

    with streaming(context.docker, spec, paced(given)) as stream:
        for chunk in paced(iter(lambda: stream.out.read(CHUNK), b"")):
            out(chunk)
        return stream.finish()


def _files(context: Context, volume: str, what: str, ended: ExitResult, users: Sequence[str] = ()) -> int:
    """Return the number of files that tar named; raise CacheUnusable or DiskFull where it failed.

    Files that changed meanwhile are an error only where nobody uses the volume.
    """
    messages, _, files = ended.stderr.rpartition("files: ")
    if ended.code == CHANGED and users:
        context.say(f"warning: files changed while they were read: {messages.strip()}")
    elif ended.code and "No space left on device" in messages:
        what, hint = "no space is left on the engine's disk", "inv maint.prune makes room"
        raise DiskFull(what, where=volume, why=messages.strip(), hint=hint)
    elif ended.code:
        raise CacheUnusable(f"volume {volume} could not be {what}", where=volume, why=ended.stderr)
    return int(files)
