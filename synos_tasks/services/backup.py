"""What every service holds: saved into files with checksums, loaded back, and removed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from synos_tasks import archive
from synos_tasks.engine.failures import version_tuple
from synos_tasks.errors import ServiceFailed, ServiceUnhealthy, SettingsError, SynosError
from synos_tasks.iso.scratch import write_whole
from synos_tasks.services import adapters, lifecycle
from synos_tasks.services.adapters import ADAPTERS
from synos_tasks.services.selection import NOT_CHOSEN, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.services.stack import Service, StackContext

ALL = Selection()


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restore did. ``before`` is the name of the backup that was taken of what was there; '' for none.

    ``failed`` has a line for each part that could not be restored, and is as it was.
    """

    backup: Path
    facts: Mapping[str, Any]
    before: str
    failed: list[str]


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """What `down` did. ``volumes``: names of those that were removed; ``backup``: its path, '' for none."""

    containers: int
    volumes: list[str]
    backup: str


def folder_of(context: StackContext) -> Path:
    """Return where the backups of a stack are."""
    return context.settings.project.state_dir / "backups" / context.stack.name


def backup(context: StackContext, name: str = "", *, before: str = "", selection: Selection = ALL) -> Path:
    """Save every chosen service that keeps data; return the backup's folder.

    Each service is consistent by itself, as of one moment; they are saved one after the other. Without a ``name`` the
    backup is named for the time, and for what it is taken ``before``. The manifest names what could not be saved. Raises
    SettingsError, ServiceFailed where a service does not run, DiskFull; then there is no backup of that name.
    """
    with context.locked():
        return _backup(context, name, before, selection)


def _backup(context: StackContext, name: str, before: str, selection: Selection) -> Path:
    folder = folder_of(context)
    name = archive.check_name(name or archive.unused_name(folder, f"before-{before}-" if before else ""))
    services = selection.services(stateful(context))
    for service in services:
        try:
            context.running(service)
        except ServiceFailed as error:
            error.hint = f"{error.hint}; --skip {service} goes on without it"
            raise
    adapters.recover(context, services)
    facts = {service: selection.narrowed(service, ADAPTERS[service].facts(context)) for service in services}
    with archive.create(folder, name, facts) as draft:
        for service in services:
            context.say(f"saving {service}: {adapters.summary(service, facts[service])}")
            facts[service] = ADAPTERS[service].save(context, draft.below(service), facts[service])
    return folder / name


def incomplete(facts: Mapping[str, Any], replaced: Container[str] | None = None) -> ServiceFailed | None:
    """Return the error for a backup that lacks data that was chosen; None where it lacks none.

    With ``replaced``, only what is in that counts.
    """
    lacks = [
        f"{service}: {one['what']}: {one['why']}"
        for service, held in facts.items()
        for one in archive.lacks(held)
        if one["why"] != NOT_CHOSEN and (replaced is None or one["what"] in replaced)
    ]
    if not lacks:
        return None
    hint = "correct that and take another; --skip SERVICE/DATABASE gives one up"
    return ServiceFailed("the backup is incomplete", why="\n".join(lacks), hint=hint)


def listing(context: StackContext) -> list[archive.Summary]:
    """Return the backups of a stack, newest first, with what is wrong with each. Only small files are read."""
    folder = folder_of(context)
    return [
        one if one.trouble else replace(one, trouble=adapters.trouble(folder / one.name, one.facts))
        for one in archive.listing(folder, adapters.FACTS)
    ]


def verify(path: Path, copy: Path | None = None) -> archive.Manifest:
    """Read all of a backup, into a folder ``copy`` where that is given; raise BackupDamaged."""
    manifest = archive.verify(path, adapters.FACTS, copy)
    if trouble := adapters.trouble(copy or path, manifest.facts):
        raise archive.damaged(path, trouble)
    return manifest


@contextmanager
def verified(context: StackContext, name: str) -> Iterator[tuple[Path, Path, archive.Manifest]]:
    """Yield the path of a backup, a private copy, and its manifest; the copy is what was verified.

    Raises SettingsError, BackupDamaged, DiskFull.
    """
    folder = folder_of(context)
    source = archive.find(folder, name)
    context.say(f"checking {source}")
    with archive.unfinished(folder) as copy:
        with archive.disk_errors(folder, "a copy of the backup"):
            manifest = verify(source, copy)
        yield source, copy, manifest


def restore(
    context: StackContext,
    name: str,
    *,
    confirm: Callable[[str], object],
    safety: bool = True,
    selection: Selection = ALL,
) -> Restored:
    """Load what is chosen of a backup into the services. ``name`` is below folder_of(), or a path.

    A damaged backup, or one that does not fit, is refused before anything is touched. Unless this makes the stack,
    ``confirm`` is called, and a backup is taken first if ``safety``: no count tells that a service holds nothing. Raises
    BackupDamaged, SettingsError, ServiceFailed, ServiceUnhealthy, DiskFull.
    """
    with verified(context, name) as (source, copy, manifest):
        services = selection.services(_services_in(context, manifest))
        facts = {service: selection.narrowed(service, manifest.facts[service]) for service in services}
        made = not _volumes(context, context.stack.services)
        named = [context.stack[one] for one in services] if selection != ALL else context.stack.long_running
        _start(context, named, safety=safety)
        with context.locked():
            adapters.recover(context, services)
            held = _held(context, services, facts)
            if not made:
                confirm(f"{held}. Replace it with backup {manifest.name}?")
            replaced = {f"database {name}" for one in facts.values() for name in one.get("databases", ())}
            before = "" if made or not safety else _safe(context, "restore", services, replaced=replaced)
            way_back = (
                f"`inv services.restore {before}` puts all back as it was" if before else "run it again"
            )
            mark = context.folder / adapters.MARK
            write_whole(mark, f"the restore of {source} was interrupted; {way_back}\n", 0o600)
            failed = _load(context, copy, facts, way_back)
            mark.unlink(missing_ok=True)
    try:
        lifecycle.up(context, named)
    except SynosError as error:
        error.hint = f"{error.hint}; all was restored: {way_back}"
        raise
    return Restored(backup=source, facts=facts, before=before, failed=failed)


def _start(context: StackContext, services: Sequence[Service], *, safety: bool) -> None:
    """Start services. Without ``safety`` one that does not get healthy is no obstacle: its data is to be replaced."""
    try:
        lifecycle.up(context, services)
    except ServiceUnhealthy as error:
        if safety:
            error.hint = f"{error.hint}; --no-backup restores without a backup of what cannot be read"
            raise
        context.say(f"{error.what}; restoring all the same")


def _safe(
    context: StackContext,
    before: str,
    services: Sequence[str],
    *,
    skip: frozenset[str] = frozenset(),
    replaced: Container[str] | None = None,
) -> str:
    """Take a backup of what is about to be replaced or removed, and return its name.

    Raises ServiceFailed where it lacks some of that.
    """
    path = _backup(context, "", before, Selection(frozenset(services), skip))
    if error := incomplete(archive.manifest_of(path).facts, replaced):
        what, hint = f"nothing was touched: {error.what}", f"{error.hint}; --no-backup gives all up"
        raise ServiceFailed(what, where=str(path), why=error.why, hint=hint)
    return path.name


def down(
    context: StackContext,
    *,
    volumes: bool,
    confirm: Callable[[str], object],
    safety: bool = True,
    selection: Selection = ALL,
) -> Stopped:
    """Remove containers and networks; with ``volumes`` the data too, after ``confirm``, and a backup if ``safety``.

    With a selection: containers and data of the chosen services alone; a database that it skips is in no backup.
    Raises what ``confirm`` raises, ServiceFailed when no whole backup could be taken: then nothing is removed.
    """
    chosen = chosen_services(context, selection)
    there = _volumes(context, chosen) if volumes else []
    if there:
        confirm(f"Remove {', '.join(there)}, with all data in them?")
    with context.locked():
        saved = _backup_before_down(context, chosen, selection.skip) if there and safety else ""
        containers = context.compose.containers()
        if selection.among_services:
            context.compose.run("rm", "--stop", "--force", *(service.name for service in chosen))
            for one in there:
                context.docker.remove_volume(one)
        else:
            context.compose.down(volumes=bool(there))
    left = _volumes(context, chosen) if there else []
    count = sum(service.name in containers for service in chosen)
    return Stopped(containers=count, volumes=[one for one in there if one not in left], backup=saved)


def chosen_services(context: StackContext, selection: Selection) -> Sequence[Service]:
    """Return the services that down() removes: the chosen ones; all, and the tools, where at most parts are chosen."""
    names = selection.services([service.name for service in context.stack.long_running])
    return [context.stack[one] for one in names] if selection.among_services else context.stack.services


def _backup_before_down(context: StackContext, chosen: Sequence[Service], skip: frozenset[str]) -> str:
    services = [one.name for one in chosen if one.name in ADAPTERS]
    unknown = [one.name for one in chosen if one.volumes and not one.tool and one.name not in ADAPTERS]
    try:
        if unknown:
            why = "no adapter in synos_tasks/services/adapters saves it"
            raise ServiceFailed(f"{', '.join(unknown)} cannot be backed up", why=why)
        return str(folder_of(context) / _safe(context, "down", services, skip=skip))
    except SynosError as error:
        raise ServiceFailed(
            "no whole backup could be taken, so nothing was removed",
            where=error.where,
            why=error.why or error.what,
            hint="start what is not running (inv services.up); --skip leaves a service as it is, and gives up a"
            " SERVICE/DATABASE; --no-backup gives all up",
        ) from error


def _volumes(context: StackContext, services: Sequence[Service]) -> list[str]:
    named = (name for service in services for name in service.volumes.values())
    return [name for name in dict.fromkeys(named) if context.docker.volume(name)]


def _held(context: StackContext, services: Sequence[str], saved: Mapping[str, Any]) -> str:
    """Return what services hold, in counts. Raise SettingsError where ``saved`` is of a newer version."""
    said = []
    for service in services:
        try:
            now = ADAPTERS[service].facts(context)
        except ServiceFailed as error:
            said.append(f"{service} cannot be read ({error.what})")
            continue
        parts = ADAPTERS[service].VERSION_PARTS
        has, needs = str(now["version"]), str(saved[service]["version"])
        if version_tuple(needs)[:parts] > version_tuple(has)[:parts]:
            raise SettingsError(
                f"the backup is of {service} {needs}, which {has} may not be able to read",
                hint="restore it into a stack with that version, or a newer one",
            )
        said.append(f"{service} holds {adapters.summary(service, now)}")
    return "; ".join(said)


def keeps_data(context: StackContext) -> bool:
    """Tell whether there is anything in a stack to back up."""
    return any(service.name in ADAPTERS for service in context.stack.long_running)


def stateful(context: StackContext) -> list[str]:
    """Return the services that keep data; raise SettingsError where none does."""
    if not keeps_data(context):
        what = f"stack {context.stack.name} has no service that keeps data"
        raise SettingsError(what, hint="there is nothing to back up or to restore")
    return [service.name for service in context.stack.long_running if service.name in ADAPTERS]


def _services_in(context: StackContext, manifest: archive.Manifest) -> list[str]:
    services = stateful(context)
    if strange := [service for service in manifest.facts if service not in services]:
        raise SettingsError(
            f"stack {context.stack.name} has no service {', '.join(strange)}, of which the backup is",
            hint=f"it has: {', '.join(services)}",
        )
    return [service for service in services if service in manifest.facts]


def _load(context: StackContext, source: Path, facts: Mapping[str, Any], way_back: str) -> list[str]:
    failed, services = [], list(facts)
    for number, service in enumerate(services):
        context.say(f"restoring {service}: {adapters.summary(service, facts[service])}")
        before_it = ", ".join(services[:number]) or "none"
        try:
            failed += ADAPTERS[service].load(context, source / service, facts[service])
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
    return failed
