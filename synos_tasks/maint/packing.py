"""Packs an ISO and the files beside it into an archive, and reads one to its end: in a container that has only streams."""

from __future__ import annotations

import tarfile
from typing import IO, TYPE_CHECKING

from synos_tasks.errors import BackupDamaged, ContainerLost
from synos_tasks.iso.scratch import sync
from synos_tasks.maint import index
from synos_tasks.maint.files import Sum, chunks, partial, read_chunks, settle, summed
from synos_tasks.maint.index import Archive, Entry, File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from synos_tasks.maint.means import Means

UNPACK = ("zstd", "-q", "-d", "-c")


def write(means: Means, source: Path, entry: Entry, target: Path) -> Archive:
    """Pack the files of an entry, which are in the folder ``source``, and read them back; only then is there ``target``.

    Raises ContainerLost where they cannot be packed, BackupDamaged where one changed meanwhile or cannot be read back.
    """
    passed = [(file, Sum()) for file in entry.files]
    contents = ((file, map(total.add, read_chunks(source / file.name))) for file, total in passed)
    with partial(target.parent) as (temporary, stream):
        written = Sum()
        spec = means.container(tuple(means.zstd().split()))
        given = means.paced(index.tar_stream(entry, contents), entry.name)
        with means.volumes.stream(spec, given) as packed:
            for part in chunks(packed.out):
                stream.write(written.add(part))
            ended = packed.finish()
        settle(stream)
        if ended.code:
            raise ContainerLost(
                "the archive could not be packed",
                where=entry.name,
                why=ended.said,
                hint="nothing was removed",
            )
        for file, total in passed:
            if not total.same_as(file.bytes, file.sha256):
                raise BackupDamaged(
                    f"{file.name} changed while it was archived",
                    where=str(source / file.name),
                    hint="nothing was removed",
                )
        made = Archive(entry=entry, bytes=written.bytes, sha256=written.sha256)
        read(means, temporary, made)
        temporary.replace(target)
        sync(target.parent)
    return made


def read(
    means: Means,
    path: Path,
    archive: Archive,
    give: Callable[[str, Iterable[bytes]], None] = lambda _name, parts: _drain(parts),
) -> None:
    """Read an archive to its end and hand each file to ``give``; raises BackupDamaged where anything differs."""
    wanted = {file.name: file for file in archive.entry.files}
    passed, spec = Sum(), means.container(UNPACK)
    try:
        with means.volumes.stream(spec, map(passed.add, read_chunks(path))) as unpacked:
            for name, content in index.members(unpacked.out):
                _member(archive.entry, wanted, name, content, give)
            _drain(chunks(unpacked.out))
            ended = unpacked.finish()
    except (ValueError, FileNotFoundError, tarfile.TarError) as error:
        raise damaged(path, str(error)) from error
    if ended.code or wanted:
        raise damaged(path, ended.said or f"it lacks {', '.join(wanted)}")
    if not passed.same_as(archive.bytes, archive.sha256):
        raise damaged(path, "its SHA-256 is not that of the index")


def ask(means: Means, path: Path) -> Archive:
    """Make the index's entry of an archive by what is in it; raises ValueError or OSError."""
    spec = means.container(UNPACK)
    try:
        with means.volumes.stream(spec, read_chunks(path)) as unpacked:
            entry = index.first_entry(unpacked.out)
    except tarfile.TarError as error:
        raise ValueError(f"it is no whole archive: {error}") from error
    if entry.name != index.name_of(path):
        raise ValueError(f"it says that it is {entry.name}")
    whole = summed(read_chunks(path))
    return Archive(entry=entry, bytes=whole.bytes, sha256=whole.sha256)


def _member(
    entry: Entry,
    wanted: dict[str, File],
    name: str,
    content: IO[bytes],
    give: Callable[[str, Iterable[bytes]], None],
) -> None:
    """Take one member of an archive; raises ValueError where it is not as the index says."""
    if name == index.FILE:
        if index.read_entry(content) != entry:
            raise ValueError(f"{name} in it is not what the index says")
        return
    file, total = wanted.pop(name, None), Sum()
    if file is None:
        raise ValueError(f"{name!r:.80} is not in the index")
    give(name, map(total.add, chunks(content)))
    if not total.same_as(file.bytes, file.sha256):
        raise ValueError(f"{name} in it is not what the index says")


def _drain(parts: Iterable[bytes]) -> None:
    for _ in parts:
        pass


def damaged(path: Path, why: str) -> BackupDamaged:
    """Make the error for an archive that cannot be used."""
    return BackupDamaged(
        f"the archive {path.name} is damaged or incomplete",
        where=str(path),
        why=why,
        hint="nothing was removed, nothing was put back",
    )
