"""Files that are whole and on the disk, or not there; and errors of the disk, as a person reads them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from synos_tasks.errors import DiskFull, OutputNotWritable
from synos_tasks.host.facts import free_disk_bytes
from synos_tasks.iso.scratch import sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PARTIAL = ".synos-partial-"
"""What the names of unfinished files begin with. Whoever writes one holds its lock."""
CHUNK = 2**20


@contextmanager
def partial(folder: Path, *, mode: int = 0o644) -> Iterator[tuple[Path, BinaryIO]]:
    """Give an unfinished file in ``folder``, open for writing; whoever does not rename it loses it.

    A killed command leaves it: sweep() is for folders of our own.
    """
    path, descriptor = _made(folder)
    with os.fdopen(descriptor, "wb") as stream:
        try:
            os.fchmod(descriptor, mode)
            yield path, stream
        finally:
            path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the unfinished files of killed commands from a folder of our own; what is no file of ours stays."""
    for leftover in folder.glob(f"{PARTIAL}*"):
        try:
            # a FIFO would let nobody in who waits for no writer
            descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # its command has just ended, it is a link, or somebody else's
            continue
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink(missing_ok=True)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)


def _made(folder: Path) -> tuple[Path, int]:
    """Make a file and hold its lock. Between the two another command's sweep may take it for nobody's: then once more."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=PARTIAL, dir=folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_there = os.fstat(descriptor).st_nlink > 0
        except BaseException:
            Path(name).unlink(missing_ok=True)
            os.close(descriptor)
            raise
        if is_there:
            return Path(name), descriptor
        os.close(descriptor)


def settle(stream: BinaryIO) -> None:
    """See what was written on the disk, and have it read from there the next time."""
    stream.flush()
    os.fsync(stream.fileno())
    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_durably(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file so that it is whole and on the disk, or as it was before."""
    with partial(path.parent, mode=mode) as (temporary, stream):
        stream.write(text.encode())
        settle(stream)
        temporary.replace(path)
    sync(path.parent)


def is_regular(path: Path) -> bool:
    """Tell whether there is a file, and not a link to one."""
    return os.path.lexists(path) and stat.S_ISREG(path.lstat().st_mode)


class Sum:
    """Size and SHA-256 of what passes."""

    def __init__(self) -> None:
        self._digest, self.bytes = hashlib.sha256(), 0

    def add(self, chunk: bytes) -> bytes:
        """Take a part, and give it back."""
        self._digest.update(chunk)
        self.bytes += len(chunk)
        return chunk

    @property
    def sha256(self) -> str:
        """In hex."""
        return self._digest.hexdigest()

    def same_as(self, size: int, sha256: str) -> bool:
        """Tell whether that was all of it."""
        return (self.bytes, self.sha256) == (size, sha256)


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """Give a stream in parts, to its end."""
    while chunk := stream.read(CHUNK):
        yield chunk


def read_chunks(path: Path) -> Iterator[bytes]:
    """Give a file in parts; a link in its place is an OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        yield from chunks(stream)


def summed(parts: Iterable[bytes]) -> Sum:
    """Read all of it."""
    found = Sum()
    for part in parts:
        found.add(part)
    return found


@contextmanager
def named_errors(folder: Path, what: str) -> Iterator[None]:
    """Turn errors of the disk into DiskFull or OutputNotWritable; ``what`` could not be written below ``folder``."""
    try:
        yield
    except OSError as error:
        where, why = str(error.filename or folder), error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(
                f"no space is left for {what}",
                where=where,
                why=f"{free_disk_bytes(folder)} bytes are free",
                hint="nothing unfinished was kept; make room there",
            ) from error
        raise OutputNotWritable(f"{what} cannot be written", where=where, why=why) from error
