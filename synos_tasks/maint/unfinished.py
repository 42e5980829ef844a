"""Volumes that are being filled: each has a mark in .synos/volumes until it is whole.

Who fills one holds its mark's lock. A volume with a mark that nobody holds is what a killed command left.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from synos_tasks.errors import SettingsError
from synos_tasks.maint import exports
from synos_tasks.maint.files import named_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from synos_tasks.engine.volumes import Volumes
    from synos_tasks.settings import Settings

MARK = ".unfinished-"
LABEL_MARK = "io.synos.filled-by"
"""What the mark has too: only the volume that was made for it is removed."""


def marked(settings: Settings) -> frozenset[str]:
    """Names of the volumes that are not whole, also of one that is being filled now."""
    return frozenset(path.name.removeprefix(MARK) for path in _folder(settings).glob(f"{MARK}*"))


@contextmanager
def new_volume(settings: Settings, volumes: Volumes, name: str, labels: Mapping[str, str]) -> Iterator[None]:
    """Make a volume for the caller to fill; after an exception it is gone again.

    What killed commands left is removed before. Raises SettingsError where there is one of that name.
    """
    folder = _folder(settings)
    with named_errors(folder, "the mark of an unfinished volume"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(settings, volumes)
    refuse_existing(volumes, name)
    mark = folder / f"{MARK}{name}"
    descriptor, token = _lock(mark, name), secrets.token_hex(8)
    try:
        _write(descriptor, token)
        try:
            _create(volumes, name, {**labels, LABEL_MARK: token}, token)
            yield
        except BaseException:
            if _remove(volumes, name, token):  # or the mark stays, for the next command to do it
                mark.unlink(missing_ok=True)
            raise
        mark.unlink()
    finally:
        os.close(descriptor)


def sweep(settings: Settings, volumes: Volumes) -> None:
    """Remove what killed commands left; what a container still has is left for the next time."""
    for mark in _folder(settings).glob(f"{MARK}*"):
        name = mark.name.removeprefix(MARK)
        try:
            descriptor = _lock(mark, name)
        except SettingsError:
            continue
        try:
            token = os.read(descriptor, 64).decode(errors="replace")
            if _remove(volumes, name, token):
                mark.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def refuse_existing(volumes: Volumes, name: str) -> None:
    """Raise SettingsError where there is a volume of that name, whoever's it is."""
    if volumes.find(name):
        raise _exists(name)


def _write(descriptor: int, token: str) -> None:
    """Have the token on disk before there is a volume that only it tells from a whole one."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, token.encode(), 0)
    os.fsync(descriptor)


def _create(volumes: Volumes, name: str, labels: Mapping[str, str], token: str) -> None:
    volumes.create(name, labels)
    if _token_of(volumes, name) != token:  # another was quicker, and the engine made none
        raise _exists(name)


def _remove(volumes: Volumes, name: str, token: str) -> bool:
    """Remove the volume that was made for a mark; True when there is none of it any more."""
    if not token or _token_of(volumes, name) != token:
        return True
    return not volumes.remove(name)


def _token_of(volumes: Volumes, name: str) -> str:
    found = volumes.find(name)
    return found.labels.get(LABEL_MARK, "") if found else ""


def _lock(mark: Path, name: str) -> int:
    """Open a mark and hold it; raises SettingsError where another command does."""
    descriptor = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_free = os.fstat(descriptor).st_nlink > 0  # or another command was just done with it
    except BlockingIOError:
        is_free = False
    if is_free:
        return descriptor
    os.close(descriptor)
    raise SettingsError(f"another command is filling volume {name}", where=str(mark), hint="wait for its end")


def _exists(name: str) -> SettingsError:
    return SettingsError(
        f"there is a volume {name} already: it was left as it is",
        where=name,
        hint="give another name: --name for an import, --to for a clone",
    )


def _folder(settings: Settings) -> Path:
    return exports.folder_of(settings)
