"""The verbs of `inv maint.*`. Each parses, calls one function, and prints."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from synos_tasks import console
from synos_tasks.cli import Command, afterwards, verb
from synos_tasks.errors import SettingsError
from synos_tasks.maint import volume_tasks

if TYPE_CHECKING:
    from synos_tasks.maint.prune import Plan, Pruned
    from synos_tasks.maint.resources import Context

JSON = "one JSON object on standard output"
MOST_DIGITS = 6
"""Of a number that somebody types: Python refuses to read tens of thousands of them."""


@verb("maint.disk", help={"json": JSON})
def disk(command: Command) -> None:
    """Show what this project takes on the disk, what of it can be freed, and what it would cost to make again."""
    from synos_tasks.maint import view  # noqa: PLC0415

    usage = view.usage(context_of(command))
    if command.json:
        command.result(usage.to_json())
        return
    view.show_usage(usage)


@verb(
    "maint.prune",
    help={
        "older-than": "only what was not used for so long: 30m, 12h, 2w (default: 14d; with --all 0m)",
        "keep-last": "newest images of each kind to keep (default: images_keep of invoke.yaml; with --all 1)",
        "cache": "also BuildKit's cache of our images' steps, with our cache mounts",
        "store": "also stages and packages that builds of ISOs keep",
        "volumes": "also volumes with data, where a fresh backup has it",
        "all": "everything that can be rebuilt, even if new. Never data, what is in use, the newest image, or other projects' things",
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
    """Show what this project no longer needs, ask, and remove it. Never touches other projects' things."""
    from synos_tasks.maint import prune as pruning  # noqa: PLC0415
    from synos_tasks.maint import view  # noqa: PLC0415
    from synos_tasks.maint.retention import seconds_of  # noqa: PLC0415

    kept = command.settings.maint
    newest = 1 if all else kept.images_keep or sys.maxsize
    limits = pruning.Limits(
        older_than=seconds_of(older_than or ("0m" if all else "14d")),
        young=kept.young_minutes * 60,
        keep_last=_number("keep-last", keep_last) if keep_last else newest,
        keep_isos=kept.isos_keep,
        cache=cache,
        store=store,
        volumes=volumes,
        include_rebuildable=all,
    )
    context = context_of(command)
    plan = pruning.plan(context, limits)
    view.show_plan(plan)
    if command.dry or not plan.removals:
        command.result(_fields(plan, None))
        return
    if not yes:
        _confirm(f"Remove these {len(plan.removals)}?")
    pruned = pruning.carry_out(context, plan)
    view.show_pruned(pruned)
    command.result(_fields(plan, pruned))


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
    """Remove everything that this clone made: containers, volumes, images, caches, ISOs and state. Keeps backups."""
    from synos_tasks.maint import reset as resetting  # noqa: PLC0415
    from synos_tasks.maint import view  # noqa: PLC0415

    context = context_of(command)
    plan = resetting.plan(context, keep_isos=keep_isos, without_backup=without_backup)
    steps = [asdict(step) for step in plan.steps]
    view.show_steps(plan.steps)
    if command.dry or not plan.steps:
        command.result({"steps": steps, "done": []})
        return
    if not yes:
        _confirm("Do all of this?")
    done = []
    for line in resetting.carry_out(context, plan):
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
        found = [{"name": log.path.name, "bytes": log.bytes, "written": log.used} for log in every]
        command.result({"logs": found})
        return
    old = retention.old_logs(command.settings, limit, time.time())
    if not command.dry:
        retention.delete_logs(old)
    before, freed = sum(log.bytes for log in every), sum(log.bytes for log in old)
    done = "Would remove" if command.dry else "Removed"
    sizes = f"{console.human_bytes(freed)} of {console.human_bytes(before)}"
    console.say(f"{done} {len(old)} of {len(every)} logs, {sizes}")
    names = [log.path.name for log in old]
    command.result({"removed": names, "before_bytes": before, "after_bytes": before - freed})


@verb("maint.update-base", help={"limit": "lines shown of each image; --json has all", "json": JSON})
def update_base(command: Command, limit: int = 20) -> None:
    """Take newer base images, build all images on them without cache, and show which packages changed."""
    from synos_tasks.engine.client import Docker  # noqa: PLC0415
    from synos_tasks.images import update_base as updating  # noqa: PLC0415

    say, dry = console.say, command.dry
    command.result(updating.update_base(command.settings, Docker(), say, limit=limit, dry=dry))


@afterwards("cleanup after the build")
def clean_after_build(command: Command) -> None:
    """Remove what exceeds the limits in invoke.yaml."""
    from synos_tasks.maint import policy  # noqa: PLC0415

    lines, in_time = policy.apply_all(context_of(command))
    for line in lines:
        console.say(line)
    if not in_time and command.settings.maint.budget_seconds:
        console.say("synos.maint.budget_seconds is used up: the next build continues the cleanup")


def context_of(command: Command) -> Context:
    """Return what a command works with."""
    from synos_tasks.maint.resources import Context  # noqa: PLC0415

    return Context(settings=command.settings, say=console.say)


def _confirm(question: str) -> None:
    """Ask a person; raises SettingsError without a terminal, and where the answer is no."""
    if not console.can_ask():
        raise SettingsError(
            "confirmation needed, but this is not a terminal; use --yes",
            why="nothing was removed",
            hint="--yes does not ask; `inv --dry` only shows what would be done",
        )
    if not console.agreed(question):
        raise SettingsError("nothing was removed: the answer was no")


def _number(option: str, text: str) -> int:
    """Read a number that somebody typed; raises SettingsError."""
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise SettingsError(
            f"--{option} {text} is not a number", hint=f"a whole number of at most {MOST_DIGITS} digits"
        )
    return int(text)


def _fields(plan: Plan, pruned: Pruned | None) -> dict[str, Any]:
    return {
        "planned": [one.to_json() for one in plan.removals],
        "planned_bytes": plan.bytes,
        "kept": [{**one.to_json(), "reason": reason} for one, reason in plan.kept],
        "removed": [one.to_json() for one in pruned.removed] if pruned else [],
        "stayed": [{**one.to_json(), "reason": reason} for one, reason in pruned.stayed] if pruned else [],
        "freed_bytes": pruned.freed_bytes if pruned else 0,
    }


namespace = Collection("maint", disk, prune, reset, logs, update_base, *volume_tasks.VERBS)
