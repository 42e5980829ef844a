"""What people see: plans, and `inv maint.disk`: what this clone takes, what can be freed, and what it would cost to remake."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from synos_tasks import console
from synos_tasks.console import human_bytes
from synos_tasks.maint import ownership, prune
from synos_tasks.maint.prune import Limits
from synos_tasks.maint.resources import NAMES, build_seconds, device_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from synos_tasks.maint.ownership import Clone, Inventory
    from synos_tasks.maint.prune import Plan, Pruned
    from synos_tasks.maint.reset import Step
    from synos_tasks.maint.resources import Context, Resource

BARS = (10, 30)
"""Characters of the longest bar: in a terminal of 80 columns, and in a wide one."""
WIDE = 100
NAME = 60
"""Characters of a name that are shown."""
FEW = 3
"""Of one kind, kept for one reason: more share a line."""
DAY = 86400.0
EVERYTHING = Limits(older_than=0.0, young=0.0, keep_last=1, include_rebuildable=True)
REBUILT = (NAMES["image"], NAMES["cache"])
"""Without the build cache, each image is built from nothing."""
OUTSIDE = ("network", "iso")
"""Not rows of the engine's."""


def show_plan(plan: Plan) -> None:
    """Show what is removed, and what is kept and why."""
    if plan.removals:
        _table("to remove", ["what", "name", "about", "to remake"], list(_removals(plan.removals)))
    if plan.kept:
        _table("kept", ["what", "name", "size", "because"], list(_kept(plan.kept)))
    if not plan.removals:
        console.say("nothing to prune")


def show_pruned(pruned: Pruned) -> None:
    """Show what was done."""
    for one, trouble in pruned.stayed:
        console.say(f"not removed: {one.kind} {_short(one.name)}: {trouble}")
    count = len(pruned.removed)
    freed = human_bytes(max(0, pruned.freed_bytes))
    console.say(f"Removed {count} {'item' if count == 1 else 'items'}, freed {freed}")


def show_usage(usage: Usage) -> None:
    """Draw what each kind of resource takes, and each stage in the store."""
    most = max((row.bytes for row in usage.rows), default=0)
    rows = [
        [row.name, str(row.count), human_bytes(row.bytes), _bar(row.bytes, most),
         human_bytes(row.free_bytes) if row.free_bytes else "", _seconds(row.seconds)]
        for row in usage.rows
    ]  # fmt: skip
    _table("on the disk", ["what", "count", "size", "", "can be freed", "to remake"], rows)
    if usage.stages:
        most = max(stage.bytes for stage in usage.stages)
        rows = [
            [stage.name, str(stage.count), human_bytes(stage.bytes), _bar(stage.bytes, most),
             f"{stage.days[0]:.0f} to {stage.days[1]:.0f} days", _seconds(stage.seconds)]
            for stage in usage.stages
        ]  # fmt: skip
        _table("in the store", ["stage", "count", "size", "", "last used", "to remake"], rows)
    console.say(f"this project: {human_bytes(usage.bytes)}")
    console.say(f"everything else in the engine, never touched: {human_bytes(usage.others_bytes)}")


def show_steps(steps: Sequence[Step]) -> None:
    """Show what a reset removes."""
    if not steps:
        console.say("nothing to reset")
        return
    rows = [
        [step.name, str(step.count), human_bytes(step.bytes), _short(", ".join(step.names))] for step in steps
    ]
    _table("to remove", ["what", "count", "size", "names"], rows)
    console.say("kept: backups, exported volumes, compiled components, the engine, and what inv runs with")


def _removals(found: Iterable[Resource]) -> Iterable[list[str]]:
    many: dict[str, list[Resource]] = defaultdict(list)
    for one in found:
        if label := _in_hundreds(one):
            many[label].append(one)
        else:
            name = f"{_short(one.name)}, which is in {one.backup}" if one.backup else _short(one.name)
            yield [one.kind, name, human_bytes(one.bytes), _seconds(one.seconds)]
    for label, group in many.items():
        yield [group[0].kind, f"{len(group)} {label}", human_bytes(sum(one.bytes for one in group)), ""]


def _in_hundreds(one: Resource) -> str:
    """Return what a resource is one of, where there are too many for a line each."""
    if one.kind == "cache" and not one.name.startswith("cache mount "):
        return "steps of images"
    return "packages" if one.kind == "store" and one.name.startswith("package ") else ""


def _kept(kept: Iterable[tuple[Resource, str]]) -> Iterable[list[str]]:
    by_reason: dict[tuple[str, str], list[Resource]] = defaultdict(list)
    for one, reason in kept:
        by_reason[one.kind, reason].append(one)
    for (kind, reason), group in by_reason.items():
        if len(group) > FEW or _in_hundreds(group[0]):
            yield [kind, f"{len(group)} of them", human_bytes(sum(one.bytes for one in group)), reason]
        else:
            yield from ([kind, _short(one.name), human_bytes(one.bytes), reason] for one in group)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not console.is_plain():
        from rich.markup import escape  # noqa: PLC0415  (heavy: only where a table is drawn)

        rows = [[escape(cell) for cell in row] for row in rows]
    console.table(title, columns, rows)


def _bar(part: int, most: int) -> str:
    longest = BARS[shutil.get_terminal_size().columns >= WIDE]
    return "█" * round(longest * part / most) if most else ""


def _short(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= NAME else f"{line[: NAME - 1]}…"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


# ---- inv maint.disk


@dataclass(frozen=True)
class Row:
    """One kind of resource. Sizes in bytes; ``seconds`` is what all of it took to make, None if unknown."""

    name: str
    count: int
    bytes: int
    free_bytes: int = 0
    """What the verb ``how`` can free."""
    seconds: float | None = None
    how: str = ""


@dataclass(frozen=True)
class Stage:
    """What the store has of one stage. ``days`` since the last use: of the newest, and of the oldest."""

    name: str
    count: int
    bytes: int
    days: tuple[float, float]
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """All of it. ``others_bytes`` is what the engine has besides."""

    rows: tuple[Row, ...]
    stages: tuple[Stage, ...]
    others_bytes: int

    @property
    def bytes(self) -> int:
        """What this clone takes."""
        return sum(row.bytes for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the fields of --json."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "store": [asdict(stage) for stage in self.stages],
            "bytes": self.bytes,
            "free_bytes": sum(row.free_bytes for row in self.rows),
            "others_bytes": self.others_bytes,
        }


def usage(context: Context) -> Usage:
    """Look at the engine, the store, and this clone's folders; raises EngineUnavailable or HostUnfit."""
    clone, inventory = context.clone(), context.inventory()
    planned = prune.plan(context, EVERYTHING, inventory)
    freeable = {one.id for one in planned.removals}
    found: dict[str, list[Resource]] = defaultdict(list)
    for one in (*planned.removals, *(one for one, _ in planned.kept)):
        found["cache mount" if one.name.startswith("cache mount ") else one.kind].append(one)
    in_store = sum(
        one.bytes for one in found["store"]
    )  # it lies in a volume: what is in no entry is left to that
    found["cache volume"] = [
        replace(one, bytes=max(0, one.bytes - in_store)) if one.id == context.settings.store_volume else one
        for one in found["cache volume"]
    ]
    rows = [_row(kind, found[kind], freeable) for kind in NAMES if found[kind] and kind not in OUTSIDE]
    size = context.union_bytes([one.id for one in ownership.owned(inventory, clone).images])
    rows = [_row_of_images(row, size, clone) if row.name in REBUILT else row for row in rows]
    return Usage(
        rows=(*rows, *(row for row in _folders(context, found["iso"]) if row.count)),
        stages=tuple(_stages(found["store"], context.now())),
        others_bytes=max(0, _engine_bytes(inventory) - sum(row.bytes for row in rows)),
    )


def _row(kind: str, found: Sequence[Resource], freeable: set[str]) -> Row:
    freed = sum(one.bytes for one in found if one.id in freeable)
    seconds = _total(one.seconds for one in found)
    how = "inv maint.prune --all"
    return Row(NAMES[kind], len(found), sum(one.bytes for one in found), freed, seconds, how)


def _row_of_images(row: Row, size: int, clone: Clone) -> Row:
    """Count layers that images share once, and the longest that the ledger remembers for each kind of image."""
    kinds = {made.tag.partition(":")[0] for made in clone.ledger.images.values()}
    row = replace(row, seconds=_total(clone.ledger.seconds_of(kind) or None for kind in kinds))
    return replace(row, bytes=size, free_bytes=min(size, row.free_bytes)) if row.name == REBUILT[0] else row


def _total(seconds: Iterable[float | None]) -> float | None:
    known = [one for one in seconds if one is not None]
    return round(sum(known), 1) if known else None


def _engine_bytes(inventory: Inventory) -> int:
    used, aliases = inventory.usage, {one.name for one in inventory.volumes if device_of(one)}
    volumes = sum(size for name, size in used.volumes.items() if name not in aliases)
    records = sum(one.bytes for one in used.records if not one.shared)
    return used.layers + sum(used.containers.values()) + volumes + records


def _stages(entries: Iterable[Resource], now: float) -> Iterator[Stage]:
    by_name: dict[str, list[Resource]] = defaultdict(list)
    for entry in entries:
        by_name[entry.name.partition(" ")[0]].append(entry)
    for name, found in sorted(by_name.items(), key=lambda one: -sum(entry.bytes for entry in one[1])):
        ages = sorted(round((now - entry.used) / DAY, 2) for entry in found)
        size = sum(entry.bytes for entry in found)
        yield Stage(name, len(found), size, (ages[0], ages[-1]), found[0].seconds)


def _folders(context: Context, isos: Sequence[Resource]) -> Iterator[Row]:
    """Return what lies in this clone's own folders."""
    took = {profile: sum(stages.values()) for profile, stages in build_seconds(context.settings).items()}
    size = sum(one.bytes for one in isos)
    yield Row("ISOs", len(isos), size, 0, _total(took.get(one.group) for one in isos), "inv maint.prune")
    for name, folder, how in (
        ("logs", "logs", "inv maint.logs"),
        ("backups of services", "backups", ""),
        ("exported volumes", "volumes", ""),
    ):
        paths = [path for path in (context.settings.state_dir / folder).rglob("*") if not path.is_symlink()]
        sizes = [path.stat().st_blocks * 512 for path in paths if path.is_file()]
        yield Row(name, len(sizes), sum(sizes), how=how)
