"""Fresh backups: which volumes may go because what they hold is elsewhere too."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

from synos_tasks import archive
from synos_tasks.engine.labels import LABEL_COMPOSE_PROJECT
from synos_tasks.errors import BackupDamaged, SettingsError
from synos_tasks.maint import exports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synos_tasks.engine.client import Volume
    from synos_tasks.settings import Settings

LABEL_COMPOSE_VOLUME = "com.docker.compose.volume"
SPOOL = "-spool"
"""In the name of a volume in which a service lays things down for a moment."""


def fresh_backups(settings: Settings, volumes: Iterable[Volume], now: float) -> dict[str, str]:
    """Give a fresh backup or export of each volume that has one, by its name.

    It is read to its end and its checksums are right; ``now`` in seconds since 1970. What was written since
    it was taken is not in it: how long ago that is, is told with the name.
    """
    found = {}
    checked: dict[str, archive.Manifest | None] = {}
    for volume in volumes:
        stack = (volume.labels or {}).get(LABEL_COMPOSE_PROJECT, "").removeprefix(f"{settings.project_id}-")
        kept = (volume.labels or {}).get(LABEL_COMPOSE_VOLUME, "")
        if stack and stack not in checked:
            checked[stack] = _backup_of(settings, stack, now)
        backup = checked.get(stack)
        has_it = backup and (kept in backup.facts or kept.endswith(SPOOL))
        if (
            backup and has_it and _taken(backup.created) >= volume.created_at.timestamp()
        ):  # or it was of one that is gone
            found[volume.name] = _told("backup", backup.name, now - _taken(backup.created))
        elif export := _export_of(settings, volume, now):
            found[volume.name] = export
    return found


def _told(what: str, name: str, age: float) -> str:
    """Say what has it, and how old that is: what was written since is not in it."""
    return f"{what} {name} of {age / 3600:.1f} hours ago"


def _export_of(settings: Settings, volume: Volume, now: float) -> str:
    """Give the name of a volume's newest export that is fresh, where it is whole."""
    path = exports.fresh_export(settings, volume.name, settings.maint.backup_hours, now)
    if path is None:
        return ""
    try:
        record = exports.read(path)
        exports.verify(path, record)
    except (BackupDamaged, SettingsError):
        return ""
    return (
        _told("export", path.name, now - record.time) if record.time >= volume.created_at.timestamp() else ""
    )


def _backup_of(settings: Settings, stack: str, now: float) -> archive.Manifest | None:
    """Give the newest backup of a stack that is fresh and whole."""
    folder = settings.state_dir / "backups" / stack
    for one in archive.listing(folder):
        if one.trouble or not one.created:
            continue
        if not 0 <= now - _taken(one.created) <= settings.maint.backup_hours * 3600:
            continue
        try:
            return replace(
                archive.verify(folder / one.name), name=one.name
            )  # its folder may have been renamed
        except BackupDamaged:
            continue
    return None


def _taken(created: str) -> float:
    return dt.datetime.strptime(created, archive.CREATED).replace(tzinfo=dt.UTC).timestamp()
