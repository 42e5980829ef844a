"""Scheduled backups: how many are kept, and whether what there is would bring everything back."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks import archive
from synos_tasks.console import human_seconds
from synos_tasks.errors import BackupDamaged, writing
from synos_tasks.iso.scratch import scratch
from synos_tasks.services import backup
from synos_tasks.services.adapters import ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.archive import Summary
    from synos_tasks.services.stack import StackContext

_TIMED = re.compile(r"[0-9]{8}T[0-9]{6}(-[0-9]+)?", re.ASCII)
"""Names by archive.unused_name(). Other backups were named by a person, or taken before a restore or a down."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why backups would not bring everything back. ``kind``: missing, old, incomplete or damaged."""

    kind: str
    what: str
    """A service, or a backup that is damaged."""
    why: str


def expired(found: Sequence[Summary], *, last: int, weekly: int) -> list[Summary]:
    """Return the backups that are neither among the newest ``last`` nor the newest of one of the last ``weekly`` weeks.

    Weeks (ISO, in UTC) without a backup do not count. Backups are compared with those that hold the same, so that those of
    one service do not displace whole ones. Only undamaged ones that are named for their time expire.
    ``found`` is newest first.
    """
    groups: dict[object, list[Summary]] = {}
    for one in found:
        if _TIMED.fullmatch(one.name) and not one.trouble:
            lacks = (
                (service, lack["what"]) for service in one.facts for lack in archive.lacks(one.facts[service])
            )
            groups.setdefault((frozenset(one.facts), frozenset(lacks)), []).append(one)
    gone: list[Summary] = []
    for group in groups.values():
        weeks = {_week(one): one.name for one in reversed(group)}  # the newest of a week is the last of it
        kept = {one.name for one in group[:last]} | {
            weeks[week] for week in sorted(weeks)[-weekly:] if weekly
        }
        gone += [one for one in group if one.name not in kept]
    return gone


def retain(context: StackContext, taken: Path, *, last: int, weekly: int) -> list[Summary]:
    """Remove backups that expired, after ``taken`` was verified; return these.

    Damaged ones stay, and are named. Raises OutputNotWritable.
    """
    folder, found = taken.parent, backup.listing(context)
    for one in found:
        if one.trouble:
            context.say(f"warning: backup {one.name} is damaged, and is not removed: {one.trouble}")
    gone = [one for one in expired(found, last=last, weekly=weekly) if one.name != taken.name]
    # moved first: half of a backup must not be taken for one
    with writing("an old backup cannot be removed", folder), scratch(folder, archive.PARTIAL) as trash:
        for one in gone:
            (folder / one.name).rename(trash / one.name)
    return gone


def problems(context: StackContext, max_age: float, now: float) -> list[Problem]:
    """Read all backups of a stack, and return what is wrong: with each of them, and for each service with its newest.

    ``max_age`` and ``now`` in seconds.
    """
    found: list[Problem] = []
    whole: list[Summary] = []
    for one in backup.listing(context):
        try:
            backup.verify(backup.folder_of(context) / one.name)
            whole.append(one)
        except BackupDamaged as error:
            found.append(Problem(kind="damaged", what=one.name, why=error.why))
    for service in (one.name for one in context.stack.long_running if one.name in ADAPTERS):
        newest = next((one for one in whole if service in one.facts), None)
        if newest is None:
            found.append(Problem(kind="missing", what=service, why="no undamaged backup holds it"))
            continue
        age = now - archive.seconds(newest.created)
        if not 0 <= age <= max_age:  # the age of one from the future is unknown
            when = f"{human_seconds(age)} ago" if age > 0 else f"in the future: {newest.created}"
            why = f"its newest backup, {newest.name}, was taken {when}"
            found.append(Problem(kind="old", what=service, why=why))
        found += [
            Problem(kind="incomplete", what=service, why=f"{newest.name} lacks {one['what']}: {one['why']}")
            for one in archive.lacks(newest.facts[service])
        ]
    return found


def error(folder: object, found: Sequence[Problem]) -> BackupDamaged:
    """Return the error for problems."""
    kinds = ", ".join(dict.fromkeys(one.kind for one in found))
    return BackupDamaged(
        f"backups would not bring everything back ({kinds})",
        where=str(folder),
        why="\n".join(f"{one.what}: {one.why}" for one in found),
        hint="`inv services.backup` takes one; remove a damaged one by hand",
    )


def _week(one: Summary) -> tuple[int, int]:
    year, week, _ = dt.datetime.fromtimestamp(archive.seconds(one.created), dt.UTC).isocalendar()
    return year, week
