"""What every service holds: saved into files with checksums, loaded back, and removed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from synos_tasks import archive
from synos_tasks.engine.failures import version_tuple
from synos_tasks.errors import ServiceFailed, SettingsError, SynosError
from synos_tasks.iso.scratch import write_whole
from synos_tasks.services import adapters, lifecycle
from synos_tasks.services.adapters import ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.services.stack import StackContext


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restore did. ``before`` is the name of the backup that was taken of what was there; '' for none."""

    backup: Path
    facts: Mapping[str, Any]
    before: str


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """What `down` did. ``volumes``: names of those that were removed; ``backup``: its path, '' for none."""

    containers: int
    volumes: list[str]
    backup: str


def folder_of(context: StackContext) -> Path:
    """Return where the backups of a stack are."""
    return context.settings.project.state_dir / "backups" / context.stack.name


def backup(context: StackContext, name: str = "", *, before: str = "") -> Path:
    """Save every service that keeps data; return the backup's folder.

    Each service is consistent by itself, as of one moment; they are saved one after the other. Without a ``name`` the
    backup is named for the time, and for what it is taken ``before``. Raises SettingsError, ServiceFailed where a
    service does not run, DiskFull; then there is no backup of that name.
    """
    with context.locked():
        return _backup(context, name, before)


def _backup(context: StackContext, name: str, before: str) -> Path:
    folder = folder_of(context)
    name = archive.check_name(name or archive.unused_name(folder, f"before-{before}-" if before else ""))
    services = _stateful(context)
    for service in services:
        context.running(service)
    adapters.recover(context, services)
    facts = {service: ADAPTERS[service].facts(context) for service in services}
    with archive.create(folder, name, facts) as draft:
        for service in services:
            context.say(f"saving {service}: {adapters.summary(service, facts[service])}")
            ADAPTERS[service].save(context, draft.below(service), facts[service])
    return folder / name


def listing(context: StackContext) -> list[archive.Summary]:
    """Return the backups of a stack, newest first, and what is wrong with each as far as small files tell."""
    folder = folder_of(context)
    return [
        one if one.trouble else replace(one, trouble=adapters.trouble(folder / one.name, one.facts))
        for one in archive.listing(folder, adapters.FACTS)
    ]


def restore(
    context: StackContext, name: str, *, confirm: Callable[[str], object], safety: bool = True
) -> Restored:
    """Load a backup into the services. ``name`` is below folder_of(), or a path.

    A damaged backup, or one that does not fit, is refused before anything is touched. Unless this makes the stack,
    ``confirm`` is called, and a backup is taken first if ``safety``: no count tells that a service holds nothing. Raises
    BackupDamaged, SettingsError, ServiceFailed, ServiceUnhealthy, DiskFull.
    """
    source = archive.find(folder_of(context), name)
    context.say(f"checking {source}")
    with archive.verified_copy(source, folder_of(context), adapters.FACTS) as (copy, manifest):
        if trouble := adapters.trouble(copy, manifest.facts):
            raise archive.damaged(source, trouble)
        services = _services_in(context, manifest)
        made = not _volumes(context)
        lifecycle.up(context, context.stack.long_running)
        with context.locked():
            adapters.recover(context, services)
            held = _held(context, services, manifest.facts)
            if not made:
                confirm(f"{held}. Replace all of it with backup {manifest.name}?")
            before = "" if made or not safety else _backup(context, "", "restore").name
            way_back = (
                f"`inv services.restore {before}` puts all back as it was" if before else "run it again"
            )
            mark = context.folder / adapters.MARK
            write_whole(mark, f"the restore of {source} was interrupted; {way_back}\n", 0o600)
            _load(context, copy, services, manifest.facts, way_back)
            mark.unlink(missing_ok=True)
    try:
        lifecycle.up(context, context.stack.long_running)
    except SynosError as error:
        error.hint = f"{error.hint}; all was restored: {way_back}"
        raise
    return Restored(backup=source, facts=manifest.facts, before=before)


def down(
    context: StackContext, *, volumes: bool, confirm: Callable[[str], object], safety: bool = True
) -> Stopped:
    """Remove containers and networks; with ``volumes`` the data too, after ``confirm``, and a backup if ``safety``.

    Raises what ``confirm`` raises, ServiceFailed when no backup could be taken: then nothing is removed.
    """
    there, saved = _volumes(context) if volumes else [], ""
    if there:
        confirm(f"Remove {', '.join(there)}, with all data in them?")
    if there and safety:
        try:
            saved = str(backup(context, before="down"))
        except SynosError as error:
            raise ServiceFailed(
                "no backup could be taken, so nothing was removed",
                where=error.where,
                why=error.why or error.what,
                hint="start what is not running (inv services.up), or remove without a backup: --no-backup",
            ) from error
    with context.locked():
        count = len(context.compose.containers())
        context.compose.down(volumes=bool(there))
    left = _volumes(context) if there else []
    return Stopped(containers=count, volumes=[one for one in there if one not in left], backup=saved)


def _volumes(context: StackContext) -> list[str]:
    named = (name for service in context.stack.services for name in service.volumes.values())
    return [name for name in dict.fromkeys(named) if context.docker.volume(name)]


def _held(context: StackContext, services: Sequence[str], saved: Mapping[str, Any]) -> str:
    """Return what services hold, as far as that is counted. Raise SettingsError where a newer version ``saved``."""
    now = {service: ADAPTERS[service].facts(context) for service in services}
    for service in services:
        parts = ADAPTERS[service].VERSION_PARTS
        has, needs = str(now[service]["version"]), str(saved[service]["version"])
        if version_tuple(needs)[:parts] > version_tuple(has)[:parts]:
            raise SettingsError(
                f"the backup is of {service} {needs}, which {has} may not be able to read",
                hint="restore it into a stack with that version, or a newer one",
            )
    return "; ".join(f"{service} holds {adapters.summary(service, now[service])}" for service in services)


def _stateful(context: StackContext) -> list[str]:
    services = [service.name for service in context.stack.long_running if service.name in ADAPTERS]
    if not services:
        raise SettingsError(f"stack {context.stack.name} has no service that keeps data")
    return services


def _services_in(context: StackContext, manifest: archive.Manifest) -> list[str]:
    services = _stateful(context)
    if strange := [service for service in manifest.facts if service not in services]:
        raise SettingsError(
            f"stack {context.stack.name} has no service {', '.join(strange)}, of which the backup is",
            hint=f"it has: {', '.join(services)}",
        )
    return [service for service in services if service in manifest.facts]


def _load(
    context: StackContext, source: Path, services: Sequence[str], facts: Mapping[str, Any], way_back: str
) -> None:
    for number, service in enumerate(services):
        context.say(f"restoring {service}: {adapters.summary(service, facts[service])}")
        before_it = ", ".join(services[:number]) or "none"
        try:
            ADAPTERS[service].load(context, source / service)
        except SynosError as error:
            raise ServiceFailed(
                f"{service} could not be restored",
                where=error.where,
                why=error.why or error.what,
                hint=f"restored before: {before_it}; {way_back}",
            ) from error
        except KeyboardInterrupt:
            context.say(f"restored: {before_it}, and maybe {service}; {way_back}")
            raise
