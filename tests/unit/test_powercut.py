"""What the disk of a guest keeps after a power cut, from the log of its writes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from scripts.benchmarks.powercut_guest import ENTRY, FLUSH, SECTOR, replay

if TYPE_CHECKING:
    from pathlib import Path


def _log(path: Path, *entries: bytes | None) -> Path:
    """Write a log: of each entry its sector is its number; None is a flush."""
    text = b"super block".ljust(SECTOR, b"\0")
    for number, data in enumerate(entries):
        header = (0, 0, FLUSH, 0) if data is None else (number, 1, 0, 0)
        text += ENTRY.pack(*header).ljust(SECTOR, b"\0") + (data.ljust(SECTOR, b"\0") if data else b"")
    path.write_bytes(text)
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Give an empty disk."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 * SECTOR))
    return path


def test_a_disk_keeps_what_was_flushed_and_a_share_of_the_rest(tmp_path: Path, disk: Path) -> None:
    log = _log(tmp_path / "log", b"first", b"second", None, b"late")
    assert replay(log, disk, 0.0, random.Random(1)) == 1
    kept = disk.read_bytes()
    assert (kept[:5], kept[SECTOR : SECTOR + 6]) == (b"first", b"second")
    assert b"late" not in kept
    assert replay(log, disk, 1.0, random.Random(1)) == 0
    assert b"late" in disk.read_bytes()


def test_a_log_with_a_hole_is_refused_before_the_disk_changes(tmp_path: Path, disk: Path) -> None:
    log = _log(tmp_path / "log", b"first", None)
    log.write_bytes(log.read_bytes() + bytes(SECTOR) + b"more")
    with pytest.raises(ValueError, match="hole"):
        replay(log, disk, 1.0, random.Random(1))
    assert not disk.read_bytes().strip(b"\0")
