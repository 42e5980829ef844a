"""The verbs of `inv maint.*`. Each parses, calls one function, and prints."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from synos_tasks import console
from synos_tasks.cli import Command, afterwards, verb
from synos_tasks.maint import engine_tasks, keeping_tasks

if TYPE_CHECKING:
    from synos_tasks.maint.prune import Planned, Pruned
    from synos_tasks.maint.session import Session

JSON = "one JSON object on standard output"
MOST_DIGITS = 6
"""Of a number that somebody types: Python refuses to read tens of thousands of them."""


@verb("maint.disk", help={"json": JSON})
def disk(command: Command) -> None:
    """Show what this project takes on the disk, what of it can be freed, and what that would cost to have again."""
    from synos_tasks.maint import usage, view  # noqa: PLC0415

    found = usage.usage(session_of(command))
    if command.json:
        command.result(found.to_json())
        return
    view.show_usage(found)


@verb(
    "maint.prune",
    help={
        "older-than": "only what was not used for so long: 30m, 12h, 2w (default: 14d; with --all 0m)",
        "keep-last": "newest images of each kind that stay (default: images_keep of invoke.yaml; with --all 1)",
        "cache": "BuildKit's cache of our images' steps, with our cache mounts",
        "store": "stages and packages that builds of ISOs keep",
        "volumes": "volumes with data, where a fresh backup has what they hold",
        "all": "whatever can be made again, however new; never data, what is in use, the newest image or others'",
        "yes": "do not ask",
        "json": JSON,
    },
)
def prune(
    command: Command,
    older_than: str = "",
    keep_last: str = "",
    cache: bool = False,
    store: bool = False,
    volumes: bool = False,
    all: bool = False,  # noqa: A002
    yes: bool = False,
) -> None:
    """Remove what this project no longer needs, after showing it; other projects' things never."""
    from synos_tasks.maint import prune as pruning  # noqa: PLC0415
    from synos_tasks.maint import view  # noqa: PLC0415
    from synos_tasks.maint.asking import confirm  # noqa: PLC0415
    from synos_tasks.maint.plan import Limits  # noqa: PLC0415
    from synos_tasks.maint.retention import seconds_of  # noqa: PLC0415

    limits = Limits(
        older_than=seconds_of(older_than or ("0m" if all else "14d")),
        young=command.settings.maint.young_minutes * 60,
        keep_last=_number("keep-last", keep_last) if keep_last else _newest(command, everything=all),
        cache=cache,
        store=store,
        volumes=volumes,
        everything=all,
    )
    session = session_of(command)
    planned = pruning.plan(session, limits)
    view.show_plan(planned.plan)
    if command.dry or not planned.plan.gone:
        command.result(_told(planned, None))
        return
    if not yes:
        confirm(f"Remove these {len(planned.plan.gone)}?", nothing="nothing was removed")
    pruned = pruning.carry_out(session, planned)
    view.show_pruned(pruned)
    command.result(_told(planned, pruned))


@verb(
    "maint.reset",
    help={
        "keep-isos": "leave the output folder as it is",
        "without-backup": "give up data of volumes that is in no fresh backup",
        "yes": "do not ask",
        "json": JSON,
    },
)
def reset(
    command: Command,
    keep_isos: bool = False,
    without_backup: bool = False,
    yes: bool = False,
) -> None:
    """Make this clone as it was when it was new: containers, volumes, images, caches, ISOs and state go; backups stay."""
    from synos_tasks.maint import reset as resetting  # noqa: PLC0415
    from synos_tasks.maint import view  # noqa: PLC0415
    from synos_tasks.maint.asking import confirm  # noqa: PLC0415

    session = session_of(command)
    plan = resetting.plan(session, keep_isos=keep_isos, without_backup=without_backup)
    steps = [asdict(step) for step in plan.steps]
    view.show_steps(plan.steps)
    if command.dry or not plan.steps:
        command.result({"steps": steps, "done": []})
        return
    if not yes:
        confirm("Do all of this?", nothing="nothing was removed")
    done = []
    for line in resetting.carry_out(session, plan):
        console.say(line)
        done.append(line)
    command.result({"steps": steps, "done": done})


@verb(
    "maint.logs",
    help={
        "days": "delete logs older than this, 0: none (default: synos.maint.logs_days in invoke.yaml)",
        "list": "list the logs, delete none",
        "json": JSON,
    },
)
def logs(command: Command, days: str = "", list: bool = False) -> None:  # noqa: A002
    """Delete old logs of .synos/logs."""
    from synos_tasks.maint import retention  # noqa: PLC0415

    limit = _number("days", days) if days else command.settings.maint.logs_days
    every = retention.logs(command.settings)
    if list:
        rows = [[log.path.name, console.human_bytes(log.bytes)] for log in every]
        console.table("logs, oldest first", ["name", "size"], rows)
        logs = [{"name": log.path.name, "bytes": log.bytes, "written": log.used} for log in every]
        command.result({"logs": logs})
        return
    old = retention.old_logs(command.settings, limit, time.time())
    if not command.dry:
        retention.delete_logs(old)
    before, freed = sum(log.bytes for log in every), sum(log.bytes for log in old)
    told = "Would remove" if command.dry else "Removed"
    console.say(
        f"{told} {len(old)} of {len(every)} logs, {console.human_bytes(freed)} of {console.human_bytes(before)}"
    )
    names = [log.path.name for log in old]
    command.result({"removed": names, "before_bytes": before, "after_bytes": before - freed})


@afterwards("cleanup after the build")
def clean_after_build(command: Command) -> None:
    """Remove what exceeds the limits in invoke.yaml."""
    from synos_tasks.maint import policy  # noqa: PLC0415

    applied = policy.apply_all(session_of(command))
    for line in applied.lines:
        console.say(line)
    if not applied.in_time and command.settings.maint.budget_seconds:
        console.say("budget_seconds are up: the rest of what is to go goes after the next build")


def _number(option: str, text: str) -> int:
    """Read a number that somebody typed; raises SettingsError."""
    from synos_tasks.errors import SettingsError  # noqa: PLC0415

    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise SettingsError(
            f"--{option} {text} is not a number", hint=f"a whole number of at most {MOST_DIGITS} digits"
        )
    return int(text)


def _newest(command: Command, *, everything: bool) -> int:
    """Give how many images of each kind stay where nobody says: in the settings, 0 keeps all."""
    import sys  # noqa: PLC0415

    return 1 if everything else command.settings.maint.images_keep or sys.maxsize


def _told(planned: Planned, pruned: Pruned | None) -> dict[str, Any]:
    plan = planned.plan
    told = {
        "planned": [asdict(thing) for thing in plan.gone],
        "planned_bytes": plan.bytes,
        "kept": [{**asdict(thing), "reason": reason} for thing, reason in plan.kept],
    }
    if pruned is None:
        return {**told, "removed": [], "stayed": [], "freed_bytes": 0}
    return {
        **told,
        "removed": [asdict(thing) for thing in pruned.removed],
        "stayed": [{**asdict(thing), "reason": reason} for thing, reason in pruned.stayed],
        "freed_bytes": pruned.freed_bytes,
    }


def session_of(command: Command) -> Session:
    """Give what a command works with."""
    from synos_tasks.maint.session import Session  # noqa: PLC0415

    return Session(settings=command.settings, say=console.say)


namespace = Collection("maint", disk, prune, reset, logs, *keeping_tasks.VERBS, *engine_tasks.VERBS)
