"""Logs in .synos/logs: old ones go, those of yesterday and before are compressed.

A log with a time in its name is one command's. Others (crash.log, dev-NAME.log, base-image-SUITE.log) are written
anew under the same name, and hold the last run: they stay as they are unless they are large.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.iso.scratch import sync
from synos_tasks.maint.files import is_regular, named_errors, partial, settle, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synos_tasks.settings import Settings

DAY = 86400.0
QUIET_SECONDS = 3600.0
"""A log that changed since is left alone: a command may still be at it."""
LARGE = 10_000_000
"""Bytes from which on a log is compressed before it is a day old, and one with a fixed name too."""
ENDING, PACKED = ".log", ".log.gz"
_OF_ONE_RUN = re.compile(r"[0-9]{8}T[0-9]{6}-.*\.log", re.ASCII | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """What was done, or with --dry would be. Names of files; sizes of all logs in bytes."""

    removed: tuple[str, ...]
    compressed: tuple[str, ...]
    left: tuple[str, ...]
    """What would have been removed or compressed, but is in use."""
    before_bytes: int
    after_bytes: int
    """With --dry that of before, less what would be removed: how far the rest shrinks is not known."""


@dataclass(frozen=True, kw_only=True)
class _Log:
    path: Path
    status: os.stat_result

    @property
    def age(self) -> float:
        """When it was last changed, in seconds since 1970."""
        return self.status.st_mtime

    @property
    def identity(self) -> tuple[int, int]:
        """By which it is known in whatever folder it is seen."""
        return self.status.st_dev, self.status.st_ino


def folder_of(settings: Settings) -> Path:
    """Where logs are."""
    return settings.state_dir / "logs"


def rotate(settings: Settings, days: int, now: float, *, dry: bool = False) -> Rotated:
    """Remove logs that were last changed more than ``days`` days before ``now``, in seconds since 1970; 0: none.

    Raises DiskFull or OutputNotWritable. Cut short at any moment, no log is lost, and it can be done again.
    """
    folder = folder_of(settings)
    with named_errors(folder, "the logs"):
        logs = _logs(folder)
        old = [log for log in logs if days and now - log.age > days * DAY]
        large = [log for log in logs if log not in old and _is_to_pack(log, now)]
        busy = _open_files() if old or large else frozenset()
        free = [log for log in (*old, *large) if log.identity not in busy and now - log.age > QUIET_SECONDS]
        removed = [log for log in old if log in free]
        compressed = [log for log in large if log in free]
        if not dry:
            _do(folder, removed, compressed)
        before = sum(log.status.st_size for log in logs)
        after = before - sum(log.status.st_size for log in removed) if dry else _total(folder)
    return Rotated(
        removed=tuple(log.path.name for log in removed),
        compressed=tuple(log.path.name for log in compressed),
        left=tuple(log.path.name for log in (*old, *large) if log not in free),
        before_bytes=before,
        after_bytes=after,
    )


def _do(folder: Path, removed: list[_Log], compressed: list[_Log]) -> None:
    if folder.is_dir():
        sweep(folder)
    for log in removed:
        log.path.unlink(missing_ok=True)
    for log in compressed:
        _compress(log)


def _total(folder: Path) -> int:
    return sum(log.status.st_size for log in _logs(folder))


def _logs(folder: Path) -> list[_Log]:
    """Give the logs of a folder, oldest first: files alone, no links and nothing of another kind."""
    found = []
    for path in folder.glob("*"):
        if path.name.endswith((ENDING, PACKED)) and is_regular(path):
            with contextlib.suppress(FileNotFoundError):
                found.append(_Log(path=path, status=path.lstat()))
    return sorted(found, key=lambda log: (log.age, log.path.name))


def _is_to_pack(log: _Log, now: float) -> bool:
    if log.path.name.endswith(PACKED):
        return False
    of_one_run = _OF_ONE_RUN.fullmatch(log.path.name) is not None
    return log.status.st_size > LARGE or (of_one_run and now - log.age > DAY)


def _compress(log: _Log) -> None:
    """Write NAME.gz and remove the log; one that changes meanwhile stays."""
    target = _packed_path(log)
    with partial(log.path.parent, mode=log.status.st_mode & 0o777) as (temporary, stream):
        with (
            os.fdopen(os.open(log.path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as source,
            gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=log.age) as packed,
        ):
            shutil.copyfileobj(source, packed)
        settle(stream)
        if _has_changed(log):
            return
        os.utime(temporary, ns=(log.status.st_atime_ns, log.status.st_mtime_ns))
        with contextlib.suppress(PermissionError):  # a log of root's stays root's where only root may say so
            os.chown(temporary, log.status.st_uid, log.status.st_gid)
        temporary.replace(target)
    sync(log.path.parent)
    log.path.unlink(missing_ok=True)


def _packed_path(log: _Log) -> Path:
    """Say where a log goes: one with a fixed name gets its time into it, as the next of that name must not replace it."""
    if _OF_ONE_RUN.fullmatch(log.path.name):
        return log.path.with_name(f"{log.path.name}.gz")
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(log.age))
    return log.path.with_name(f"{moment}-{log.path.name}.gz")


def _has_changed(log: _Log) -> bool:
    try:
        now = log.path.lstat()
    except FileNotFoundError:
        return True
    then = log.status
    return (now.st_ino, now.st_size, now.st_mtime_ns) != (then.st_ino, then.st_size, then.st_mtime_ns)


def _open_files(proc: Path = Path("/proc")) -> frozenset[tuple[int, int]]:
    """Give device and number of every file that a running process has open, as far as this user may see."""
    return frozenset(_descriptors(proc))


def _descriptors(proc: Path) -> Iterator[tuple[int, int]]:
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            for descriptor in os.scandir(process / "fd"):
                with contextlib.suppress(OSError):
                    status = descriptor.stat()
                    yield status.st_dev, status.st_ino
