"""`inv services.heal`: damaged data of one service is named, repaired, or replaced by a backup; the others run on."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synos_tasks import archive
from synos_tasks.errors import ServiceFailed, ServiceUnhealthy, SettingsError, SynosError
from synos_tasks.services import adapters, backup, damage, health, lifecycle
from synos_tasks.services.adapters import ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synos_tasks.services.damage import Damage
    from synos_tasks.services.stack import Service, StackContext

LATEST = "latest"
QUESTION = "Repair the data of {}? What cannot be read is cut out of it; a copy of all stays in its volume."
QUESTIONS = {
    "postgres": "Begin the write-ahead log of postgres again (pg_resetwal)? It then starts, but the last transactions may be "
    "there in part, and its tables may contradict each other: restore a backup if there is one. A copy of all stays in its volume."
}
PARTS = re.compile("/pg_wal/|/PG_VERSION |belongs to uid|has mode")
"""What can be repaired of PostgreSQL."""


@dataclass(frozen=True, kw_only=True)
class Healed:
    """What was done to one service. ``before`` and ``after``: what it holds; '' where that is not known."""

    service: str
    done: str
    damage: list[str] = field(default_factory=list)
    kept: str = ""
    """Where the data from before is."""
    lost: list[str] = field(default_factory=list)
    before: str = ""
    after: str = ""


def heal(
    context: StackContext,
    services: Sequence[Service],
    confirm: Callable[[str], object],
    *,
    repair: bool = False,
) -> list[Healed]:
    """Recreate the containers of unhealthy services whose data is whole, and ``repair`` data that is not.

    Raises ServiceUnhealthy where data is damaged and stays so, and as lifecycle.up() does.
    """
    with context.locked():
        found = damage.find(context, services)
        damaged = damage.services_of(found)
        names = [one.name for one in services if one.name not in damaged]
        sick = health.failing(context.compose.containers(), names)
        if sick:
            lifecycle.start_again(context, sick, recreate=True)
        if found and not repair:
            raise ServiceUnhealthy(
                f"the data of {', '.join(damaged)} is damaged",
                where=context.compose.project,
                why="\n".join(map(str, found)),
                hint=damage.hint(found),
            )
        return [
            *(Healed(service=name, done="recreated") for name in sick),
            *(_repair(context, context.stack[name], found, confirm) for name in damaged),
        ]


def _repair(
    context: StackContext, service: Service, every: Sequence[Damage], confirm: Callable[[str], object]
) -> Healed:
    name = service.name
    found = [one for one in every if one.service == name]
    lines = [str(one) for one in found]

    def refused(where: str, *why: str) -> ServiceFailed:
        hint = f"inv services.heal --only {name} --from-backup {LATEST}"
        what = f"the data of {name} cannot be repaired"
        return ServiceFailed(what, where=where, why="\n".join([*lines, *why]), hint=hint)

    if name == "postgres" and not all(map(PARTS.search, lines)):
        raise refused(context.compose.project, "PostgreSQL cannot repair a table, an index or pg_control")
    confirm("\n".join([*lines, QUESTIONS.get(name, QUESTION.format(name))]))
    ready = health.step_of(context.compose.containers().get(name)) in health.READY
    running, before = ready and name not in damage.REPAIRS, _holds(context, name)
    if not running:
        context.compose.stop(name)
    kept = damage.keep(context, service, move=False)
    try:
        lost = damage.repair(context, service, found, running=running)
    except ServiceFailed as error:
        if ready and not running:
            with suppress(SynosError):  # it did run, and what failed first is what counts
                lifecycle.start_again(context, [name])
        raise refused(kept, error.why) from error
    if not running:
        lifecycle.start_again(context, [name])
    if left := damage.find(context, [service]):
        raise refused(kept, "after the repair there is still:", *map(str, left))
    after = _holds(context, name)
    return Healed(
        service=name, done="repaired", damage=lines, kept=kept, lost=lost, before=before, after=after
    )


def from_backup(
    context: StackContext, service: Service, name: str, confirm: Callable[[str], object]
) -> Healed:
    """Restore one service from a backup. What it holds now is moved aside, and stays in its volume.

    Raises BackupDamaged or SettingsError before anything is touched; ServiceFailed, DiskFull.
    """
    one = service.name
    if name == LATEST:
        name = next((it.name for it in backup.listing(context) if one in it.facts and not it.trouble), LATEST)
    with backup.verified(context, name) as (source, copy, manifest), context.locked():
        if one not in manifest.facts or one not in ADAPTERS:
            hint = "inv services.backups shows what each holds"
            raise SettingsError(f"backup {manifest.name} does not hold {one}", where=str(source), hint=hint)
        holds = adapters.summary(one, manifest.facts[one])
        confirm(f"Replace all that {one} holds by {holds}, as of {manifest.created}?")
        before = _holds(context, one)
        context.compose.stop(one)
        kept = damage.keep(context, service, move=True)
        context.say(f"{one}: what was there is in {kept}")
        lifecycle.start_again(context, [one])
        context.say(f"restoring {one}: {holds}")
        failed = ADAPTERS[one].load(context, copy / one, manifest.facts[one])
        lifecycle.start_again(context, [one])
    lost = [f"what changed since {manifest.created}", *archive.lost(manifest.facts[one]), *failed]
    return Healed(
        service=one,
        done=f"restored from {manifest.name}",
        kept=kept,
        lost=lost,
        before=before,
        after=_holds(context, one),
    )


def _holds(context: StackContext, service: str) -> str:
    """Return what a service holds; '' where it does not run, or does not say."""
    try:
        return adapters.summary(service, ADAPTERS[service].facts(context))
    except (SynosError, KeyError):
        return ""
