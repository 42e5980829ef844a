"""Folders for unfinished work: a running process keeps its own, those of killed processes are removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.locks import shared, try_exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield an empty folder inside ``parent``, removed afterwards, and remove what killed processes left."""
    sweep(parent, prefix)
    with shared(parent):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            yield folder
        finally:
            remove(folder)


def sweep(parent: Path, prefix: str) -> None:
    """Remove the folders of killed processes.

    Everyone who has a folder shares a lock on ``parent``. A process that gets that lock alone knows that no folder with
    ``prefix`` is in use.
    """
    parent.stat()  # or else the lock would be a new file of that name
    with try_exclusive(parent) as alone:
        for leftover in parent.glob(f"{prefix}*") if alone else ():
            remove(leftover)


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that readers find all of it, or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).chmod(mode)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, link or folder; silent when there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """See a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
