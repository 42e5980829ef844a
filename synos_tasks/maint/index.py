"""The index of archived ISOs, dist/archive/index.json. Each archive has its own entry in it too, as its first member.

So an index that is lost or damaged is made anew of the archives.
"""

from __future__ import annotations

import datetime as dt
import json
import tarfile
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

from synos_tasks.backups import CREATED
from synos_tasks.maint import isos

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

SCHEMA = "synos.archive/1"
ENTRY_SCHEMA = "synos.archive-entry/1"
FILE = "index.json"
"""Of the index in its folder, and of the entry in an archive."""
SUFFIX = ".tar.zst"
_LARGEST_ENTRY = 2**20


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of an archive. Size in bytes, SHA-256 in hex, its time in nanoseconds since 1970."""

    name: str
    bytes: int
    sha256: str
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is in an archive: the ISO synos-PROFILE-BUILDID.iso and the files beside it. ``created``: ISO-8601 in UTC."""

    name: str
    profile: str
    build_id: str
    created: str
    files: tuple[File, ...]

    def text(self) -> str:
        """Give the member index.json."""
        return json.dumps({"schema": ENTRY_SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n"

    @property
    def bytes(self) -> int:
        """What the files take, unpacked."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An archive: what is in it, and its own size and SHA-256."""

    entry: Entry
    bytes: int
    sha256: str

    @property
    def file(self) -> str:
        """Its name in dist/archive."""
        return f"{self.entry.name}{SUFFIX}"

    def to_json(self) -> dict[str, Any]:
        """Give it as the index has it."""
        return {
            **asdict(self.entry),
            "archive": {"file": self.file, "bytes": self.bytes, "sha256": self.sha256},
        }


def text_of(archives: Iterable[Archive]) -> str:
    """Give the content of the index."""
    by_name = {one.entry.name: one.to_json() for one in archives}
    return json.dumps({"schema": SCHEMA, "archives": by_name}, indent=1, sort_keys=True) + "\n"


def read(path: Path) -> dict[str, Archive]:
    """Read an index, by name of the ISO without its ending; raises OSError or ValueError."""
    data = json.loads(path.read_text())
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"it is not {SCHEMA}")
    archives = [_archive(name, told) for name, told in _mapping(data.get("archives")).items()]
    return {one.entry.name: one for one in archives}


def parse_entry(text: bytes) -> Entry:
    """Read the member index.json of an archive; raises ValueError."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("schema") != ENTRY_SCHEMA:
        raise ValueError(f"{FILE} in it is not {ENTRY_SCHEMA}")
    return _entry(data)


def read_entry(member: IO[bytes]) -> Entry:
    """Read it from an archive; raises ValueError."""
    return parse_entry(member.read(_LARGEST_ENTRY))


def name_of(archive: Path) -> str:
    """Give the name that an archive's entry has."""
    return archive.name.removesuffix(SUFFIX)


def tar_stream(entry: Entry, contents: Iterable[tuple[File, Iterable[bytes]]]) -> Iterator[bytes]:
    """Give a tar archive in parts: the entry, then its files. No owner of this machine is in it."""
    text = entry.text().encode()
    yield _header(FILE, len(text), 0)
    yield _padded(text)
    for file, parts in contents:
        yield _header(file.name, file.bytes, file.mtime_ns // 10**9)
        yield from parts
        yield bytes(-file.bytes % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def members(stream: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Give name and content of each member of a tar stream, in order; raises ValueError."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    raise ValueError(f"{member.name!r} in it is no file")
                yield member.name, content
    except tarfile.TarError as error:
        raise ValueError(f"it is no whole archive: {error}") from error


def first_entry(stream: IO[bytes]) -> Entry:
    """Read the entry at the start of a tar stream; raises ValueError."""
    for name, content in members(stream):
        if name == FILE:
            return read_entry(content)
        break
    raise ValueError(f"{FILE} is not the first in it")


def _header(name: str, size: int, mtime: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, mtime, 0o644
    return member.tobuf(tarfile.PAX_FORMAT)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _archive(name: str, told: Any) -> Archive:  # noqa: ANN401
    entry, archive = _entry(_mapping(told)), _mapping(_mapping(told).get("archive"))
    made = Archive(entry=entry, bytes=archive.get("bytes", -1), sha256=archive.get("sha256", ""))
    if entry.name != name or archive.get("file") != made.file or not _is_file(made.bytes, made.sha256):
        raise ValueError(f"the entry {name!r:.80} does not fit")
    return made


def _entry(told: Mapping[str, Any]) -> Entry:
    """Make an entry of its JSON; raises ValueError. No name in it leads out of a folder."""
    files = [_mapping(file) for file in _list(told.get("files"))]
    names = [str(file.get("name")) for file in files]
    name, created = str(told.get("name")), str(told.get("created"))
    profile, build_id = isos.parts(name)
    fits = [_is_file(file.get("bytes"), file.get("sha256")) for file in files]
    if not isos.belongs(name, names) or not all(fits):
        raise ValueError(f"the files of {name!r:.80} are not those of an ISO")
    if (told.get("profile"), told.get("build_id")) != (profile, build_id):
        raise ValueError(f"profile or build id of {name!r:.80} is of something else")
    dt.datetime.strptime(created, CREATED).replace(tzinfo=dt.UTC)
    return Entry(
        name=name, profile=profile, build_id=build_id, created=created, files=tuple(map(_file, files))
    )


def _file(told: Mapping[str, Any]) -> File:
    mtime = told.get("mtime_ns")
    if type(mtime) is not int or mtime < 0:
        raise ValueError("a file has no time")
    return File(name=told["name"], bytes=told["bytes"], sha256=told["sha256"], mtime_ns=mtime)


def _is_file(size: Any, digest: Any) -> bool:  # noqa: ANN401
    hexadecimal = isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    return type(size) is int and size >= 0 and hexadecimal


def _mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401
    if not isinstance(value, dict):
        raise ValueError("it is not as it was written")  # noqa: TRY004  (one kind for all that is damaged)
    return value


def _list(value: Any) -> list[Any]:  # noqa: ANN401
    if not isinstance(value, list):
        raise ValueError("it is not as it was written")  # noqa: TRY004
    return value
