"""What is really freed: the free bytes of the file systems that things lie on, before and after."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Free:
    """Free bytes by file system, at one moment."""

    bytes: Mapping[int, int]

    def since(self, before: Free) -> int:
        """Give what became free since; less than nothing where others wrote more meanwhile."""
        return sum(free - before.bytes[disk] for disk, free in self.bytes.items() if disk in before.bytes)


def free(folders: Iterable[Path]) -> Free:
    """Look at the file systems of folders; one that is not there, or not ours to look at, counts for nothing.

    The free blocks for root are meant, as the quota of a user does not change with what root frees.
    """
    found = {}
    for folder in folders:
        try:
            told = os.statvfs(folder)
            found[folder.stat().st_dev] = told.f_bfree * told.f_frsize
        except OSError:
            continue
    return Free(found)


def freed(folders: Iterable[Path], before: Free, expected: int) -> int:
    """Give the bytes that became free since ``before``, of which about ``expected`` are to be seen.

    Some file systems free what was removed later, others only when they are told to write: where much is missing,
    they are, which takes its time.
    """
    places = list(folders)
    found = free(places).since(before)
    if found < expected / 2:
        os.sync()
        found = free(places).since(before)
    return found
