"""Fresh backups: which volumes may be removed because a backup has what they hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from synos_tasks import archive
from synos_tasks.engine.labels import LABEL_COMPOSE_PROJECT
from synos_tasks.errors import BackupDamaged
from synos_tasks.maint import exports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synos_tasks.engine.client import Volume
    from synos_tasks.settings import Settings

LABEL_COMPOSE_VOLUME = "com.docker.compose.volume"
SPOOL = "-spool"
"""The end of the name of a volume in which a service keeps things for a moment only."""


def fresh_backups(settings: Settings, volumes: Iterable[Volume], now: float) -> dict[str, str]:
    """Return a description of the fresh backup or export of each volume that has one, by the volume's name.

    All of it was read, and its checksums are right. ``now`` is in seconds since 1970. What was written later than the
    backup is not in it: so the description says how old it is.
    """
    found = {}
    verified: dict[str, archive.Manifest | None] = {}
    for volume in volumes:
        labels = volume.labels or {}
        stack = labels.get(LABEL_COMPOSE_PROJECT, "").removeprefix(f"{settings.project_id}-")
        service = labels.get(LABEL_COMPOSE_VOLUME, "")
        created = volume.created_at.timestamp()  # an older backup is of another volume, which had that name
        if stack and stack not in verified:
            verified[stack] = _backup_of(settings, stack, now)
        backup = verified.get(stack)
        if backup and (service in backup.facts or service.endswith(SPOOL)) and backup.time >= created:
            found[volume.name] = _described("backup", backup.name, now - backup.time)
        elif export := _export_of(settings, volume.name, created, now):
            found[volume.name] = export
    return found


def _described(what: str, name: str, age: float) -> str:
    return f"{what} {name} of {age / 3600:.1f} hours ago"


def _export_of(settings: Settings, volume: str, created: float, now: float) -> str:
    """Describe the newest export of a volume that is fresh and whole; '' for none.

    One from the future is not fresh, as its age is unknown. One that was made while containers used the volume does not
    count, nor one of another clone.
    """
    for path, export in exports.known(settings, volume):
        age = now - export.manifest.time
        is_fresh = 0 <= age < settings.maint.backup_hours * 3600 and now - age >= created
        if not is_fresh or export.users or export.project != settings.project_id:
            continue
        try:
            exports.verify(path, export)
        except BackupDamaged:
            continue
        return _described("export", path.name, age)
    return ""


def _backup_of(settings: Settings, stack: str, now: float) -> archive.Manifest | None:
    """Return the newest backup of a stack that is fresh and whole, under the name that its folder has now."""
    folder = settings.state_dir / "backups" / stack
    for one in archive.listing(folder):
        if one.trouble or not 0 <= now - one.time <= settings.maint.backup_hours * 3600:
            continue
        try:
            return replace(archive.verify(folder / one.name), name=one.name)
        except BackupDamaged:
            continue
    return None
