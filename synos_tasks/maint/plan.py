"""What goes and what stays, and why. Pure: things and limits in, a plan out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from synos_tasks.maint.things import Thing

ORDER = (
    "build container", "container", "dev container", "scratch volume", "network", "image", "cache", "base image", "store",
    "cache volume", "data volume",
)  # fmt: skip
"""What holds others goes before them."""
AT_ANY_AGE = ("build container", "scratch volume", "network", "data volume")
"""Left by a kill, or made anew in no time, or asked for by name."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What was asked for. ``older_than`` and ``young`` in seconds."""

    older_than: float
    young: float = 600.0
    """What was made or used since stays in any case: a command may be about to use it."""
    keep_last: int
    cache: bool = False
    store: bool = False
    volumes: bool = False
    everything: bool = False
    """Whatever can be made again: not data."""
    whole: bool = False
    """All that is not held, data and the newest of each too: for a clone that is to be as new."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What goes, in that order, and what stays, with the reason."""

    gone: tuple[Thing, ...]
    kept: tuple[tuple[Thing, str], ...]

    @property
    def bytes(self) -> int:
        """What the removals free at most."""
        return sum(thing.bytes for thing in self.gone)


def plan(things: Sequence[Thing], limits: Limits, now: float) -> Plan:
    """Decide about each thing; ``now`` in seconds since 1970."""
    ranks = _ranks(things)
    reasons = {thing.id: _reason(thing, limits, now, ranks.get(thing.id, 0)) for thing in things}
    _keep_below(things, reasons)
    gone = [thing for thing in things if not reasons[thing.id]]
    return Plan(
        gone=tuple(sorted(gone, key=lambda thing: (ORDER.index(thing.kind), thing.used, thing.name))),
        kept=tuple((thing, reasons[thing.id]) for thing in things if reasons[thing.id]),
    )


def _reason(thing: Thing, limits: Limits, now: float, rank: int) -> str:
    """Say why a thing stays; '' where it goes."""
    age = now - thing.used
    if thing.held or limits.whole:
        return thing.held
    if age < limits.young:
        return "made or used a moment ago"
    if needed := _not_asked_for(thing, limits):
        return needed
    if thing.group and rank < max(1, limits.keep_last):
        return "the newest" if rank == 0 else f"one of the newest {limits.keep_last}"
    if thing.kind in AT_ANY_AGE:
        return ""
    return "" if age >= limits.older_than else f"only {_ago(age)} old"


def _not_asked_for(thing: Thing, limits: Limits) -> str:
    if thing.kind == "data volume":
        if not limits.volumes:
            return "holds data: goes with --volumes only"
        return "" if thing.backup else "holds data, and there is no fresh backup of it"
    asked = {
        "cache": limits.cache,
        "store": limits.store,
        "base image": False,
        "cache volume": False,
        "dev container": False,  # somebody may have installed what he needs in it
    }.get(thing.kind, True)
    if asked or limits.everything:
        return ""
    return f"goes with --{thing.kind} only" if thing.kind in {"cache", "store"} else "goes with --all only"


def _ranks(things: Iterable[Thing]) -> dict[str, int]:
    """Give the place of each thing in its group, the newest being 0."""
    counts: dict[str, int] = {}
    ranks = {}
    for thing in sorted(things, key=lambda one: (-one.used, one.id)):
        if thing.group:
            ranks[thing.id] = counts.get(thing.group, 0)
            counts[thing.group] = ranks[thing.id] + 1
    return ranks


def _keep_below(things: Sequence[Thing], reasons: dict[str, str]) -> None:
    """Keep what something that stays needs; what is not in ``things`` stays."""
    waiting = [thing for thing in things if not reasons[thing.id]]
    while True:
        kept = [thing for thing in waiting if any(reasons.get(one, "another's") for one in thing.above)]
        if not kept:
            return
        for thing in kept:
            reasons[thing.id] = "what stays needs it"
        waiting = [thing for thing in waiting if not reasons[thing.id]]


def _ago(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"
