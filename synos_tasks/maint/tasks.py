"""The verbs of `inv maint.*`. Each parses, calls one function, and prints."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection

from synos_tasks import console
from synos_tasks.cli import Command, age, number, seconds_of, verb
from synos_tasks.errors import SynosError, WrongUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.maint.resources import Context
    from synos_tasks.maint.volumes import Listed


@verb("maint.disk")
def disk(command: Command) -> None:
    """Show what this project takes on the disk, what of it can be freed, and what it would cost to make again."""
    from synos_tasks.maint import view

    usage = view.usage(context_of(command))
    if not command.json:
        view.show_usage(command, usage)
    command.result(asdict(usage))


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
    },
    types={"older-than": age, "keep-last": number},
    example="--all --older-than 2w",
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
    """Show what this project no longer needs, ask, and remove it. Never touches other projects' resources."""
    from synos_tasks.maint import prune as pruning
    from synos_tasks.maint import view

    kept = command.settings.maint
    newest = 1 if all else kept.images_keep or sys.maxsize
    limits = pruning.Limits(
        older_than=seconds_of(older_than or ("0m" if all else "14d")),
        young=kept.young_minutes * 60,
        keep_last=int(keep_last) if keep_last else newest,
        keep_isos=kept.isos_keep,
        cache=cache,
        store=store,
        volumes=volumes,
        include_rebuildable=all,
    )
    context = context_of(command)
    plan = pruning.plan(context, limits)
    view.show_plan(command, plan)
    pruned = pruning.Pruned()
    if plan.removals and not command.dry:
        console.confirm(f"Remove these {len(plan.removals)}?", yes=yes)
        pruned = pruning.carry_out(context, plan)
        view.show_pruned(pruned)
    command.result(view.plan_json(plan, pruned))


@verb(
    "maint.reset",
    help={
        "keep-isos": "leave the output folder as it is",
        "without-backup": "give up data of volumes that is in no fresh backup",
        "yes": "do not ask",
    },
)
def reset(command: Command, keep_isos: bool = False, without_backup: bool = False, yes: bool = False) -> None:
    """Remove everything that this clone made: containers, volumes, images, caches, ISOs and state. Keeps backups."""
    from synos_tasks.maint import prune as pruning
    from synos_tasks.maint import view

    context = context_of(command)
    plan = pruning.plan_reset(context, keep_isos=keep_isos, without_backup=without_backup)
    view.show_plan(command, plan)
    done = list[str]()
    if plan.removals and not command.dry:
        console.say(
            "backups, exported volumes, compiled components, base images, the engine and what inv runs with stay"
        )
        for path in sorted(context.settings.project.state_dir.glob("services/*/secrets/offsite_password")):
            console.warn(f"off-site copies of backups open with {path} alone, which goes: copy it first")
        console.confirm("Do all of this?", yes=yes)
        done = view.reset_lines(pruning.carry_out(context, plan))
        for line in done:
            console.say(line)
    command.result({"steps": view.steps(plan.removals), "done": done})


@verb(
    "maint.logs",
    help={
        "days": "delete logs older than this, 0: none (default: synos.maint.logs_days in invoke.yaml)",
    },
    types={"days": number},
)
def logs(command: Command, days: str = "") -> None:
    """Delete old logs of .synos/logs."""
    from synos_tasks.maint import retention

    limit = int(days) if days else command.settings.maint.logs_days
    every = retention.logs(command.settings)
    old = retention.old_logs(command.settings, limit, time.time())
    if not command.dry:
        retention.remove(context_of(command), old)
    before, freed = sum(log.bytes for log in every), sum(log.bytes for log in old)
    done = "Would remove" if command.dry else "Removed"
    sizes = f"{console.human_bytes(freed)} of {console.human_bytes(before)}"
    console.say(f"{done} {len(old)} of {len(every)} logs, {sizes}")
    names = [log.name for log in old]
    command.result({"removed": names, "before_bytes": before, "after_bytes": before - freed})


@verb("maint.update-base")
def update_base(command: Command) -> None:
    """Take newer base images, build all images on them without cache, and show which packages changed."""
    from synos_tasks.images import building

    command.result(building.update_base(context_of(command), dry=command.dry))


@verb(
    "maint.volumes",
    help={
        "inspect": "show all about one volume",
        "export": "write a volume into an archive FILE, and its manifest into FILE.json",
        "import_": "make a new volume of such an archive",
        "clone": "make a new volume with what this one holds",
        "to": "--export: the file (default: .synos/volumes/NAME-TIME.tar.zst); --clone: the new volume",
        "name": "--import: the new volume (default: as the one that was exported)",
    },
    example="--export postgres --to postgres.tar.zst",
)
def volumes(
    command: Command,
    inspect: str = "",
    export: str = "",
    import_: str = "",
    clone: str = "",
    to: str = "",
    name: str = "",
) -> None:
    """List the volumes of this project; look into one, copy it, write it into a file, make one of a file.

    The project's id in front of a volume's name may be left out.
    """
    every = {"inspect": inspect, "export": export, "import": import_, "clone": clone}
    chosen = {option: value for option, value in every.items() if value}
    if len(chosen) > 1:
        what = " and ".join(f"--{option}" for option in chosen)
        raise WrongUse(f"{what} cannot be combined", hint="give one at a time")
    action, given = next(iter(chosen.items()), ("list", ""))
    if to and action not in {"export", "clone"}:
        raise WrongUse("--to is only valid with --export or --clone")
    if name and action != "import":
        raise WrongUse("--name is only valid with --import")
    if action == "clone" and not to:
        raise WrongUse("--clone needs a name for the new volume", hint="--clone NAME --to NEW")
    _act(command, action, given, to or name)


@verb("cleanup", json=False)
def clean_after_build(command: Command) -> None:
    """Remove what exceeds the limits in invoke.yaml. The build is done: an error here is only a warning."""
    from synos_tasks.maint import retention

    if command.dry:
        return
    try:
        lines, in_time = retention.apply_all(context_of(command))
        for line in lines:
            console.say(line)
        if not in_time and command.settings.maint.budget_seconds:
            console.say("synos.maint.budget_seconds is used up: the next build continues the cleanup")
    except KeyboardInterrupt:
        console.say("the cleanup was interrupted; the build is done")
    except SynosError as error:
        console.warn(": ".join(filter(None, ["cleanup after the build", error.what, error.why])))
    except Exception as error:  # noqa: BLE001  (a bug here must not fail what is done)
        console.warn(f"cleanup after the build: {type(error).__name__}: {error}")


def context_of(command: Command) -> Context:
    """Return what a command works with."""
    from synos_tasks.maint.resources import Context

    return Context(settings=command.settings, say=console.say, would=command.would)


def _act(command: Command, action: str, given: str, to: str) -> None:
    """Do one action on volumes; ``to`` is the name of the new file or volume."""
    from synos_tasks.maint import volumes as copying

    context = context_of(command)
    match action:
        case "list":
            found = copying.listing(context)
            sizes = [one.bytes for one in found if one.bytes is not None]
            total = sum(sizes) if len(sizes) == len(found) else None
            _show(command, f"volumes of {command.settings.project.id}: {_size(total)}", found)
            command.result({"bytes": total, "volumes": [asdict(each) for each in found]})
        case "inspect":
            one = copying.inspect(context, given)
            _show(command, f"volume {one.volume.name}", [one.volume])
            command.show(f"{one.files} files in {one.folders} folders, newest change: {one.changed}")
            command.show(f"exports: {', '.join(one.exports) or 'none'}")
            command.show(f"backups: {', '.join(one.backups) or 'none'}")
            for line in one.damaged:
                command.show(f"damaged, not counted: {line}")
            command.result(asdict(one))
        case "export":
            file, done = copying.export(context, given, Path(to).resolve() if to else None)
            console.say(f"{done.facts['files']} files, {console.human_bytes(done.bytes)} in {file}")
            about = {"file": str(file), "volume": done.name, "created": done.created, "bytes": done.bytes}
            command.result({**about, **done.facts, "sha256": done.files[0].sha256})
        case "import":
            _made(command, *copying.load(context, Path(given).resolve(), to))
        case "clone":
            _made(command, *copying.clone(context, given, to))


def _made(command: Command, volume: str, files: int) -> None:
    console.say(f"volume {volume}: {files} files")
    command.result({"volume": volume, "files": files})


def _show(command: Command, title: str, found: Sequence[Listed]) -> None:
    rows = []
    for one in found:
        note = "unfinished: the next import or clone removes it" if one.unfinished else ""
        rows.append(
            [one.short, one.role, _size(one.bytes), one.created, ", ".join(one.users) or "nobody", note]
        )
    command.table(title, ["name", "role", "size", "made", "used by", ""], rows)


def _size(count: int | None) -> str:
    return "not known" if count is None else console.human_bytes(count)


namespace = Collection("maint", disk, prune, reset, logs, update_base, volumes)
