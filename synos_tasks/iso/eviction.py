"""What the store holds, and what of it goes: what was not used for longest, and nothing while a build runs.

Eviction needs the store's lock alone. Where builds have it, it removes nothing and says so: what it would have
removed goes after the last of them. It can be killed at any moment: what is left is whole.
"""

from __future__ import annotations

import math
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.iso.codec import Event
from synos_tasks.iso.remote import ENTRY
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.store import UNKNOWN, recorded
from synos_tasks.locks import try_exclusive

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from synos_tasks.iso.store import Store

STAGE, PACKAGE, LISTS = "stage", "package", "lists"
PLACES = {STAGE: ("objects", ""), PACKAGE: ("pool", ".deb"), LISTS: ("lists", "")}
"""By kind: the folder in the store, and how the names in it end."""
YOUNG_SECONDS = 600.0
"""Used since: one container of a build may have made it for the next, which is about to start."""
BLOCK = 512
"""Unit of st_blocks, whatever the file system's own is; see stat(2)."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One item of the store. Times in seconds since 1970."""

    kind: str
    """stage, package (a .deb of the pool), or lists (apt's, of a suite)."""
    stage: str = ""
    """Name of the stage; '' for other kinds."""
    key: str
    """Content key of a stage, SHA-256 of a package, name of a suite."""
    bytes: int
    """What it takes on disk; a file with several names counts once."""
    created: float
    """Of packages and lists only the last use is known."""
    last_used: float
    in_use: bool = False
    """A build has the store open."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may stay. None sets no limit."""

    max_bytes: int | None = None
    max_age: float | None = None
    """Seconds since the last use."""
    young: float = YOUNG_SECONDS
    """What was used within so many seconds stays."""
    chosen: Mapping[str, float] | None = None
    """Last use of what a plan has chosen, by key: nothing else goes, and nothing that was used since."""
    seconds: float | None = None
    """How long eviction may take; the next one goes on."""


class Evicted(Event, name="evicted"):
    """What was removed, and what is left. Sizes in bytes."""

    bytes: int
    count: int
    left_bytes: int
    skipped: int
    """Chosen, and still there: not reached in time, or ``busy``."""
    busy: bool = False
    """A build has the store open, so nothing was removed."""


def choose(entries: Iterable[Stored], limits: Limits, now: float) -> list[Stored]:
    """Choose what goes, what was not used for longest first.

    All that is older than ``max_age``, then as much as is needed to come down to ``max_bytes``.
    """
    known = list(entries)
    oldest = sorted((one for one in known if not one.in_use), key=lambda one: (one.last_used, one.key))
    if limits.chosen is not None:
        return [one for one in oldest if limits.chosen.get(one.key) == one.last_used]
    total, chosen = sum(one.bytes for one in known), []
    for one in oldest:
        age = now - one.last_used
        old = limits.max_age is not None and age > limits.max_age
        large = limits.max_bytes is not None and total > limits.max_bytes
        if age < limits.young or not (old or large):
            break  # all that follow are younger
        total -= one.bytes
        chosen.append(one)
    return chosen


def evict(store: Store, limits: Limits) -> Evicted:
    """Remove what choose() chooses, unless a build has the store open; raises CacheUnusable."""
    deadline = time.monotonic() + (math.inf if limits.seconds is None else limits.seconds)
    with store.named_errors(), try_exclusive(store.lock) as alone:
        known = _listed(store)
        chosen = choose(known, limits, time.time())
        freed = count = 0
        with store.slot() as slot:  # what is left in it by a kill, the next to open the store removes
            for one in chosen:
                if not alone or time.monotonic() >= deadline:
                    break
                name, ending = PLACES[one.kind]
                (store.folder / name / f"{one.key}{ending}").rename(slot / one.key)  # at once and whole
                remove(slot / one.key)
                freed, count = freed + one.bytes, count + 1
    return Evicted(
        bytes=freed,
        count=count,
        left_bytes=sum(one.bytes for one in known) - freed,
        skipped=len(chosen) - count,
        busy=not alone,
    )


def listing(store: Store) -> list[Stored]:
    """List all that the store holds; what goes meanwhile is left out. Raises CacheUnusable."""
    with store.named_errors():
        with try_exclusive(store.lock) as alone:
            pass
        return _listed(store, in_use=not alone)


def _listed(store: Store, *, in_use: bool = False) -> list[Stored]:
    counted: set[tuple[int, int]] = set()
    listed = []
    for kind, (name, ending) in PLACES.items():
        with os.scandir(store.folder / name) as found:  # a Path for each of thousands takes longer
            paths = sorted(found, key=lambda path: path.name)
        for path in paths:
            if not (path.name.endswith(ending) if ending else path.is_dir(follow_symlinks=False)):
                continue
            with suppress(FileNotFoundError):
                status = path.stat(follow_symlinks=False)
                stage, used = _stage_of(Path(path.path)) if kind == STAGE else ("", status.st_mtime)
                listed.append(
                    Stored(
                        kind=kind,
                        stage=stage,
                        key=path.name.removesuffix(ending),
                        bytes=_bytes(path.path, status, counted),
                        created=status.st_mtime,
                        last_used=used,
                        in_use=in_use,
                    )
                )
    return listed


def _stage_of(entry: Path) -> tuple[str, float]:
    """Return the stage of an entry, and when it was last used."""
    noted = entry / ENTRY
    used = (noted if noted.exists() else entry).stat().st_mtime
    return str(recorded(entry).get("stage", UNKNOWN)), used


def _bytes(path: str, status: os.stat_result, counted: set[tuple[int, int]]) -> int:
    """Return what a file, or a folder with all in it, takes on disk; a file counts once under all its names."""
    if stat.S_ISDIR(status.st_mode):
        with os.scandir(path) as inside:
            sizes = [_bytes(one.path, one.stat(follow_symlinks=False), counted) for one in inside]
        return status.st_blocks * BLOCK + sum(sizes)
    ident = (status.st_dev, status.st_ino)
    if status.st_nlink > 1 and ident in counted:
        return 0
    counted.add(ident)
    return status.st_blocks * BLOCK
