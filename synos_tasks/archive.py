"""Archives on disk: files with a manifest of their sizes and checksums, whole or absent.

A backup is a folder with ``manifest.json`` and ``manifest.json.sha256``, the manifest's own checksum. An exported volume
is one file with its manifest next to it (maint/volumes.py).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from synos_tasks.errors import (
    BackupDamaged,
    DiskFull,
    SettingsError,
    is_disk_full,
    not_written,
    printable,
    unknown,
)
from synos_tasks.host import free_disk_bytes
from synos_tasks.iso.inputs import opened
from synos_tasks.iso.scratch import scratch, sync
from synos_tasks.shapes import fit, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from synos_tasks.shapes import Shape

SCHEMA = "synos.backup/1"
MANIFEST = "manifest.json"
CHECKSUM = "manifest.json.sha256"
PARTIAL = ".partial-"
CREATED = "%Y-%m-%dT%H:%M:%SZ"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", re.ASCII)
_LONGEST_NAME = 64
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CHUNK = 2**20
_MANIFEST = {"name": str, "created": str, "files": [{"path": str, "bytes": int, "sha256": str}]}
LEFT_OUT: Shape = ([{"what": str, "why": str, "data": bool}],)
"""What a backup lacks of a service, and why; ``data``: the service's volume holds it, and may be removed only with a backup that has it."""


@dataclass(frozen=True, kw_only=True)
class File:
    """One file: its path below the archive, its size in bytes, its SHA-256 in hex. Raises ValueError."""

    path: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        strange = {"", ".", ".."} & set(self.path.split("/")) or "\0" in self.path
        if strange or self.path in {MANIFEST, CHECKSUM}:
            raise ValueError(f"{self.path!r} is no path below an archive")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.path!r} has no SHA-256")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an archive holds. ``created`` is when saving began, ISO-8601 in UTC; ``facts`` is JSON of its writer."""

    name: str
    created: str
    facts: Mapping[str, Any]
    files: tuple[File, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not self.time:
            raise ValueError("it has no name or no date")
        if len({file.path for file in self.files}) != len(self.files):
            raise ValueError("it has a file twice")

    @property
    def bytes(self) -> int:
        """The sizes of all files together."""
        return sum(file.bytes for file in self.files)

    @property
    def time(self) -> float:
        """``created`` in seconds since 1970."""
        return seconds(self.created)

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n"


@dataclass(frozen=True)
class Summary:
    """One line of a listing. ``trouble`` is what is wrong with it as far as sizes tell; '' for nothing."""

    name: str
    created: str = ""
    bytes: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""


class Output:
    """A file that is being written, and hashed on the way; without a stream it is only hashed."""

    def __init__(self, stream: BinaryIO | None) -> None:
        self._stream, self._digest, self._bytes = stream, hashlib.sha256(), 0

    def write(self, chunk: bytes) -> int:
        """Write a chunk; return its size."""
        self._digest.update(chunk)
        self._bytes += len(chunk)
        if self._stream is not None:
            self._stream.write(chunk)
        return len(chunk)

    def written(self, path: str) -> File:
        """Return the manifest's entry for what was written."""
        return File(path=path, bytes=self._bytes, sha256=self._digest.hexdigest())


@dataclass(frozen=True)
class Draft:
    """An archive that is being written; its folder is hidden until all of it is on disk."""

    folder: Path
    files: list[File] = field(default_factory=list)
    prefix: str = ""

    def below(self, name: str) -> Draft:
        """Return the same draft, for files in a subfolder."""
        return replace(self, prefix=f"{self.prefix}{name}/")

    @contextmanager
    def file(self, name: str) -> Iterator[Output]:
        """Write one file; at the end it is on disk."""
        target = self.folder / self.prefix / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with new_file(target) as stream:
                output = Output(stream)
                yield output
        except BaseException:
            target.unlink(missing_ok=True)  # the archive may go on without it
            raise
        self.files.append(output.written(f"{self.prefix}{name}"))


def check_name(text: str) -> str:
    """Return a name that a backup may have; raise SettingsError for another."""
    if len(text) > _LONGEST_NAME or not _NAME.fullmatch(text):
        hint = f"use letters, digits, . _ and -, at most {_LONGEST_NAME}, and no dot in front"
        raise SettingsError(f"{text!r} is not a valid name for a backup", hint=hint)
    return text


def unused_name(folder: Path, prefix: str = "") -> str:
    """Return ``prefix`` and the time in UTC, as 20261125T043000, and -2, -3, ... where that is taken."""
    name = f"{prefix}{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(one for one in names if not os.path.lexists(folder / one))


@contextmanager
def create(folder: Path, name: str, facts: Mapping[str, Any]) -> Iterator[Draft]:
    """Write a new archive ``folder/name``. It appears at the end; after an exception nothing is left.

    Raises SettingsError where the name is taken, DiskFull, OutputNotWritable.
    """
    final, created = folder / check_name(name), dt.datetime.now(dt.UTC).strftime(CREATED)
    if os.path.lexists(final):
        hint = "choose another name, or remove it"
        raise SettingsError(f"backup {name!r} already exists", where=str(final), hint=hint)
    with disk_errors(folder, "the backup"), unfinished(folder) as working:
        draft = Draft(working)
        yield draft
        files = tuple(sorted(draft.files, key=lambda file: file.path))
        _seal(working, Manifest(name=name, created=created, facts=facts, files=files))
        working.rename(final)
        sync(folder)


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """Yield a private folder inside ``folder``, which is made where it is missing; see scratch()."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with scratch(folder, PARTIAL) as working:
        yield working


def verify(archive: Path, facts: Shape = dict, copy: Path | None = None) -> Manifest:
    """Read all of an archive; raise BackupDamaged with every file that is not as it was written. ``facts``: see shapes.py.

    The folder ``copy`` gets what is read.
    """
    manifest = manifest_of(archive, facts)
    if troubles := _troubles(archive, manifest, read_contents=True, copy=copy):
        raise damaged(archive, "\n".join(troubles))
    return manifest


def find(folder: Path, name: str) -> Path:
    """Return the archive of that name in ``folder``, or at that path if ``name`` has a slash; raise SettingsError."""
    place = Path(name).absolute() if "/" in name else folder / name
    if ("/" in name or _NAME.fullmatch(name)) and place.is_dir():
        return place
    raise unknown("backup", name, (archive.name for archive in _archives(folder)), place)


def listing(folder: Path, facts: Shape = dict) -> list[Summary]:
    """Return the archives in a folder, newest first. Sizes and ``facts`` are checked, contents are not: see verify()."""
    found = []
    for archive in _archives(folder):
        try:
            manifest = manifest_of(archive, facts)
        except BackupDamaged as error:
            found.append(Summary(archive.name, trouble=error.why))
            continue
        trouble = "\n".join(_troubles(archive, manifest, read_contents=False))
        found.append(Summary(archive.name, manifest.created, manifest.bytes, manifest.facts, trouble))
    return sorted(found, key=lambda one: (one.created, one.name), reverse=True)


def left_out(what: str, why: str, *, data: bool = False) -> dict[str, Any]:
    """Return an entry of LEFT_OUT."""
    return {"what": what, "why": why, "data": data}


def lacks(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of LEFT_OUT, in the facts of a service, for data that its backup lacks."""
    return [one for one in facts.get("left_out") or () if one["data"]]


def lost(facts: Mapping[str, Any]) -> list[str]:
    """Return lacks() as lines: what, and why."""
    return [printable(f"{one['what']}: {one['why']}") for one in lacks(facts)]


def damaged(archive: Path, why: str, kind: str = "backup") -> BackupDamaged:
    """Return the error for an archive that must not be used."""
    what = f"{kind} {archive.name} is damaged or incomplete"
    hint = f"nothing was touched; use another {kind}, or copy this one again from where it came"
    return BackupDamaged(what, where=str(archive), why=why, hint=hint)


def parse(text: bytes, facts: Shape = dict) -> Manifest:
    """Return the manifest that JSON describes; raise ValueError for any other text. ``facts``: see shapes.py."""
    try:
        data = json.loads(text)
        _check_schema(data["schema"])
        data = fit(data, {**_MANIFEST, "facts": facts})
        return Manifest(**{**data, "files": tuple(File(**entry) for entry in data["files"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"the manifest is not valid: {error}") from error


def _check_schema(schema: object) -> None:
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema!r:.60}, this command reads {SCHEMA!r}")


@contextmanager
def disk_errors(folder: Path, what: str) -> Iterator[None]:
    """Raise DiskFull or OutputNotWritable where ``what`` cannot be written below ``folder``; pass other errors on."""
    try:
        yield
    except DiskFull as error:  # of a service, which may be on another disk
        error.hint += f"; {free_disk_bytes(folder)} bytes are free in {folder}, for {what}"
        raise
    except OSError as error:
        # writing raises without a file's name: then it was ours
        if error.filename is not None and not Path(str(error.filename)).is_relative_to(folder):
            raise
        found = not_written(error, f"{what} cannot be written", str(error.filename or folder))
        if isinstance(found, DiskFull):
            found.why = f"{free_disk_bytes(folder)} bytes are free, and more are needed"
        raise found from error


def manifest_of(archive: Path, facts: Shape = dict) -> Manifest:
    """Read the manifest of an archive without its files; raise BackupDamaged. ``facts``: see shapes.py."""
    try:
        text, checksum = (read(archive / name) for name in (MANIFEST, CHECKSUM))
        manifest = parse(text, facts)
    except ValueError as error:
        raise damaged(archive, str(error)) from error
    if checksum != _checksum(text):
        raise damaged(archive, f"{MANIFEST} is not what {CHECKSUM} says")
    return manifest


def _troubles(
    archive: Path, manifest: Manifest, *, read_contents: bool, copy: Path | None = None
) -> list[str]:
    """Compare an archive with its manifest; return a line for each file that differs. ``copy`` gets what is read."""
    own = {archive / MANIFEST, archive / CHECKSUM}
    below = (path for path in archive.rglob("*") if path.is_symlink() or not path.is_dir())
    found = {str(path.relative_to(archive)): path.lstat() for path in below if path not in own}
    compared = [
        (file.path, _trouble(archive, file, found.pop(file.path, None), read_contents, copy))
        for file in manifest.files
    ]
    compared += [(path, "is not in the manifest") for path in sorted(found)]
    return [f"{path if path.isprintable() else ascii(path)}: {why}" for path, why in compared if why]


def _trouble(
    archive: Path, file: File, status: os.stat_result | None, read_contents: bool, copy: Path | None
) -> str:
    if status is None:
        return "is missing"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_size != file.bytes:
        return f"has {status.st_size} bytes, not {file.bytes}"
    if not read_contents:
        return ""
    try:
        if copy is not None:
            (copy / file.path).parent.mkdir(parents=True, exist_ok=True)
        target = new_file(copy / file.path) if copy else nullcontext()
        with opened(archive / file.path) as source, target as stream:
            output = Output(stream)
            shutil.copyfileobj(source, output, _CHUNK)
    except OSError as error:
        if is_disk_full(error):
            raise
        return f"cannot be read: {error.strerror}"
    return "" if output.written(file.path) == file else "its SHA-256 differs"


def seconds(created: str) -> float:
    """Return the time of a manifest in seconds since 1970."""
    return dt.datetime.strptime(created, CREATED).replace(tzinfo=dt.UTC).timestamp()


def _archives(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _seal(working: Path, manifest: Manifest) -> None:
    """Add the manifest, and see all names on disk."""
    text = manifest.text().encode()
    for name, written in ((MANIFEST, text), (CHECKSUM, _checksum(text))):
        with new_file(working / name) as stream:
            stream.write(written)
    for folder, _, _ in os.walk(working, topdown=False):
        Path(folder).chmod(0o700)
        sync(Path(folder))


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that nobody else may read; at the end it is on disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(descriptor)


def _checksum(manifest: bytes) -> bytes:
    """Return the line that `sha256sum --check` reads."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()
