"""Backups on disk: folders with files and a manifest, whole or not there at all, and checked before use.

``NAME/manifest.json`` has the size and SHA-256 of every file, ``NAME/manifest.json.sha256`` its own. A
folder without files is no part of a backup.
"""

from __future__ import annotations

import datetime as dt
import difflib
import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from synos_tasks.errors import BackupDamaged, DiskFull, OutputNotWritable, SettingsError
from synos_tasks.host.facts import free_disk_bytes
from synos_tasks.iso.scratch import sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA = "synos.backup/1"
MANIFEST = "manifest.json"
SUM = "manifest.json.sha256"
PARTIAL = ".partial-"
CREATED = "%Y-%m-%dT%H:%M:%SZ"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CHUNK = 2**20
_LARGEST_MANIFEST = 2**26


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a backup: its path below the backup, its size in bytes, its SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a backup says of itself. ``created`` is ISO-8601 in UTC, ``facts`` are those who made it gave."""

    name: str
    created: str
    facts: Mapping[str, Any]
    files: tuple[File, ...]

    @property
    def bytes(self) -> int:
        """The sizes of all files together."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One line of a listing; ``trouble`` is empty as far as can be told without reading the files."""

    name: str
    created: str = ""
    bytes: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""


def valid_name(text: str) -> str:
    """Give back a name that a backup can have; raises SettingsError."""
    if not _NAME.fullmatch(text):
        raise SettingsError(
            f"no backup can be named {text!r}", hint="letters, digits, . _ and -, at most 64; no dot in front"
        )
    return text


def default_name(now: dt.datetime) -> str:
    """Name a backup after the time, as 20261125T043000."""
    return now.strftime("%Y%m%dT%H%M%S")


def free_name(folder: Path, name: str) -> str:
    """Give ``name``, or where a backup has it already the first free one of NAME-2, NAME-3 and so on."""
    names = (f"{name}-{number}" if number > 1 else name for number in itertools.count(1))
    return next(one for one in names if not os.path.lexists(folder / one))


@contextmanager
def new_backup(folder: Path, name: str, facts: Mapping[str, Any]) -> Iterator[Path]:
    """Give a hidden folder to write a backup's files in; at the end it becomes ``folder/name``.

    By then all is on disk, hashed, and closed to others. ``facts`` are read at the end, and must be ready for
    JSON. After an exception nothing is left. Raises SettingsError when there is one of that name,
    DiskFull, OutputNotWritable, and BackupDamaged when something else than files was written.
    """
    final = folder / valid_name(name)
    working = folder / f"{PARTIAL}{name}-{os.getpid()}"
    try:
        with _named_errors(folder):
            _begin(final, working)
            yield working
            _seal(working, name, facts)
            _publish(working, final)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise


def verify(backup: Path) -> Manifest:
    """Read all of a backup; raises BackupDamaged with every file that is not as it was."""
    manifest = _manifest(backup)
    troubles = _troubles(backup, manifest, read=True)
    if troubles:
        raise _damaged(backup, "\n".join(troubles))
    return manifest


def find(folder: Path, name: str) -> Path:
    """Give the backup of that name below ``folder``, or with a slash in ``name`` the one at that path.

    Raises SettingsError, with what there is, when there is none.
    """
    place = Path(name) if "/" in name else folder / name
    if ("/" in name or _NAME.fullmatch(name)) and place.is_dir():
        return place
    there = [backup.name for backup in _backups(folder)]
    close = difflib.get_close_matches(name, there, n=1)
    hint = [f"did you mean {close[0]!r}?"] if close else []
    hint.append(f"there are: {', '.join(there)}" if there else f"there is none in {folder}")
    raise SettingsError(f"there is no backup {name!r}", where=str(place), hint=" ".join(hint))


def listing(folder: Path) -> list[Summary]:
    """Tell what backups there are, newest first. Sizes are checked, contents are not: that is verify()."""
    found = [_summary(backup) for backup in _backups(folder)]
    return sorted(found, key=lambda one: (one.created, one.name), reverse=True)


def _begin(final: Path, working: Path) -> None:
    folder = final.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.path.lexists(final):
        raise _exists(final)
    for leftover in folder.glob(f"{PARTIAL}*"):
        pid = leftover.name.rpartition("-")[2]
        # one with our own pid is of an earlier process, in a container for instance
        if leftover == working or (pid.isdecimal() and not Path(f"/proc/{pid}").exists()):
            shutil.rmtree(leftover, ignore_errors=True)
    working.mkdir(mode=0o700)


def _seal(working: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Put all in ``working`` on disk, and write what it is into the manifest."""
    files = []
    for path, status in sorted(_below(working).items()):
        if not stat.S_ISREG(status.st_mode):
            raise BackupDamaged(
                "a backup can hold files only", where=str(working / path), why=_kind(status.st_mode)
            )
        files.append(_sealed(working / path, path))
    now = dt.datetime.now(dt.UTC).strftime(CREATED)
    recorded = {"schema": SCHEMA, "name": name, "created": now, "facts": dict(facts)}
    text = json.dumps({**recorded, "files": [vars(file) for file in files]}, indent=1) + "\n"
    _write(working / MANIFEST, text.encode())
    _write(working / SUM, _sum_of(text.encode()))
    for place, _, _ in os.walk(working, topdown=False):
        Path(place).chmod(0o700)
        sync(Path(place))


def _sealed(path: Path, name: str) -> File:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        os.fchmod(stream.fileno(), 0o600)
        os.fsync(stream.fileno())
        return _file(stream, name)


def _file(stream: BinaryIO, name: str) -> File:
    """Read a file once, from its start to its end."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return File(path=name, bytes=size, sha256=digest.hexdigest())


def _publish(working: Path, final: Path) -> None:
    try:
        working.rename(final)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:  # made by another command meanwhile
            raise _exists(final) from error
        raise
    sync(final.parent)


def _manifest(backup: Path) -> Manifest:
    """Read a backup's manifest; raises BackupDamaged."""
    try:
        return _parse(json.loads(_manifest_text(backup)))
    except OSError as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise _damaged(backup, f"{Path(str(error.filename)).name} {why}") from error
    except RecursionError as error:
        raise _damaged(backup, f"{MANIFEST} is not JSON of ours") from error
    except ValueError as error:
        raise _damaged(backup, str(error)) from error


def _manifest_text(backup: Path) -> bytes:
    text, recorded = (_read(backup / name) for name in (MANIFEST, SUM))
    if recorded != _sum_of(text):
        raise ValueError(f"{MANIFEST} is not what {SUM} says")
    return text


def _parse(data: Any) -> Manifest:  # noqa: ANN401
    """Make a manifest of what its JSON holds; raises ValueError."""
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{MANIFEST} has the schema {schema!r:.60}, this command reads {SCHEMA!r}")
    name, created, facts, files = (data.get(key) for key in ("name", "created", "facts", "files"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{MANIFEST} has no name")
    if not isinstance(created, str) or not isinstance(facts, dict) or not isinstance(files, list):
        raise ValueError(f"{MANIFEST} lacks its date, facts or files")  # noqa: TRY004  (one kind for all that is damaged)
    dt.datetime.strptime(created, CREATED).replace(tzinfo=dt.UTC)
    parsed = tuple(_parse_file(entry) for entry in files)
    if len({file.path for file in parsed}) != len(parsed):
        raise ValueError(f"{MANIFEST} has a file twice")
    return Manifest(name=name, created=created, facts=facts, files=parsed)


def _parse_file(entry: Any) -> File:  # noqa: ANN401
    path, size, digest = (
        (entry.get(key) for key in ("path", "bytes", "sha256")) if isinstance(entry, dict) else (None,) * 3
    )
    if not isinstance(path, str) or type(size) is not int or not isinstance(digest, str):
        raise ValueError(f"{MANIFEST} has an entry that is not a file's")
    if size < 0 or not _SHA256.fullmatch(digest):
        raise ValueError(f"{MANIFEST} has no size or no SHA-256 for {path!r}")
    if path in {MANIFEST, SUM} or "\0" in path or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"{MANIFEST} has {path!r}, which is no path below a backup")
    return File(path=path, bytes=size, sha256=digest)


def _troubles(backup: Path, manifest: Manifest, *, read: bool) -> list[str]:
    """Compare a backup with its manifest; a line for each file that differs."""
    try:
        found = _below(backup)
    except OSError as error:
        return [f"{error.filename}: cannot be read: {error.strerror}"]
    for own in (MANIFEST, SUM):
        found.pop(own, None)
    troubles = []
    for file in manifest.files:
        trouble = _trouble(backup / file.path, file, found.pop(file.path, None), read=read)
        if trouble:
            troubles.append(f"{_shown(file.path)}: {trouble}")
    return troubles + [f"{_shown(path)}: is not in the manifest" for path in sorted(found)]


def _trouble(path: Path, file: File, status: os.stat_result | None, *, read: bool) -> str:
    if status is None:
        return "is missing"
    if not stat.S_ISREG(status.st_mode):
        return _kind(status.st_mode)
    if status.st_size != file.bytes:
        return f"has {status.st_size} bytes, not {file.bytes}"
    try:
        return "its SHA-256 differs" if read and _read_file(path, file.path) != file else ""
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _read_file(path: Path, name: str) -> File:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        return _file(stream, name)


def _summary(backup: Path) -> Summary:
    try:
        manifest = _manifest(backup)
    except BackupDamaged as error:
        return Summary(name=backup.name, trouble=error.why)
    return Summary(
        name=backup.name,
        created=manifest.created,
        bytes=manifest.bytes,
        facts=manifest.facts,
        trouble="\n".join(_troubles(backup, manifest, read=False)),
    )


def _backups(folder: Path) -> list[Path]:
    """Give the folders of backups, hidden ones left out, sorted by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _below(folder: Path) -> dict[str, os.stat_result]:
    """Give all that is no folder below ``folder``, by relative path, links not followed; raises OSError."""
    found: dict[str, os.stat_result] = {}
    pending = [folder]
    while pending:
        for path in pending.pop().iterdir():
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
            else:
                found[str(path.relative_to(folder))] = status
    return found


def _read(path: Path) -> bytes:
    """Read a small regular file; raises OSError, and ValueError for anything else."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} {_kind(status.st_mode)}")
    if status.st_size > _LARGEST_MANIFEST:
        raise ValueError(f"{path.name} is larger than any of ours")
    return path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)


def _sum_of(manifest: bytes) -> bytes:
    """Give the checksum file of a manifest, as `sha256sum --check` reads it."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def _kind(mode: int) -> str:
    return "is a link" if stat.S_ISLNK(mode) else "is not a regular file"


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)


def _exists(final: Path) -> SettingsError:
    return SettingsError(
        f"there is a backup {final.name!r} already",
        where=str(final),
        hint="choose another name, or remove it",
    )


def _damaged(backup: Path, why: str) -> BackupDamaged:
    return BackupDamaged(
        f"backup {backup.name} is damaged or incomplete",
        where=str(backup),
        why=why,
        hint="nothing was touched; use another backup, or copy this one again from where it came",
    )


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the backups' disk into ours. Writing raises without a file's name: then it was a backup's."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and not Path(str(error.filename)).is_relative_to(folder):
            raise
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(
                "no space is left for the backup",
                where=str(folder),
                why=f"{free_disk_bytes(folder)} bytes are free",
                hint="nothing of it was kept; make room there, or remove an old backup",
            ) from error
        where, why = str(error.filename or folder), error.strerror or str(error)
        raise OutputNotWritable("the backup cannot be written", where=where, why=why) from error
