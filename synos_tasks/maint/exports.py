"""Exported volumes: an archive FILE, and its manifest FILE.json; and which volumes a fresh backup has. Asks no engine."""

from __future__ import annotations

import functools
import hashlib
import re
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from synos_tasks import archive, shapes
from synos_tasks.engine.labels import LABEL_COMPOSE_PROJECT, LABEL_COMPOSE_VOLUME
from synos_tasks.errors import BackupDamaged, SettingsError
from synos_tasks.iso.inputs import opened
from synos_tasks.iso.scratch import entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from synos_tasks.archive import Manifest
    from synos_tasks.engine.client import Volume
    from synos_tasks.settings import Settings

SUFFIX = ".tar.zst"
CONTENT = "volume.tar.zst"
"""The path of the archive in its manifest, whatever the file is called."""
FACTS = {"project": str, "role": str, "files": int, "unpacked": int, "users": [str], "labels": {str: str}}
"""Facts in the manifest of a volume.

``files`` is all that is no folder, ``unpacked`` the bytes of the archive before it was compressed. ``users`` are the containers that ran with it: what they wrote may be incomplete.
"""
BACKUP_FACTS = {str: {"version": str, "left_out": archive.LEFT_OUT}}
"""Facts in the manifest of a backup that matter here: which services it has, and what it lacks of them."""
SPOOL = "-spool"
"""The end of the name of a volume in which a service keeps files only while a command runs."""
VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,254}", re.ASCII)
"""What the engine takes as a volume's name."""
damaged = functools.partial(archive.damaged, kind="export")


def folder_of(settings: Settings) -> Path:
    """Return where exports are, unless --to says otherwise."""
    return settings.project.state_dir / "volumes"


def read(path: Path) -> Manifest:
    """Read the manifest of an archive; raise SettingsError without an archive, BackupDamaged without a manifest."""
    if not path.is_file():
        hint = "inv maint.volumes --inspect NAME lists the exports of a volume"
        raise SettingsError(f"there is no export {path.name}", where=str(path), hint=hint)
    try:
        manifest = archive.parse(shapes.read(Path(f"{path}.json")), FACTS)
    except ValueError as error:
        raise damaged(path, str(error)) from error
    if len(manifest.files) != 1 or not VOLUME_NAME.fullmatch(manifest.name):
        raise damaged(path, "its manifest is not that of a volume")
    return manifest


@contextmanager
def verified(path: Path, manifest: Manifest) -> Iterator[BinaryIO]:
    """Open an archive, and yield it once all of it was read; raise BackupDamaged if it is not what was written."""
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(opened(path))
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise damaged(path, f"it cannot be read: {error.strerror}") from error
        if (size := stream.tell()) != manifest.bytes:
            raise damaged(path, f"it has {size} bytes, not {manifest.bytes}")
        if digest != manifest.files[0].sha256:
            raise damaged(path, "its SHA-256 differs")
        stream.seek(0)
        yield stream


def known(settings: Settings, volume: str) -> tuple[list[tuple[Path, Manifest]], list[str]]:
    """Return the exports of a volume in .synos/volumes, newest first, and a line for each damaged one.

    Sizes are checked, contents are not. Of an export without a manifest, nothing tells which volume it is of.
    """
    found, unusable = [], []
    for path in entries(folder_of(settings), f"*{SUFFIX}"):
        try:
            manifest = read(path)
        except SettingsError:  # no file
            continue
        except BackupDamaged as error:
            unusable.append(f"{path}: {error.why}")
            continue
        if manifest.name == volume and path.stat().st_size == manifest.bytes:
            found.append((path, manifest))
        elif manifest.name == volume:
            unusable.append(f"{path}: it has another size than its manifest says")
    return sorted(found, key=lambda one: (one[1].created, one[0].name), reverse=True), unusable


def fresh_backups(settings: Settings, volumes: Iterable[Volume], now: float) -> dict[str, str]:
    """Return a description of the newest fresh backup, or else export, of each volume that has one, by its name.

    All of it was read, and its checksums are right. ``now`` is in seconds since 1970. What was written later than the
    backup is not in it: so the description says how old it is.
    """
    found = {}
    is_whole = functools.cache(_is_whole)  # a backup of several volumes is read once
    for volume in volumes:
        created = volume.created_at.timestamp()  # an older backup is of another volume, which had that name
        for kind, path, time in _backups(settings, volume):
            # the age of one from the future is unknown
            is_fresh = 0 <= now - time < settings.maint.backup_hours * 3600
            if is_fresh and time >= created and is_whole(path):
                found[volume.name] = f"{kind} {path.name} of {(now - time) / 3600:.1f} hours ago"
                break
    return found


def _backups(settings: Settings, volume: Volume) -> Iterator[tuple[str, Path, float]]:
    """Yield backups of a volume, then exports, newest first: their kind, their path, and when they were made.

    An export that was made while containers used the volume does not count, nor one of another clone.
    """
    labels = volume.labels or {}
    folder, service = backups_of(settings, labels), labels.get(LABEL_COMPOSE_VOLUME, "")
    for one in archive.listing(folder, BACKUP_FACTS):
        whole = service in one.facts and not archive.lost(one.facts[service])
        if not one.trouble and (whole or service.endswith(SPOOL)):
            yield "backup", folder / one.name, archive.seconds(one.created)
    for path, export in known(settings, volume.name)[0]:
        if export.facts["project"] == settings.project.id and not export.facts["users"]:
            yield "export", path, export.time


def _is_whole(path: Path) -> bool:
    try:
        if path.is_dir():
            archive.verify(path)
        else:
            with verified(path, read(path)):
                pass
    except BackupDamaged:
        return False
    return True


def backups_of(settings: Settings, labels: Mapping[str, str]) -> Path:
    """Return the folder with the backups of the stack that a volume is of; a folder that is not there for none."""
    stack = labels.get(LABEL_COMPOSE_PROJECT, "").removeprefix(f"{settings.project.id}-")
    return settings.project.state_dir / "backups" / (stack or "-")
