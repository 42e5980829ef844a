"""Exported volumes: an archive, and its manifest beside it, FILE.json. Asks no engine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks import archive
from synos_tasks.errors import BackupDamaged, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from synos_tasks.settings import Settings

SUFFIX = ".tar.zst"
CONTENT = "volume.tar.zst"
"""The path of the archive in its manifest, whatever the file is called."""
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,254}", re.ASCII)
_FACTS = {"project": str, "role": str, "files": int, "users": list, "labels": dict}


@dataclass(frozen=True, kw_only=True)
class Export:
    """What FILE.json says of an archive, whose size and checksum are ``bytes`` and ``sha256``.

    ``created`` is when reading began, ISO-8601 in UTC: what was written after that may be missing.
    """

    volume: str
    project: str
    role: str
    bytes: int
    sha256: str
    files: int
    """All that is no folder; a hard link is one more."""
    created: str
    users: tuple[str, ...] = ()
    """Containers that ran with the volume: what they wrote meanwhile may be incomplete."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def manifest(self) -> archive.Manifest:
        """The same as a manifest."""
        facts: dict[str, Any] = {key: getattr(self, key) for key in _FACTS}
        file = archive.File(path=CONTENT, bytes=self.bytes, sha256=self.sha256)
        return archive.Manifest(name=self.volume, created=self.created, facts=facts, files=(file,))


def folder_of(settings: Settings) -> Path:
    """Return where exports are, unless --to says otherwise."""
    return settings.state_dir / "volumes"


def manifest_path(path: Path) -> Path:
    """Return FILE.json of an archive."""
    return Path(f"{path}.json")


def read(path: Path) -> Export:
    """Read the manifest of an archive; raise SettingsError without an archive, BackupDamaged without a manifest."""
    if not path.is_file():
        hint = "inv maint.volumes --inspect NAME lists the exports of a volume"
        raise SettingsError(f"there is no export {path.name}", where=str(path), hint=hint)
    try:
        return _export(archive.parse(archive.read_small(manifest_path(path))))
    except ValueError as error:
        raise damaged(path, str(error)) from error


def content(path: Path, export: Export) -> Iterator[bytes]:
    """Yield an archive in chunks; raise BackupDamaged, at its end at the latest, if it is not what was written."""
    try:
        if path.stat().st_size != export.bytes:
            raise damaged(path, f"it has {path.stat().st_size} bytes, not {export.bytes}")
        yield from archive.content(path, export.manifest.files[0])
    except OSError as error:
        raise damaged(path, f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise damaged(path, str(error)) from error


def verify(path: Path, export: Export) -> None:
    """Read all of an archive; raise BackupDamaged if it is not what was written."""
    for _ in content(path, export):
        pass


def damaged(path: Path, why: str) -> BackupDamaged:
    """Return the error for an archive that must not be used."""
    return archive.damaged(path, why, "export")


def known(settings: Settings, volume: str) -> list[tuple[Path, Export]]:
    """Return the exports of a volume in .synos/volumes, newest first. Sizes are checked, contents are not."""
    found = []
    for path in folder_of(settings).glob(f"*{SUFFIX}"):
        try:
            export = read(path)
        except (BackupDamaged, SettingsError):
            continue
        if export.volume == volume and path.stat().st_size == export.bytes:
            found.append((path, export))
    return sorted(found, key=lambda one: (one[1].created, one[0].name), reverse=True)


def is_volume_name(name: str) -> bool:
    """Tell whether the engine takes that as a volume's name."""
    return _VOLUME.fullmatch(name) is not None


def _export(manifest: archive.Manifest) -> Export:
    """Read an export's manifest; raise ValueError where it is another archive's."""
    facts = manifest.facts
    if wrong := [key for key, kind in _FACTS.items() if type(facts.get(key)) is not kind]:
        raise ValueError(f"its manifest has no {wrong[0]}")
    if not all(isinstance(text, str) for text in (*facts["users"], *facts["labels"].values())):
        raise ValueError("its manifest has a user or a label that is no text")
    if len(manifest.files) != 1 or not is_volume_name(manifest.name):
        raise ValueError("its manifest is not that of a volume")
    return Export(
        volume=manifest.name,
        bytes=manifest.bytes,
        sha256=manifest.files[0].sha256,
        created=manifest.created,
        **{**{key: facts[key] for key in _FACTS}, "users": tuple(facts["users"])},
    )
