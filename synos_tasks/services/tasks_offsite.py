"""What the verbs of `inv services.*` do with off-site copies of backups."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from synos_tasks import console

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.cli import Command
    from synos_tasks.services.stack import StackContext


def copy(context: StackContext, path: Path, *, last: int, weekly: int) -> dict[str, Any]:
    """Copy a backup off-site, and remove copies that expired; return the fields of the JSON object."""
    from synos_tasks.services import offsite

    added = offsite.push(context, path)
    if last or weekly:
        offsite.forget(context, last=last, weekly=weekly)
    repository = offsite.shown(context)
    console.say(f"off-site: {console.human_bytes(added)} new in {repository}")
    return {"repository": repository, "new_bytes": added}


def show(command: Command, context: StackContext, *, check: bool, max_age: float) -> None:
    """List off-site copies; with ``check`` fail where restic finds damage, or the newest is too old or missing."""
    from synos_tasks.services import offsite, schedule

    found, repository = offsite.listing(context), offsite.shown(context)
    rows = [[one.name, one.created, console.human_bytes(one.bytes), one.id[:8]] for one in found]
    command.table(f"backups in {repository}", ["name", "taken", "size", "snapshot"], rows)
    fields: dict[str, Any] = {"repository": repository, "backups": [vars(one) for one in found]}
    if check:
        problems = offsite.check(context, found, max_age, time.time())
        fields["problems"] = [vars(one) for one in problems]
        if problems:
            command.fail(schedule.error(repository, problems), **fields)
        console.say(f"{len(found)} copies; restic finds no damage")
    command.result(fields)
