"""What earlier builds made, by content key: written under a temporary name, verified at each use.

In the volume: objects/KEY/ with the files of one stage and entry.json, pool/SHA256.deb, lists/ of apt, tmp/ for
what is not finished, and locks/, so that of two builds one makes a stage and the other waits for it.

An open store is locked, shared with other builds: what a build found or made stays until it closes the store.
eviction.py needs the lock alone. The last use of an entry is the date of its entry.json, of the .deb, or of the
folder of lists.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from synos_tasks.errors import CacheUnusable, DiskFull, is_disk_full
from synos_tasks.iso.digests import digest
from synos_tasks.iso.remote import ENTRY, Described
from synos_tasks.iso.scratch import remove, sync
from synos_tasks.locks import exclusive, shared, try_exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from synos_tasks.iso.remote import Remote

FOLDERS = ("objects", "pool", "lists", "tmp", "locks")
UNKNOWN = "unknown"
"""Stage of an entry that does not say it."""
_UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, FileNotFoundError, NotADirectoryError, IsADirectoryError
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One stage's result."""

    key: str
    folder: Path
    facts: Mapping[str, Any]
    """What the stage noted for later: what it removed, whether it touched the initramfs, sizes of packages."""
    fetched: bool = False
    """From a remote store, just now."""

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / name

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.name != ENTRY)


class Store:
    """The store in ``folder``, open inside ``with``. Safe for several processes and threads at once."""

    def __init__(
        self, folder: Path, warn: Callable[[str], None], key: str = "", remote: Remote | None = None
    ) -> None:
        """Make the folders. ``warn`` is called for each damaged entry. Raises CacheUnusable.

        An entry that was sealed with another ``key``, or for another place, counts as damaged: write access does not suffice
        to forge one, nor to swap two. What is missing here is taken from ``remote``.
        """
        self.folder, self._warn, self._key, self._remote = folder, warn, key.encode(), remote
        self.lock = folder / "store.lock"
        """Shared by those who use the store, alone for those who remove from it."""
        self._open = ExitStack()
        with self.named_errors():
            for name in FOLDERS:
                (folder / name).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        """Open it; first remove what killed builds left. Waits while something is removed from it."""
        with self.named_errors():
            with try_exclusive(self.lock) as alone:
                for name in ("tmp", "locks") if alone else ():
                    for leftover in (self.folder / name).iterdir():
                        remove(leftover)
            self._open.enter_context(shared(self.lock))
        return self

    def __exit__(self, *_: object) -> None:
        """Close it: what was found or committed may go from now on."""
        self._open.close()

    def prefetch(self, keys: Iterable[str]) -> None:
        """Let the remote store, where there is one, bring what is missing of these entries; do not wait for it."""
        if self._remote:
            self._remote.ask(key for key in keys if not (self.folder / "objects" / key).exists())

    def find(self, key: str) -> Entry | None:
        """Return an entry whose files are as they were written; a damaged one is removed."""
        folder = self.folder / "objects" / key
        with self.named_errors():
            if not folder.exists():
                found = self._remote.find(key) if self._remote else None
                return self._take(*found) if found else None
            facts, damaged = self._verified(folder)
            if damaged:
                self._warn(f"damaged in the store, made again: {damaged} of {key[:12]}")
                self._drop(folder)
                return None
            touch(folder / ENTRY)
        return Entry(key, folder, facts)

    def peek(self, key: str) -> Entry | None:
        """Return an entry without a look at its files; outside ``with`` it may go at any moment."""
        folder = self.folder / "objects" / key
        facts = recorded(folder).get("facts")
        return None if facts is None else Entry(key, folder, facts)

    def _take(self, given: Described, source: Path) -> Entry | None:
        with self.slot() as slot:
            for name in given.files:
                shutil.copyfile(source / name, slot / name)
            if {path.name: tuple(_seal_of(path)) for path in slot.iterdir()} != given.files:
                self._warn(f"what came from the remote store is damaged: {given.key[:12]}")
                return None
            return replace(self.commit(given.key, slot, given.facts, given.stage), fetched=True)

    def describe(self, entry: Entry) -> Described:
        """Return what a remote store says of an entry."""
        said = recorded(entry.folder)
        files = {name: (size, digest) for name, (size, digest) in said["files"].items()}
        return Described(key=entry.key, stage=said["stage"], facts=entry.facts, files=files)

    def _drop(self, folder: Path) -> None:
        """Remove a damaged entry, at once and whole; but not one that another build has made again meanwhile.

        Builds that use it verified it while it was sound, and find it damaged or missing from now on.
        """
        with self.slot() as slot, exclusive(self.folder / "objects"), suppress(FileNotFoundError):
            if self._verified(folder)[1]:
                folder.rename(slot / "dropped")

    @contextmanager
    def slot(self) -> Iterator[Path]:
        """Yield an empty folder on the store's own disk, removed afterwards."""
        with self.named_errors(nameless=False):
            folder = Path(tempfile.mkdtemp(dir=self.folder / "tmp"))
            try:
                yield folder
            finally:
                remove(folder)

    def commit(self, key: str, folder: Path, facts: Mapping[str, Any], stage: str) -> Entry:
        """Make the files in ``folder`` the entry of ``key``: on disk first, then visible at once.

        Where another build was faster, return its entry. ``stage`` is the name that a listing shows.
        """
        target = self.folder / "objects" / key
        with self.named_errors():
            files = {path.name: _seal_of(path) for path in sorted(folder.iterdir())}
            for name in files:
                sync(folder / name)
            recorded = {"files": files, "facts": facts, "seal": self._seal(key, files, facts), "stage": stage}
            (folder / ENTRY).write_text(json.dumps(recorded))
            sync(folder / ENTRY)
            sync(folder)
            while not _renamed(folder, target):
                if found := self.find(key):
                    return found  # or else it was damaged, and is gone now
            sync(target.parent)
        return Entry(key, target, facts)

    def _verified(self, folder: Path) -> tuple[dict[str, Any], str]:
        """Return the facts of an entry, and the names of what of it is damaged."""
        try:
            recorded = json.loads((folder / ENTRY).read_text())
            files, facts = recorded["files"], recorded["facts"]
            if not hmac.compare_digest(recorded["seal"], self._seal(folder.name, files, facts)):
                return {}, ENTRY
            return facts, ", ".join(name for name, seal in files.items() if _seal_of(folder / name) != seal)
        except _UNREADABLE:
            return {}, ENTRY

    def _seal(self, key: str, files: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        return hmac.new(self._key, digest([key, files, facts]).encode(), "sha256").hexdigest()

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Hold the lock of a key; another build waits."""
        path = self.folder / "locks" / key
        with ExitStack() as held:
            with self.named_errors():
                held.enter_context(exclusive(path))
            held.callback(path.unlink, missing_ok=True)
            yield

    @contextmanager
    def tools_write_here(self) -> Iterator[None]:
        """Say of a full disk that it is the store's: the tools that run inside write into the store alone."""
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
            if not ours or isinstance(error, FileNotFoundError):  # what is missing, another build removed
                raise
            where = str(error.filename or self.folder)
            if is_disk_full(error):
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


def _renamed(folder: Path, target: Path) -> bool:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return False
        raise
    return True


def touch(path: Path) -> None:
    """Note that something was used now; where that cannot be written, it looks unused, and that is all."""
    with suppress(OSError):
        os.utime(path)


def recorded(folder: Path) -> dict[str, Any]:
    """Return what an entry says of itself, without a look at its files; {} where that cannot be read."""
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads((folder / ENTRY).read_text()))
    return {}


def _seal_of(path: Path) -> list[Any]:
    """Return what tells a damaged file; nothing of what is no file."""
    return [path.stat().st_size, sha256(path)] if path.is_file() else []


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
