"""Folders for unfinished work: a running process keeps its own, those of killed processes are removed."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.locks import shared, try_exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


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


def entries(folder: Path, pattern: str = "*") -> list[Path]:
    """Return what of a folder matches a pattern, sorted; nothing where there is no folder.

    Raises OSError where the folder cannot be read, for which Path.glob() finds nothing.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.match(pattern))
    except FileNotFoundError:
        return []


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
    """Remove a file, link or folder of any depth; silent when there is none. Warn of a folder that cannot be removed."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    with suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    if path.is_dir():
        _flatten(path)
        shutil.rmtree(path, ignore_errors=True)
    try:
        if path.is_dir():
            shutil.rmtree(path)
    except OSError as error:  # root's, which a container left: no reason for what comes next to fail
        print(f"warning: {path} cannot be removed ({error}); as root, `rm -r` can", file=sys.stderr)


def _flatten(path: Path) -> None:
    """Move folders below one up into it: rmtree() recurses, and holds a descriptor for each level."""
    top = os.open(path, FOLDER)
    token, number, pending = uuid.uuid4().hex, 0, ["."]
    while pending:
        with suppress(OSError):
            folder = os.open(pending.pop(), FOLDER, dir_fd=top)
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            for name in names:
                number += 1
                with suppress(OSError):
                    os.rename(name, f"{token}{number}", src_dir_fd=folder, dst_dir_fd=top)
                    pending.append(f"{token}{number}")
            os.close(folder)
    os.close(top)


def sync(path: Path) -> None:
    """Write a file, or the names in a folder, through to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
