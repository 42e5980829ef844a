"""Folders that must not go while they are used: a shared lock on each; who takes one away needs the lock alone.

The locks are flock(2)'s: they belong to an open file, so that they end with the process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Holds:
    """What one user of the store has in use. Safe for several threads at once."""

    def __init__(self) -> None:
        """Nothing is held yet."""
        self._descriptors: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    def take(self, path: Path) -> os.stat_result | None:
        """Hold what is at ``path`` now, and give its status; None where nothing is.

        Waits for one who has it alone: that is for the time of a rename.
        """
        while True:
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return None
            with suppress(FileNotFoundError):
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if os.path.samestat(status := os.fstat(descriptor), path.stat()):
                    return self._keep(descriptor, status)
            os.close(descriptor)  # it went while we waited: what is there by now is another

    def _keep(self, descriptor: int, status: os.stat_result) -> os.stat_result:
        with self._lock:
            if self._descriptors.setdefault(_ident(status), descriptor) != descriptor:
                os.close(descriptor)  # we had it already
        return status

    def release(self, status: os.stat_result) -> None:
        """Let go of one, by the status that take() gave."""
        with self._lock:
            descriptor = self._descriptors.pop(_ident(status), None)
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            descriptors, self._descriptors = self._descriptors, {}
        for descriptor in descriptors.values():
            os.close(descriptor)


def _ident(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@contextmanager
def unheld(path: Path) -> Iterator[os.stat_result | None]:
    """Give the status of what is at ``path`` if nobody holds it; then nobody can, until this ends."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        yield _alone(descriptor, path)
    finally:
        os.close(descriptor)


def _alone(descriptor: int, path: Path) -> os.stat_result | None:
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(status := os.fstat(descriptor), path.stat()):
            return status
    return None


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until nobody else is in here for ``folder``."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def touch(path: Path) -> None:
    """Note that something was used now; where that cannot be written, it looks unused, and that is all."""
    with suppress(OSError):
        os.utime(path)
