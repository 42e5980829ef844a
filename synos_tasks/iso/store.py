"""What earlier builds made, by content key: written under a temporary name, verified at each use.

In the volume: objects/KEY/ with the files of one stage and entry.json, pool/SHA256.deb, lists/ of apt,
tmp/ for what is not finished, locks/ so that of two builds one makes a stage and the other waits for it.

When something was last used is the date of its entry.json, of the .deb, or of the folder of lists. What a store
has handed out is held until it is closed: housekeeping.py, which removes what was not used for longest, lets it be.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from synos_tasks.errors import CacheUnusable, DiskFull
from synos_tasks.iso.digests import digest
from synos_tasks.iso.holds import Holds, one_at_a_time, touch, unheld
from synos_tasks.iso.scratch import scratch, sweep, sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ENTRY = "entry.json"
UNFINISHED = "new-"
FOLDERS = ("objects", "pool", "lists", "tmp", "locks")
UNKNOWN = "unknown"
"""Stage of an entry that does not tell."""


@dataclass(frozen=True)
class Entry:
    """One stage's result."""

    key: str
    folder: Path
    facts: Mapping[str, Any]
    """What the stage noted for later: what it removed, whether it touched the initramfs, sizes of packages."""

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return self.folder / name

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.name != ENTRY)


class Store:
    """The store in ``folder``. Safe for several processes and threads at once."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        """Make the folders. ``warn`` is told of each damaged entry. Raises CacheUnusable."""
        self.folder, self._warn = folder, warn
        self.holds = Holds()
        with self.named_errors():
            for name in FOLDERS:
                (folder / name).mkdir(parents=True, exist_ok=True)
            sweep(folder / "tmp", UNFINISHED)
            _remove_unheld(folder / "locks")

    def __enter__(self) -> Self:
        """Use it, and close it at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, whatever happened."""
        self.close()

    def close(self) -> None:
        """Hold nothing any more: what was found or committed may go from now on."""
        self.holds.close()

    def find(self, key: str) -> Entry | None:
        """Give an entry whose files are as they were written, and hold it; a damaged one is dropped."""
        folder = self.folder / "objects" / key
        with self.named_errors():
            held = self.holds.take(folder)
            if held is None:
                return None
            facts, wrong = _verified(folder)
            if wrong:
                self._warn(f"damaged in the store, made anew: {wrong} of {key[:12]}")
                self._drop(key, held.st_ino)
                self.holds.release(held)
                return None
            touch(folder / ENTRY)
        return Entry(key, folder, facts)

    def peek(self, key: str) -> Entry | None:
        """Give an entry without a look at its files, and without a hold: it may go at any moment."""
        folder = self.folder / "objects" / key
        try:
            return Entry(key, folder, json.loads((folder / ENTRY).read_text())["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _drop(self, key: str, inode: int) -> None:
        """Take an entry out, at once and whole, unless another build has put a new one there meanwhile.

        Those who hold it have read it while it was sound, and find it damaged or not there from now on.
        """
        with self.slot() as folder:
            self._move_out(key, inode, folder / "dropped")

    def take_out(self, key: str, target: Path, last_used: float) -> bool:
        """Move an entry that nobody holds to ``target``, in a slot; not when it was used since ``last_used``."""
        entry = self.folder / "objects" / key
        with self.named_errors(), unheld(entry) as free:
            return (
                free is not None and used_at(entry) <= last_used and self._move_out(key, free.st_ino, target)
            )

    def _move_out(self, key: str, inode: int, target: Path) -> bool:
        """Move an entry out if it still is the one with that inode.

        One at a time, or the entry might become another between the look at it and the move.
        """
        entry = self.folder / "objects" / key
        with one_at_a_time(entry.parent), suppress(FileNotFoundError):
            if entry.lstat().st_ino == inode:
                entry.rename(target)
                return True
        return False

    @contextmanager
    def slot(self) -> Iterator[Path]:
        """Give a folder to make something in, on the store's own disk."""
        with self.named_errors(nameless=False), scratch(self.folder / "tmp", UNFINISHED) as folder:
            yield folder

    def commit(self, key: str, folder: Path, facts: Mapping[str, Any], stage: str = UNKNOWN) -> Entry:
        """Make the files in ``folder`` the entry of ``key``: on disk first, then visible at once, and held.

        Where another build was faster, its entry is given. ``stage`` is the name that a listing shows.
        """
        target = self.folder / "objects" / key
        with self.named_errors():
            files = {path.name: seal_of(path) for path in sorted(folder.iterdir())}
            for name in files:
                sync(folder / name)
            recorded = {"files": files, "facts": facts, "seal": digest([files, facts]), "stage": stage}
            (folder / ENTRY).write_text(json.dumps(recorded))
            sync(folder / ENTRY)
            sync(folder)
            while not self._put_in(folder, target):
                if found := self.find(key):
                    return found  # or else it was damaged, and is gone now
            sync(target.parent)
        return Entry(key, target, facts)

    def _put_in(self, folder: Path, target: Path) -> bool:
        """Give a finished entry its name; False where another has it. It is held before anyone can see it."""
        held = self.holds.take(folder)
        try:
            folder.rename(target)
        except OSError as error:
            if held:
                self.holds.release(held)
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                return False
            raise
        return True

    @contextmanager
    def alone(self, key: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of a key: who comes second waits, or without ``wait`` is told False and has no lock."""
        path = self.folder / "locks" / key
        with self.named_errors():
            descriptor = _lock(path, wait=wait)
        if descriptor is None:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    @contextmanager
    def tools_write_here(self) -> Iterator[None]:
        """Know that tools at work write into the store alone: when a disk is full, it is the store's."""
        try:
            yield
        except DiskFull as error:
            raise _full(error.where, error.why) from error

    @contextmanager
    def named_errors(self, *, nameless: bool = True) -> Iterator[None]:
        """Turn errors of the volume's disk into ours.

        Writing and syncing an open file raises without a file's name: ``nameless`` says that this is the store's.
        """
        try:
            yield
        except OSError as error:
            ours = nameless if error.filename is None else Path(error.filename).is_relative_to(self.folder)
            if not ours or isinstance(
                error, FileNotFoundError
            ):  # what went away was another build's to remove
                raise
            where = str(error.filename or self.folder)
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise _full(where, error.strerror or "") from error
            raise CacheUnusable(
                "the cache cannot be used",
                where=where,
                why=error.strerror or str(error),
                hint="nothing was published; `docker volume ls --filter label=io.synos.role=cache` shows the volume",
            ) from error


def _full(where: str, why: str) -> DiskFull:
    return DiskFull(
        "the cache volume is full",
        where=where,
        why=why,
        hint="make room on the engine's disk: `inv maint.prune --store --cache`; `inv maint.disk` shows what takes it",
    )


def _lock(path: Path, *, wait: bool) -> int | None:
    """Lock a file that whoever has it removes; returns its descriptor, None where another has it and we do not wait."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with suppress(FileNotFoundError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(descriptor)
                return None
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def _remove_unheld(folder: Path) -> None:
    """Remove the locks of killed builds."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR)
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    path.unlink(missing_ok=True)
            os.close(descriptor)


def used_at(entry: Path) -> float:
    """When an entry was last used, in seconds since 1970; raises FileNotFoundError."""
    try:
        return (entry / ENTRY).stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return entry.stat().st_mtime


def _verified(folder: Path) -> tuple[dict[str, Any], str]:
    """Give the facts of an entry, and the names of what of it is damaged."""
    try:
        recorded = json.loads((folder / ENTRY).read_text())
        files, facts = recorded["files"], recorded["facts"]
        if recorded["seal"] != digest([files, facts]):
            return {}, ENTRY
        return facts, ", ".join(name for name, seal in files.items() if not _has_seal(folder / name, seal))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        FileNotFoundError,
        NotADirectoryError,
        IsADirectoryError,
    ):
        return {}, ENTRY


def _has_seal(path: Path, seal: list[Any]) -> bool:
    try:
        return seal_of(path) == seal
    except (FileNotFoundError, IsADirectoryError):
        return False


def seal_of(path: Path) -> list[Any]:
    """Size and SHA-256 of a file."""
    return [path.stat().st_size, sha256(path)]


def sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
