"""What people see: plans, and `inv maint.disk`: what this clone takes, what can be freed, and what it would cost to remake."""

from __future__ import annotations

import stat
import textwrap
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from synos_tasks import console
from synos_tasks.builder import build_seconds
from synos_tasks.console import human_bytes
from synos_tasks.images import ledger
from synos_tasks.iso.scratch import entries
from synos_tasks.maint import prune
from synos_tasks.maint.prune import Limits
from synos_tasks.maint.resources import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
    from pathlib import Path

    from synos_tasks.cli import Command
    from synos_tasks.maint.prune import Plan, Pruned
    from synos_tasks.maint.resources import Context, Resource

K = TypeVar("K", bound="Hashable")
NAME = 60
"""Characters that are shown of a name of several words."""
FEW = 3
"""Of one kind, kept for one reason: more share a line."""
EVERYTHING = Limits(older_than=0.0, young=0.0, keep_last=1, include_rebuildable=True)


def show_plan(command: Command, plan: Plan) -> None:
    """Show what is removed, and what is kept and why."""
    if plan.removals:
        command.table("to remove", ["what", "name", "about", "to remake"], list(_rows(plan.removals)))
    else:
        command.show("nothing to prune")
    if plan.kept:
        command.table("kept", ["what", "name", "size", "because"], list(_rows(plan.kept)))


def show_pruned(pruned: Pruned) -> None:
    """Show what was done."""
    for one in pruned.stayed:
        console.say(f"not removed: {one.kind} {_short(one.name)}: {one.reason}")
    count = len(pruned.removed)
    items = "item" if count == 1 else "items"
    console.say(f"Removed {count} {items}, {_freed(pruned)}; what is left: inv maint.disk")


def plan_json(plan: Plan, pruned: Pruned) -> dict[str, Any]:
    """Return what --json has of a plan, and of what was done."""
    return {
        "planned": [one.to_json() for one in plan.removals],
        "planned_bytes": _bytes(plan.removals),
        "kept": [one.to_json() for one in plan.kept],
        "removed": [one.to_json() for one in pruned.removed],
        "stayed": [one.to_json() for one in pruned.stayed],
        "freed_bytes": pruned.freed_bytes,
    }


def steps(found: Sequence[Resource]) -> list[dict[str, Any]]:
    """Return each kind of resource that a reset removes, as --json has it."""
    return [
        {
            "name": name,
            "count": len(every),
            "bytes": _bytes(every),
            "names": sorted(one.name for one in every),
        }
        for name, every in _grouped(found, lambda one: NAMES[one.kind]).items()
    ]


def reset_lines(pruned: Pruned) -> list[str]:
    """Return what a reset did, a line for each kind."""
    return [
        *(f"removed: {step['count']} {step['name']}" for step in steps(pruned.removed)),
        *(f"stays: {one.kind} {one.name}: {one.reason}" for one in pruned.stayed),
        _freed(pruned),
    ]


def _freed(pruned: Pruned) -> str:
    if pruned.freed_bytes is None:
        return "freed an unknown amount, as the engine's folder cannot be seen from here"
    return f"freed {human_bytes(max(0, pruned.freed_bytes))}"


def _rows(found: Sequence[Resource]) -> Iterator[list[str]]:
    """Return a row for each resource, but one for many alike."""
    alike = _grouped(found, lambda one: (one.kind, one.reason, _in_hundreds(one)))
    for (kind, reason, label), group in alike.items():
        if label or (reason and len(group) > FEW):
            yield [kind, f"{len(group)} {label or 'of them'}", human_bytes(_bytes(group)), reason]
            continue
        for one in group:
            name = f"{_short(one.name)}, which is in {one.backup}" if one.backup else _short(one.name)
            yield [kind, name, human_bytes(one.bytes), reason or _seconds(one.seconds)]


def _in_hundreds(one: Resource) -> str:
    """Return what a resource is one of, where there are too many for a line each."""
    if one.kind == "cache" and not one.name.startswith("cache mount "):
        return "steps of images"
    return "packages" if one.kind == "store" and one.name.startswith("package ") else ""


def _grouped(found: Iterable[Resource], key: Callable[[Resource], K]) -> dict[K, list[Resource]]:
    groups: dict[K, list[Resource]] = defaultdict(list)
    for one in found:
        groups[key(one)].append(one)
    return groups


def _bytes(found: Iterable[Resource]) -> int:
    return sum(one.bytes for one in found)


def _short(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= NAME or " " not in line else textwrap.shorten(line, NAME, placeholder=" …")


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


@dataclass(frozen=True)
class Row:
    """One kind of resource. Sizes in bytes; ``seconds`` is what all of it took to make, None if unknown."""

    name: str
    count: int
    bytes: int
    free_bytes: int = 0
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """All that this clone takes, in bytes, and what the engine has besides."""

    rows: tuple[Row, ...]
    bytes: int
    free_bytes: int
    others_bytes: int


def show_usage(command: Command, usage: Usage) -> None:
    """Show what each kind of resource takes."""
    rows = [
        [row.name, str(row.count), human_bytes(row.bytes), human_bytes(row.free_bytes), _seconds(row.seconds)]
        for row in usage.rows
    ]
    command.table("on the disk", ["what", "count", "size", "can be freed", "to remake"], rows)
    command.show(f"this project: {human_bytes(usage.bytes)}")
    command.show(f"everything else in the engine, never touched: {human_bytes(usage.others_bytes)}")


def usage(context: Context) -> Usage:
    """Look at the engine, the store, and this clone's folders; raises EngineUnavailable or HostUnfit."""
    inventory = context.inventory()
    planned = prune.plan(context, EVERYTHING, inventory)
    found = _grouped(
        (*planned.removals, *planned.kept),
        lambda one: "cache mount" if one.name.startswith("cache mount ") else one.kind,
    )
    rows = {kind: _row(NAMES[kind], found[kind]) for kind in NAMES if kind in found and kind != "network"}
    if {"store", "cache volume"} <= rows.keys():  # the store lies in a volume: the rest of it is left to that
        volumes = rows["cache volume"]
        rows["cache volume"] = replace(volumes, bytes=max(0, volumes.bytes - rows["store"].bytes))
    made = ledger.read(context.settings.project.state_dir)
    built = _total(made.seconds_of(name) or None for name in {one.name for one in made.images.values()})
    if row := rows.get("image"):  # layers that images share count once
        size = context.union_bytes([one.id for one in found["image"]])
        rows["image"] = replace(row, seconds=built, bytes=size, free_bytes=min(size, row.free_bytes))
    if row := rows.get("cache"):  # without it, each image is built from nothing
        rows["cache"] = replace(row, seconds=built)
    if row := rows.get("iso"):
        took = {profile: sum(stages.values()) for profile, stages in build_seconds(context.settings).items()}
        rows["iso"] = replace(row, seconds=_total(took.get(one.group) for one in found["iso"] if one.group))
    used = inventory.usage
    in_engine = used.layers + sum(used.containers.values()) + sum(used.volumes.values())
    in_engine += sum(one.bytes for one in used.records if not one.shared)
    ours = sum(row.bytes for kind, row in rows.items() if kind != "iso")
    every = (*rows.values(), *folders(context.settings.project.state_dir))
    return Usage(
        rows=every,
        bytes=sum(row.bytes for row in every),
        free_bytes=sum(row.free_bytes for row in every),
        others_bytes=max(0, in_engine - ours),
    )


def _row(name: str, found: Sequence[Resource]) -> Row:
    free = _bytes(one for one in found if not one.reason)
    return Row(name, len(found), _bytes(found), free, _total(one.seconds for one in found))


def _total(seconds: Iterable[float | None]) -> float | None:
    known = [one for one in seconds if one is not None]
    return round(sum(known), 1) if known else None


def folders(state: Path) -> Iterator[Row]:
    """Return what in .synos takes space; raises OSError for what cannot be read."""
    named = {"logs": "logs", "backups of services": "backups", "exported volumes": "volumes"}
    for name, folder in named.items():
        if sizes := list(_sizes(state / folder)):
            yield Row(name, len(sizes), sum(sizes))


def _sizes(folder: Path) -> Iterator[int]:
    """Yield the bytes of each file below a folder, if there is one; raises OSError for what cannot be read."""
    for path in entries(folder):
        with suppress(FileNotFoundError):  # another command removed it
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                yield from _sizes(path)
            elif stat.S_ISREG(status.st_mode):
                yield status.st_blocks * 512
