"""Exports of volumes in .synos/volumes: an archive, and beside it FILE.json that says what it is. Asks no engine."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.archive import CREATED
from synos_tasks.errors import BackupDamaged, SettingsError
from synos_tasks.maint.files import is_regular, read_chunks, summed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synos_tasks.settings import Settings

SCHEMA = "synos.volume/1"
SUFFIX = ".tar.zst"
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,254}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LARGEST = 2**20


@dataclass(frozen=True, kw_only=True)
class Record:
    """What FILE.json says. ``bytes`` and ``sha256`` are the archive's.

    ``created`` is when reading began, ISO-8601 in UTC: what was written after that may not be in it.
    """

    volume: str
    project: str
    role: str
    bytes: int
    sha256: str
    files: int
    """All that is no folder: a hard link is one more."""
    created: str
    users: tuple[str, ...] = ()
    """Containers that ran with the volume before or after: what they wrote meanwhile may be in it half."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def time(self) -> float:
        """As of when it is, in seconds since 1970."""
        return dt.datetime.strptime(self.created, CREATED).replace(tzinfo=dt.UTC).timestamp()

    @property
    def short(self) -> str:
        """The volume's name without that of its project."""
        return self.volume.removeprefix(f"{self.project}-")

    def text(self) -> str:
        """Give the content of FILE.json."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def folder_of(settings: Settings) -> Path:
    """Where exports are, unless --to says otherwise."""
    return settings.state_dir / "volumes"


def record_path(archive: Path) -> Path:
    """Give FILE.json of an archive."""
    return Path(f"{archive}.json")


def read(archive: Path) -> Record:
    """Read what is said of an archive. Raises SettingsError without an archive, BackupDamaged without a record."""
    if not is_regular(archive):
        raise SettingsError(
            f"there is no export {archive.name}",
            where=str(archive),
            hint="inv maint.volumes --inspect NAME lists the exports of a volume",
        )
    path = record_path(archive)
    try:
        return _parsed(_told(path))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(archive, str(error)) from error


def verify(archive: Path, record: Record) -> None:
    """Read all of an archive; raises BackupDamaged where it is not what its record says."""
    try:
        if archive.stat().st_size != record.bytes:
            raise damaged(archive, f"it has {archive.stat().st_size} bytes, not {record.bytes}")
        if not summed(read_chunks(archive)).same_as(record.bytes, record.sha256):
            raise damaged(archive, "its SHA-256 differs")
    except OSError as error:
        raise damaged(archive, f"it cannot be read: {error.strerror}") from error


def damaged(archive: Path, why: str) -> BackupDamaged:
    """Make the error for an archive that cannot be used."""
    return BackupDamaged(
        f"the export {archive.name} is damaged or incomplete",
        where=str(archive),
        why=why,
        hint="nothing was touched; use another export, or copy this one and its .json again from where they came",
    )


def known(settings: Settings, volume: str) -> list[tuple[Path, Record]]:
    """Give the exports of a volume that are in .synos/volumes, newest first. Sizes are right, sums are not asked."""
    found = []
    for path in sorted(folder_of(settings).glob(f"*{SUFFIX}")):
        try:
            record = read(path)
        except (BackupDamaged, SettingsError):
            continue
        if record.volume == volume and path.stat().st_size == record.bytes:
            found.append((path, record))
    return sorted(found, key=lambda one: (one[1].created, one[0].name), reverse=True)


def fresh_export(settings: Settings, volume: str, hours: float, now: float) -> Path | None:
    """Give the newest export of a volume (its full name) that is younger than ``hours``; None where there is none.

    ``now`` is in seconds since 1970. One from the future is not fresh: nobody knows how old it is. One of a volume
    that was in use does not count, nor one that another clone made. The archive's size is right; verify() has its sum.
    """
    for path, record in known(settings, volume):
        ours = record.project == settings.project_id and not record.users
        if ours and 0 <= now - record.time < hours * 3600:
            return path
    return None


def valid_volume(name: str) -> bool:
    """Tell whether a volume can have that name."""
    return _VOLUME.fullmatch(name) is not None


def _told(path: Path) -> Any:  # noqa: ANN401
    if not is_regular(path) or path.stat().st_size > _LARGEST:
        raise ValueError(f"{path.name} is missing, or is no file of ours")
    return json.loads(path.read_text())


def _parsed(data: Any) -> Record:  # noqa: ANN401
    """Make a record of what its JSON holds; raises ValueError."""
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"its .json is not {SCHEMA}")
    kinds = dict.fromkeys(("volume", "project", "role", "sha256", "created"), _is_text)
    kinds |= {"bytes": _is_count, "files": _is_count, "users": _are_names, "labels": _are_texts}
    wrong = [key for key, fits in kinds.items() if not fits(data.get(key))]
    if wrong:
        raise ValueError(f"its .json has no {wrong[0]}, or one that cannot be")
    record = Record(**{**{key: data[key] for key in kinds}, "users": tuple(data["users"])})
    if not valid_volume(record.volume) or not _SHA256.fullmatch(record.sha256):
        raise ValueError("its .json has no name that a volume can have, or no SHA-256")
    dt.datetime.strptime(record.created, CREATED).replace(tzinfo=dt.UTC)
    return record


def _is_text(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, str)


def _is_count(value: Any) -> bool:  # noqa: ANN401
    return type(value) is int and value >= 0


def _are_names(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _are_texts(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
