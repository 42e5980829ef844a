"""`inv services.down`: containers away, and with --volumes the data, after a backup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.errors import ServiceFailed, SettingsError, SynosError
from synos_tasks.services.backup import backup
from synos_tasks.services.session import alone

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.services.session import Session


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """What `down` did. Names of volumes that are gone; path of the backup of what they held, '' for none."""

    containers: int
    volumes: list[str]
    backup: str


def down(session: Session) -> Stopped:
    """Remove containers and networks; volumes, secrets and backups stay. Raises ServiceFailed."""
    with alone(session):
        count = len(session.compose.containers())
        session.compose.run("down")
        return Stopped(containers=count, volumes=[], backup="")


def down_with_volumes(session: Session, *, agreed: Callable[[str], bool], safety: bool = True) -> Stopped:
    """Remove the data too, when it was agreed to, and a backup was taken unless not ``safety``.

    Raises SettingsError when it was not, ServiceFailed when no backup could be taken: then nothing is removed.
    """
    volumes = [
        name
        for service in session.stack.services
        for name in service.volumes
        if session.engine.volume_exists(name)
    ]
    question = f"Remove {', '.join(volumes) or 'no volume'}, with all data in them?"
    if volumes and not agreed(question):
        raise SettingsError(
            "nothing was removed: it was not agreed to", hint="--yes agrees; without --volumes data is kept"
        )
    saved = _safety(session) if safety and volumes else ""
    with alone(session):
        count = len(session.compose.containers())
        session.compose.run("down", "--volumes")
    gone = [name for name in volumes if not session.engine.volume_exists(name)]
    return Stopped(containers=count, volumes=gone, backup=saved)


def _safety(session: Session) -> str:
    try:
        return str(backup(session, before="down"))
    except SynosError as error:
        raise ServiceFailed(
            "no backup could be taken, so nothing was removed",
            where=error.where,
            why=error.why or error.what,
            hint="start what is not running (inv services.up), or remove without a backup: --no-backup",
        ) from error
