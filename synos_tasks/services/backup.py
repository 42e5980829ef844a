"""`inv services.backup` and `restore`: save what every service holds into files with checksums, and load it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks import archive
from synos_tasks.errors import BackupDamaged, ServiceFailed, SettingsError, SynosError
from synos_tasks.services import mending, starting
from synos_tasks.services.keepers import KEEPERS
from synos_tasks.services.session import alone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.services.session import Session
    from synos_tasks.services.view import View


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restore did: the backup, and the name of the one that was taken of what was there before, '' for none."""

    backup: Path
    facts: Mapping[str, Any]
    before: str


def folder_of(session: Session) -> Path:
    """Return where the backups of a stack are."""
    return session.settings.state_dir / "backups" / session.stack.name


def backup(session: Session, name: str = "", *, before: str = "") -> Path:
    """Save every service that keeps data; return the backup's folder.

    Each service is consistent by itself, as of one moment; they are saved one after the other. Without a ``name`` the
    backup is named for the time, and for what it is taken ``before``. Raises SettingsError, ServiceFailed where a
    service does not run, DiskFull; then there is no backup of that name.
    """
    with alone(session):
        return _backup(session, name, before)


def _backup(session: Session, name: str, before: str) -> Path:
    folder = folder_of(session)
    name = archive.check_name(name or archive.unused_name(folder, f"before-{before}-" if before else ""))
    services = _stateful(session)
    for service in services:
        session.container(service)
    mending.mend(session, services)
    facts = {service: KEEPERS[service].facts(session) for service in services}
    with archive.create(folder, name, facts) as draft:
        for service in services:
            session.say(f"saving {service}: {describe(service, facts[service])}")
            KEEPERS[service].save(session, draft.below(service), facts[service])
    return folder / name


def restore(
    session: Session,
    name: str,
    timeout: float,
    view: Callable[[], View],
    *,
    agreed: Callable[[str], bool],
    safety: bool = True,
) -> Restored:
    """Load a backup into the services. ``name`` is below folder_of(), or a path.

    A damaged backup, or one that does not fit, is refused before anything is touched. Where the services hold
    data, ``agreed`` is asked, and a backup is taken first if ``safety``. A ``view`` draws while services start, and at
    no other time: it would draw over the question. Raises BackupDamaged, SettingsError, ServiceFailed, ServiceUnhealthy.
    """
    source = archive.find(folder_of(session), name)
    session.say(f"checking {source}")
    manifest = archive.verify(source)
    services = _services_in(session, source, manifest)
    _up(session, timeout, view)
    with alone(session):
        mending.mend(session, services)
        replaced = _replaced(session, services, manifest.facts)
        if replaced and not agreed(f"{replaced}. Replace it with backup {manifest.name}?"):
            raise SettingsError("nothing was restored: you did not agree", hint="--yes agrees")
        before = _backup(session, "", "restore").name if replaced and safety else ""
        with mending.marked(session, f"the restore of {source} was interrupted; {_way_back(before)}"):
            _load(session, source, services, manifest.facts, before)
    try:
        _up(session, timeout, view)
    except SynosError as error:
        hint = f"{error.hint}; all was restored: {_way_back(before)}"
        raise type(error)(error.what, where=error.where, why=error.why, hint=hint) from error
    return Restored(backup=source, facts=manifest.facts, before=before)


def describe(service: str, facts: Mapping[str, Any]) -> str:
    """Return in a few words what a service holds."""
    return KEEPERS[service].told(facts)


def _up(session: Session, timeout: float, view: Callable[[], View]) -> None:
    with view() as shown:
        starting.up(session, session.stack.running, timeout, shown.show)


def _replaced(session: Session, services: Sequence[str], saved: Mapping[str, Any]) -> str:
    """Return what a restore would replace, '' for nothing. Raise SettingsError where ``saved`` does not fit."""
    now = {service: KEEPERS[service].facts(session) for service in services}
    for service in services:
        KEEPERS[service].refuse(now[service], saved[service])
    full = [service for service in services if not KEEPERS[service].is_empty(now[service])]
    return "; ".join(f"{service} holds {describe(service, now[service])}" for service in full)


def _stateful(session: Session) -> list[str]:
    services = [service.name for service in session.stack.running if service.name in KEEPERS]
    if not services:
        raise SettingsError(f"stack {session.stack.name} has no service that keeps data")
    return services


def _services_in(session: Session, source: Path, manifest: archive.Manifest) -> list[str]:
    services = _stateful(session)
    if strange := [service for service in manifest.facts if service not in services]:
        raise SettingsError(
            f"stack {session.stack.name} has no service {', '.join(strange)}, of which the backup is",
            where=str(source),
            hint=f"it has: {', '.join(services)}",
        )
    saved = {file.path.split("/")[0] for file in manifest.files}
    if lacking := [service for service in manifest.facts if service not in saved]:
        raise BackupDamaged("a backup has no files of a service", where=str(source), why=", ".join(lacking))
    return [service for service in services if service in manifest.facts]


def _load(
    session: Session, source: Path, services: Sequence[str], facts: Mapping[str, Any], before: str
) -> None:
    done: list[str] = []
    for service in services:
        session.say(f"restoring {service}: {describe(service, facts[service])}")
        restored = ", ".join(done) or "none"
        try:
            KEEPERS[service].load(session, source / service)
        except SynosError as error:
            raise ServiceFailed(
                f"{service} could not be restored",
                where=error.where,
                why=error.why or error.what,
                hint=f"restored before: {restored}; {_way_back(before)}",
            ) from error
        except KeyboardInterrupt:
            session.say(f"restored: {restored}, and maybe {service}; {_way_back(before)}")
            raise
        done.append(service)


def _way_back(before: str) -> str:
    return f"`inv services.restore {before}` puts all back as it was" if before else "run it again"
