"""From the container's folder into the output folder: complete files get their final names, the ISO last."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.errors import StageFailed
from synos_tasks.iso import deliver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STAGING_PREFIX = ".partial-"


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """Give an empty folder inside ``output`` for one build, removed afterwards.

    Every build holds a shared lock on the output folder. Who gets it alone knows that all other staging
    folders were left by builds that were killed, and removes them.
    """
    descriptor = os.open(output, os.O_RDONLY)
    try:
        if _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for leftover in output.glob(f"{STAGING_PREFIX}*"):
                _remove(leftover)
        _lock(descriptor, fcntl.LOCK_SH)
        folder = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=output))
        try:
            yield folder
        finally:
            _remove(folder)
    finally:
        os.close(descriptor)


def publish(folder: Path, profile: str, delivered: Mapping[str, str]) -> Path:
    """Move what the container delivered out of its staging folder; returns the ISO's path.

    Whoever sees an ISO sees the rest of it too. Raises StageFailed when something else than the
    expected files was delivered; then nothing has a final name.
    """
    build_id, digest = delivered["build_id"], delivered["sha256"]
    # the container is not trusted with names and links: a hook may have spoken for it
    if not re.fullmatch(r"[0-9a-f]{12}", build_id) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise _refused(folder, f"build id {build_id!r}, SHA-256 {digest!r}")
    for name in (deliver.MANIFEST, deliver.LOG, deliver.ISO):
        path = folder / name
        if not stat.S_ISREG(path.lstat().st_mode if os.path.lexists(path) else 0):
            raise _refused(folder, f"{name} is not a regular file")
    iso = folder.parent / f"synos-{profile}-{build_id}.iso"
    (folder / "sha256").write_text(f"{digest}  {iso.name}\n")
    (folder / deliver.LOG).replace(f"{iso}.log")
    (folder / deliver.MANIFEST).replace(f"{iso}.manifest.json")
    (folder / "sha256").replace(f"{iso}.sha256")
    (folder / deliver.ISO).replace(iso)
    (folder / "latest").symlink_to(iso.name)
    (folder / "latest").replace(iso.with_name(f"synos-{profile}.iso"))
    _sync(folder.parent)
    return iso


def _refused(folder: Path, why: str) -> StageFailed:
    return StageFailed(
        "the container delivered something else than an ISO",
        where=str(folder),
        why=why,
        hint="nothing was published; look for a hook that writes to /output",
    )


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
