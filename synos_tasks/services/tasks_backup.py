"""Verbs of `inv services.*` for backups: taken, listed, checked, restored."""

from __future__ import annotations

import time
from functools import partial

from synos_tasks import console
from synos_tasks.cli import Command, age, seconds_of, verb
from synos_tasks.services.options import CHOICE, STACK, WAITS, YES, open_stack


@verb(
    "services.backup",
    help={
        **STACK,
        **CHOICE,
        "name": "letters, digits, . _ - (default: the time, UTC); one with a name is never removed",
        "keep": "verify it, then remove older ones here but the newest N",
        "keep-weekly": "keep the newest of each of the last N weeks as well",
        "offsite": "copy it to synos.services.offsite_repository of invoke.yaml too, encrypted, by restic",
    },
)
def backup(
    command: Command,
    name: str = "",
    stack: str = "",
    only: str = "",
    skip: str = "",
    keep: int = 0,
    keep_weekly: int = 0,
    offsite: bool = False,
) -> None:
    """Back up what every service holds, with checksums; restore it here or on another machine."""
    from synos_tasks import archive
    from synos_tasks.services import backup as backups
    from synos_tasks.services import offsite as copies
    from synos_tasks.services import schedule
    from synos_tasks.services.selection import Selection

    context = open_stack(command, stack)
    command.would(f"take a backup of stack {context.stack.name} into {backups.folder_of(context)}")
    path = backups.backup(context, name, selection=Selection.parse(only, skip))
    manifest = archive.manifest_of(path)
    console.say(f"{console.human_bytes(manifest.bytes)} in {path}")
    fields = {"name": path.name, "path": str(path), "bytes": manifest.bytes, "holds": manifest.facts}
    incomplete = backups.incomplete(manifest.facts)
    if incomplete:
        keep = keep_weekly = 0  # no older one is removed for it
    if offsite or keep or keep_weekly:
        backups.verify(path)
    copied = None
    if offsite:
        place, added = copies.repository(context), copies.push(context, path)
        console.say(f"off-site: {console.human_bytes(added)} new in {place}")
        copied = {"repository": place, "new_bytes": added}
    gone = schedule.retain(context, path, last=keep, weekly=keep_weekly) if keep or keep_weekly else []
    if gone:
        freed = console.human_bytes(sum(one.bytes for one in gone))
        console.say(f"removed {len(gone)} old, {freed}: {', '.join(one.name for one in gone)}")
    fields |= {"removed": [one.name for one in gone], "offsite": copied}
    if incomplete:
        command.fail(incomplete, **fields)
    console.say(f"restore it: inv services.restore {path.name}")
    command.result(fields)


@verb(
    "services.backups",
    help={
        **STACK,
        "check": "read all here, and fail where one is damaged, or the newest is too old, incomplete or missing",
        "max-age": "with --check: age of the newest that is too old, as 26h or 2d",
        "offsite": "the copies in synos.services.offsite_repository of invoke.yaml",
    },
    types={"max-age": age},
)
def list_backups(
    command: Command, stack: str = "", check: bool = False, max_age: str = "26h", offsite: bool = False
) -> None:
    """List the backups of a stack, newest first, and what each lacks."""
    from synos_tasks import archive
    from synos_tasks.errors import WrongUse
    from synos_tasks.services import backup as backups
    from synos_tasks.services import offsite as copies
    from synos_tasks.services import schedule
    from synos_tasks.services.adapters import summary

    oldest, context = seconds_of(max_age), open_stack(command, stack)
    if offsite:
        if check:
            raise WrongUse("--check reads the backups that are here", hint="`restic check` reads copies")
        place, there = copies.repository(context), copies.listing(context)
        rows = [[one.name, one.created, console.human_bytes(one.bytes), one.id[:8]] for one in there]
        command.table(f"backups in {place}", ["name", "taken", "size", "snapshot"], rows)
        command.result({"repository": place, "backups": [vars(one) for one in there]})
        return
    if check:
        backups.stateful(context)
    folder, found = backups.folder_of(context), backups.listing(context)
    holds = ["; ".join(summary(*service) for service in one.facts.items()) for one in found]
    lacks = ["; ".join(line for held in one.facts.values() for line in archive.lost(held)) for one in found]
    rows = [
        [one.name, one.created, console.human_bytes(one.bytes), one.trouble or text, lack]
        for one, text, lack in zip(found, holds, lacks, strict=True)
    ]
    command.table(f"backups in {folder}", ["name", "taken", "size", "holds", "lacks"], rows)
    fields = {"backups": [one.__dict__ for one in found]}
    if check:
        problems = schedule.problems(context, oldest, time.time())
        fields["problems"] = [vars(one) for one in problems]
        if problems:
            command.fail(schedule.error(folder, problems), **fields)
        console.say(f"{len(found)} backups, undamaged; the newest brings everything back")
    command.result(fields)


@verb(
    "services.restore",
    positional=["name"],
    help={
        **WAITS,
        **CHOICE,
        "name": "one that inv services.backups lists, or the path of one from another machine",
        "no-backup": "without a backup of what is there now",
        "offsite": "fetch it from synos.services.offsite_repository of invoke.yaml first",
        "yes": YES,
    },
)
def restore(
    command: Command,
    name: str,
    stack: str = "",
    only: str = "",
    skip: str = "",
    offsite: bool = False,
    no_backup: bool = False,
    yes: bool = False,
    wait_timeout: int = 0,
) -> None:
    """Restore a backup; a damaged one is refused before anything is touched."""
    from synos_tasks import archive
    from synos_tasks.errors import ServiceFailed
    from synos_tasks.services import backup as backups
    from synos_tasks.services.selection import Selection

    context = open_stack(command, stack, wait_timeout)
    if offsite:
        from synos_tasks.services import offsite as copies

        command.would(f"fetch {name} from {copies.repository(context)} and restore it")
        name = str(copies.fetch(context, name))
        console.say(f"fetched {name}")
    if command.dry:
        source = archive.find(backups.folder_of(context), name)
        command.would(f"restore {source}, taken {backups.verify(source).created}")
    done = backups.restore(
        context,
        name,
        confirm=partial(console.confirm, yes=yes),
        safety=not no_backup,
        selection=Selection.parse(only, skip),
    )
    console.say(f"restored {done.backup}")
    if done.before:
        console.say(f"what was there before: inv services.restore {done.before}")
    fields = {"backup": str(done.backup), "holds": done.facts, "before": done.before, "failed": done.failed}
    if done.failed:
        hint = "the rest is restored; --skip SERVICE/DATABASE leaves one out"
        command.fail(
            ServiceFailed("not all could be restored", why="\n".join(done.failed), hint=hint), **fields
        )
    command.result(fields)
