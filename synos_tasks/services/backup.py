"""`inv services.backup` and `restore`: what every service holds, into files with checksums and back."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks import backups
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
    """What a restore did: the backup, and the one that was taken of what was there before ('' for none)."""

    backup: Path
    facts: Mapping[str, Any]
    before: str


def folder_of(session: Session) -> Path:
    """Where the backups of a stack are."""
    return session.settings.state_dir / "backups" / session.stack.name


def backup(session: Session, name: str = "", *, before: str = "") -> Path:
    """Take a backup of every service that keeps data; gives its folder.

    Without a ``name`` it is named for the time, and for what it is taken ``before``, if for anything.

    Each service is consistent by itself, as of one moment; they are taken one after the other. Raises
    SettingsError, ServiceFailed where one is not running, DiskFull; then there is no backup of that name.
    """
    with alone(session):
        return _backup(session, name, before)


def _backup(session: Session, name: str, before: str) -> Path:
    if not name:
        time = backups.default_name(dt.datetime.now(dt.UTC))
        name = backups.free_name(folder_of(session), f"before-{before}-{time}" if before else time)
    backups.valid_name(name)
    kept = _kept(session)
    for service in kept:
        session.container(service)
    mending.mend(session, kept)
    facts = {service: KEEPERS[service].facts(session) for service in kept}
    folder = folder_of(session)
    with backups.new_backup(folder, name, facts) as working:
        for service in kept:
            session.say(f"saving {service}: {told(service, facts[service])}")
            (working / service).mkdir(mode=0o700)
            KEEPERS[service].save(session, working / service)
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
    """Let the services hold what a backup has. ``name``: below folder_of(), or a path.

    A damaged backup, or one that does not fit, is refused before anything is touched. Where the services hold
    data, ``agreed`` is asked, and a backup is taken first if ``safety``. A ``view`` draws while services start, and at
    no other time: it would draw over the question. Raises BackupDamaged, SettingsError, ServiceFailed, ServiceUnhealthy.
    """
    source = backups.find(folder_of(session), name)
    session.say(f"checking {source}")
    manifest = backups.verify(source)
    services = _services_in(session, source, manifest.facts)
    _up(session, timeout, view)
    with alone(session):
        mending.mend(session, services)
        held = _held(session, services, manifest.facts)
        if held and not agreed(f"{held}. Replace it with backup {manifest.name}?"):
            raise SettingsError("nothing was restored: it was not agreed to", hint="--yes agrees")
        before = _backup(session, "", "restore").name if held and safety else ""
        with mending.marked(session, f"the restore of {source} was interrupted; {_way_back(before)}"):
            _load(session, source, services, manifest.facts, before)
    try:
        _up(session, timeout, view)
    except SynosError as error:
        hint = f"{error.hint}; all was restored: {_way_back(before)}"
        raise type(error)(error.what, where=error.where, why=error.why, hint=hint) from error
    return Restored(backup=source, facts=manifest.facts, before=before)


def _up(session: Session, timeout: float, view: Callable[[], View]) -> None:
    with view() as shown:
        starting.up(session, session.stack.running, timeout, shown.show)


def _held(session: Session, services: Sequence[str], saved: Mapping[str, Any]) -> str:
    """Say what the services hold, '' for nothing. Raises SettingsError where what was ``saved`` does not fit them."""
    now = {service: KEEPERS[service].facts(session) for service in services}
    for service in services:
        KEEPERS[service].refuse(now[service], saved[service])
    full = [service for service in services if not KEEPERS[service].is_empty(now[service])]
    return "; ".join(f"{service} holds {told(service, now[service])}" for service in full)


def told(service: str, facts: Mapping[str, Any]) -> str:
    """Say in a few words what a service holds, of the facts its keeper gave."""
    return KEEPERS[service].told(facts)


def _kept(session: Session) -> list[str]:
    kept = [service.name for service in session.stack.running if service.name in KEEPERS]
    if not kept:
        raise SettingsError(f"stack {session.stack.name} has no service whose data is kept")
    return kept


def _services_in(session: Session, source: Path, facts: Mapping[str, Any]) -> list[str]:
    kept = _kept(session)
    strange = [service for service in facts if service not in kept]
    if strange:
        raise SettingsError(
            f"the backup is of services that stack {session.stack.name} does not have: {', '.join(strange)}",
            where=str(source),
            hint=f"it has: {', '.join(kept)}",
        )
    lacking = [service for service in facts if not (source / service).is_dir()]
    if lacking:
        raise BackupDamaged("a backup has no files of a service", where=str(source), why=", ".join(lacking))
    return [service for service in kept if service in facts]


def _load(
    session: Session, source: Path, services: Sequence[str], facts: Mapping[str, Any], before: str
) -> None:
    done: list[str] = []
    for service in services:
        session.say(f"restoring {service}: {told(service, facts[service])}")
        try:
            KEEPERS[service].load(session, source / service)
        except SynosError as error:
            raise ServiceFailed(
                f"{service} could not be restored",
                where=error.where,
                why=error.why or error.what,
                hint=f"restored before: {', '.join(done) or 'none'}; {_way_back(before)}",
            ) from error
        except KeyboardInterrupt:
            session.say(f"restored: {', '.join(done) or 'none'}, and maybe {service}; {_way_back(before)}")
            raise
        done.append(service)


def _way_back(before: str) -> str:
    return f"`inv services.restore {before}` puts all back as it was" if before else "run it again"
