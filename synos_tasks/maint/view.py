"""Tables of `inv maint.*`; what comes in hundreds shares a line."""

from __future__ import annotations

import shutil
from collections import defaultdict
from typing import TYPE_CHECKING

from synos_tasks import console
from synos_tasks.console import human_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from synos_tasks.maint.disk import Usage
    from synos_tasks.maint.prune import Plan, Pruned
    from synos_tasks.maint.reset import Step
    from synos_tasks.maint.resources import Resource

BARS = (10, 30)
"""Characters of the longest bar: in a terminal of 80 columns, and in a wide one."""
WIDE = 100
NAME = 60
"""Characters of a name that are shown."""
FEW = 3
"""Of one kind, kept for one reason: more share a line."""


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
        yield [group[0].kind, f"{len(group)} {label}", human_bytes(_total(group)), ""]


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
            yield [kind, f"{len(group)} of them", human_bytes(_total(group)), reason]
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


def _total(group: Iterable[Resource]) -> int:
    return sum(one.bytes for one in group)
