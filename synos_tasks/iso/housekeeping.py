"""What the store holds, and what of it goes: what was not used for longest, never what a running build uses.

Names and dates are read first, what goes is chosen, and each is then taken out by itself, if by then it still is
unused. So this can end at any moment: what is left is whole, and the next time goes on.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.holds import unheld
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.store import ENTRY, UNKNOWN, used_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from synos_tasks.iso.store import Store

STAGE, PACKAGE, LISTS = "stage", "package", "lists"
YOUNG_SECONDS = 600
"""Used since: one container of a build may have made it for the next, which is about to start."""
BLOCK = 512
"""Unit of st_blocks, whatever the file system's own is; see stat(2)."""


@dataclass(frozen=True)
class Kept:
    """One thing in the store. Times in seconds since 1970."""

    kind: str
    """stage, package (a .deb of the pool), or lists (apt's, of a suite)."""
    stage: str
    """Name of the stage; '' for what is none."""
    key: str
    """Content key of a stage, SHA-256 of a package, name of a suite."""
    bytes: int
    """What it takes on disk; a file with several names counts once."""
    created: float
    """Of packages and lists only the last use is known."""
    last_used: float
    in_use: bool


@dataclass(frozen=True)
class Limits:
    """What may stay. None sets no limit."""

    max_bytes: int | None = None
    max_age: float | None = None
    """Seconds since the last use."""
    young: float = YOUNG_SECONDS
    """What was used within so many seconds stays."""
    chosen: Mapping[str, float] | None = None
    """What a plan has chosen already, with the last use of each: that alone goes, where it was not used since."""


LIMITS = tuple(one.name for one in fields(Limits))


@dataclass(frozen=True)
class Evicted:
    """What went, and what is left."""

    bytes: int
    count: int
    left_bytes: int
    skipped: int
    """Chosen, but used again meanwhile, or not reached in time."""


def limits_of(asked: Mapping[str, Any]) -> Limits:
    """Read the limits of a request."""
    return Limits(**{name: asked[name] for name in LIMITS if name in asked})


def choose(entries: Iterable[Kept], limits: Limits, now: float) -> list[Kept]:
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
            break  # all behind it is younger
        total -= one.bytes
        chosen.append(one)
    return chosen


def evict(store: Store, limits: Limits, deadline: float) -> Evicted:
    """Remove what choose() chooses, until time.monotonic() is past ``deadline``; raises CacheUnusable."""
    known = listing(store)
    chosen = choose(known, limits, time.time())
    gone = _remove(store, chosen, deadline) if chosen else []
    freed = sum(one.bytes for one in gone)
    return Evicted(
        bytes=freed,
        count=len(gone),
        left_bytes=sum(one.bytes for one in known) - freed,
        skipped=len(chosen) - len(gone),
    )


def _remove(store: Store, chosen: Sequence[Kept], deadline: float) -> list[Kept]:
    gone = []
    ways = {STAGE: _remove_stage, PACKAGE: _remove_package, LISTS: _remove_lists}
    with store.slot() as slot:  # what lies in it when this is killed, the next one to open the store removes
        for one in chosen:
            if time.monotonic() >= deadline:
                break
            with store.named_errors(), suppress(FileNotFoundError):
                if ways[one.kind](store, one, slot / one.key):
                    gone.append(one)
    return gone


def _remove_stage(store: Store, one: Kept, target: Path) -> bool:
    """Take it out at once and whole; who looks for it from then on finds nothing, and need not wait."""
    if store.take_out(one.key, target, one.last_used):
        remove(target)
        return True
    return False


def _remove_package(store: Store, one: Kept, _target: Path) -> bool:
    """Take one at a time: a build that wants packages is let in between any two."""
    path = store.folder / "pool" / f"{one.key}.deb"
    with unheld(path.parent) as free:
        if free and path.stat().st_mtime <= one.last_used:
            path.unlink()
            return True
    return False


def _remove_lists(store: Store, one: Kept, target: Path) -> bool:
    folder = store.folder / "lists" / one.key
    with store.alone(lists_lock(one.key), wait=False) as ours:
        if not ours or folder.stat().st_mtime > one.last_used:
            return False
        folder.rename(target)
    remove(target)
    return True


def lists_lock(suite: str) -> str:
    """Name of the lock of apt's lists: apt has one of its own, but does not wait."""
    return f"lists-{suite}"


def listing(store: Store) -> list[Kept]:
    """Tell all that the store holds; what goes meanwhile is left out. Raises CacheUnusable."""
    counted: set[tuple[int, int]] = set()
    with store.named_errors():
        return [*_stages(store, counted), *_packages(store, counted), *_lists(store, counted)]


def _stages(store: Store, counted: set[tuple[int, int]]) -> Iterator[Kept]:
    for entry in _folders(store.folder / "objects"):
        with suppress(FileNotFoundError):
            yield Kept(
                kind=STAGE,
                stage=_stage_of(entry),
                key=entry.name,
                bytes=_bytes(entry, counted),
                created=entry.stat().st_mtime,
                last_used=used_at(entry),
                in_use=_is_held(entry),
            )


def _packages(store: Store, counted: set[tuple[int, int]]) -> Iterator[Kept]:
    pool = store.folder / "pool"
    in_use = _is_held(pool)
    with os.scandir(pool) as found:
        for path in found:
            name, ending = os.path.splitext(path.name)  # noqa: PTH122  (a Path for each of thousands takes longer)
            with suppress(FileNotFoundError):
                status = path.stat(follow_symlinks=False)
                if ending == ".deb":
                    used = status.st_mtime
                    yield Kept(PACKAGE, "", name, _size(status, counted), used, used, in_use)


def _lists(store: Store, counted: set[tuple[int, int]]) -> Iterator[Kept]:
    for folder in _folders(store.folder / "lists"):
        with suppress(FileNotFoundError):
            used = folder.stat().st_mtime
            in_use = (store.folder / "locks" / lists_lock(folder.name)).exists()
            yield Kept(LISTS, "", folder.name, _bytes(folder, counted), used, used, in_use)


def _folders(parent: Path) -> list[Path]:
    with os.scandir(parent) as found:
        return sorted(Path(one.path) for one in found if one.is_dir(follow_symlinks=False))


def _is_held(folder: Path) -> bool:
    with unheld(folder) as free:
        return free is None


def _stage_of(entry: Path) -> str:
    try:
        return str(json.loads((entry / ENTRY).read_text())["stage"])
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN


def _bytes(folder: Path, counted: set[tuple[int, int]]) -> int:
    """Measure a folder with all in it."""
    total = folder.lstat().st_blocks * BLOCK
    with os.scandir(folder) as inside:
        for one in inside:
            if one.is_dir(follow_symlinks=False):
                total += _bytes(Path(one.path), counted)
            else:
                total += _size(one.stat(follow_symlinks=False), counted)
    return total


def _size(status: os.stat_result, counted: set[tuple[int, int]]) -> int:
    """Give what a file takes on disk; nothing where it was ``counted`` under another name."""
    if status.st_nlink > 1:
        ident = (status.st_dev, status.st_ino)
        if ident in counted:
            return 0
        counted.add(ident)
    return status.st_blocks * BLOCK
