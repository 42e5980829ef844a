"""What a person sees of `inv maint.*`: tables, with a line for what comes in hundreds."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from synos_tasks import console

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from synos_tasks.maint.plan import Plan
    from synos_tasks.maint.prune import Pruned
    from synos_tasks.maint.reset import Step
    from synos_tasks.maint.things import Thing
    from synos_tasks.maint.usage import Usage

BARS = (10, 30)
"""Characters of the longest bar: in a terminal of 80 columns, and in a wide one."""
WIDE = 100
NAME = 60
"""Characters of a name that are shown."""
FEW = 3
"""Of one kind, with one reason to stay: more share a line."""


def show_plan(plan: Plan) -> None:
    """Show what goes, and what stays and why."""
    if plan.gone:
        _table("goes", ["what", "name", "about", "to remake"], list(_gone(plan.gone)))
    if plan.kept:
        _table("stays", ["what", "name", "size", "because"], list(_kept(plan.kept)))
    if not plan.gone:
        console.say("nothing to do: nothing of this project is to go")


def show_pruned(pruned: Pruned) -> None:
    """Tell what was done."""
    for thing, trouble in pruned.stayed:
        console.say(f"stays after all: {thing.kind} {_short(thing.name)}: {trouble}")
    freed = console.human_bytes(max(0, pruned.freed_bytes))
    console.say(f"removed {len(pruned.removed)}; the disk has {freed} more that are free")


def show_usage(usage: Usage) -> None:
    """Draw what each kind of thing takes, and each stage in the store."""
    most = max((row.bytes for row in usage.rows), default=0)
    rows = [
        [
            row.name,
            str(row.count),
            console.human_bytes(row.bytes),
            _bar(row.bytes, most),
            console.human_bytes(row.free_bytes) if row.free_bytes else "",
            _seconds(row.seconds),
        ]
        for row in usage.rows
    ]
    _table("on the disk", ["what", "count", "size", "", "can go", "to remake"], rows)
    if usage.stages:
        most = max(stage.bytes for stage in usage.stages)
        rows = [
            [
                stage.name,
                str(stage.count),
                console.human_bytes(stage.bytes),
                _bar(stage.bytes, most),
                f"{stage.days[0]:.0f} to {stage.days[1]:.0f} days",
                _seconds(stage.seconds),
            ]
            for stage in usage.stages
        ]
        _table("in the store", ["stage", "count", "size", "", "last used", "to remake"], rows)
    console.say(f"this project: {console.human_bytes(usage.bytes)}")
    console.say(
        f"the rest of what the engine has, which is never touched: {console.human_bytes(usage.others_bytes)}"
    )


def show_steps(steps: Sequence[Step]) -> None:
    """Show what a reset takes."""
    rows = [
        [step.name, str(step.count), console.human_bytes(step.bytes), _short(", ".join(step.names))]
        for step in steps
    ]
    if rows:
        _table("goes", ["what", "count", "size", "names"], rows)
        console.say(
            "stays: backups, exported volumes, archived ISOs, compiled components, the engine, and what inv runs with"
        )
    else:
        console.say("nothing to do: this clone is as it was when it was new")


def _gone(things: Iterable[Thing]) -> Iterable[list[str]]:
    many: dict[str, list[Thing]] = {}
    for thing in things:
        if label := _in_hundreds(thing):
            many.setdefault(label, []).append(thing)
        else:
            name = f"{_short(thing.name)}, which is in {thing.backup}" if thing.backup else _short(thing.name)
            yield [thing.kind, name, console.human_bytes(thing.bytes), _seconds(thing.seconds)]
    for label, found in many.items():
        yield [found[0].kind, f"{len(found)} {label}", console.human_bytes(_total(found)), ""]


def _in_hundreds(thing: Thing) -> str:
    """Say what a thing is one of, where there are too many for a line each."""
    if thing.kind == "cache" and not thing.name.startswith("cache mount "):
        return "steps of images"
    return "packages" if thing.kind == "store" and thing.name.startswith("package ") else ""


def _kept(kept: Iterable[tuple[Thing, str]]) -> Iterable[list[str]]:
    by_reason: dict[tuple[str, str], list[Thing]] = {}
    for thing, reason in kept:
        by_reason.setdefault((thing.kind, reason), []).append(thing)
    for (kind, reason), found in by_reason.items():
        if len(found) > FEW or _in_hundreds(found[0]):
            yield [kind, f"{len(found)} of them", console.human_bytes(_total(found)), reason]
        else:
            yield from ([kind, _short(one.name), console.human_bytes(one.bytes), reason] for one in found)


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


def _total(things: Iterable[Thing]) -> int:
    return sum(thing.bytes for thing in things)
