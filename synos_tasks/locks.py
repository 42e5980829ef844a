"""Locks by flock(2): each belongs to an open file, so that it ends with the process, however that ends.

``path`` is a folder that exists, or a lock file, which is made. The holder of a lock file may remove it:
those who waited for it lock the one that is there by then.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def exclusive(path: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock alone. Wait for others; ``waiting`` is called first, when there are any."""
    descriptor = _acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if descriptor is None:
        waiting()
        descriptor = _acquire(path, fcntl.LOCK_EX)
    with _released(descriptor):
        yield


@contextmanager
def try_exclusive(path: Path) -> Iterator[bool]:
    """Hold the lock alone, or yield False at once, without a lock, when another process or thread has it."""
    descriptor = _acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with _released(descriptor):
        yield descriptor is not None


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold the lock together with others that share it. Wait for one that holds it alone."""
    with _released(_acquire(path, fcntl.LOCK_SH)):
        yield


def held(folder: Path) -> frozenset[str]:
    """Return the names of the lock files in a folder that are held, or cannot be tried; remove the others.

    Raises OSError where the folder cannot be read: which are held is then not known.
    """
    try:
        found = {path.name: path for path in folder.iterdir()}
    except FileNotFoundError:
        return frozenset()
    for name, path in list(found.items()):
        with suppress(OSError), try_exclusive(path) as is_free:
            if is_free:
                path.unlink()
                del found[name]
    return frozenset(found)


def _acquire(path: Path, operation: int) -> int | None:
    """Lock ``path`` and return the open descriptor, or None where that would mean to wait."""
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, operation)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder removed the file while we waited


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except IsADirectoryError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def _released(descriptor: int | None) -> Iterator[None]:
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
