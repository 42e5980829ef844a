"""What earlier builds made, by content key: written under a temporary name, verified at each use.

In the volume: objects/KEY/ with the files of one stage and entry.json, pool/SHA256.deb, lists/ of apt,
tmp/ for what is not finished, locks/ so that of two builds one makes a stage and the other waits for it.
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
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import CacheUnusable, DiskFull
from synos_tasks.iso.digests import digest
from synos_tasks.iso.scratch import scratch, sweep, sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ENTRY = "entry.json"
UNFINISHED = "new-"
FOLDERS = ("objects", "pool", "lists", "tmp", "locks")


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
        with self.named_errors():
            for name in FOLDERS:
                (folder / name).mkdir(parents=True, exist_ok=True)
            sweep(folder / "tmp", UNFINISHED)
            _remove_unheld(folder / "locks")

    def find(self, key: str) -> Entry | None:
        """Give an entry whose files are as they were written; a damaged one is dropped."""
        folder = self.folder / "objects" / key
        with self.named_errors():
            try:
                inode = folder.lstat().st_ino
            except FileNotFoundError:
                return None
            facts, wrong = _verified(folder)
            if wrong:
                self._warn(f"damaged in the store, made anew: {wrong} of {key[:12]}")
                self._drop(key, inode)
                return None
        return Entry(key, folder, facts)

    def peek(self, key: str) -> Entry | None:
        """Give an entry without a look at its files."""
        folder = self.folder / "objects" / key
        try:
            return Entry(key, folder, json.loads((folder / ENTRY).read_text())["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _drop(self, key: str, inode: int) -> None:
        """Take an entry out, at once and whole, unless another build has put a new one there meanwhile."""
        entry = self.folder / "objects" / key
        with self.slot() as folder, suppress(FileNotFoundError):
            entry.rename(folder / "dropped")
            if (folder / "dropped").lstat().st_ino != inode:
                (folder / "dropped").rename(entry)

    @contextmanager
    def slot(self) -> Iterator[Path]:
        """Give a folder to make something in, on the store's own disk."""
        with self.named_errors(nameless=False), scratch(self.folder / "tmp", UNFINISHED) as folder:
            yield folder

    def commit(self, key: str, folder: Path, facts: Mapping[str, Any]) -> Entry:
        """Make the files in ``folder`` the entry of ``key``: on disk first, then visible at once."""
        target = self.folder / "objects" / key
        with self.named_errors():
            files = {path.name: seal_of(path) for path in sorted(folder.iterdir())}
            for name in files:
                sync(folder / name)
            recorded = {"files": files, "facts": facts, "seal": digest([files, facts])}
            (folder / ENTRY).write_text(json.dumps(recorded))
            sync(folder / ENTRY)
            sync(folder)
            folder.rename(target)
            sync(target.parent)
        return Entry(key, target, facts)

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Hold the lock of a key: who comes second waits."""
        path = self.folder / "locks" / key
        with self.named_errors():
            descriptor = _lock(path)
        try:
            yield
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
        hint="make room on the engine's disk; `docker system df` shows what takes it",
    )


def _lock(path: Path) -> int:
    """Lock a file that whoever has it removes; returns its descriptor."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
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
