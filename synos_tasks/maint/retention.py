"""One rule for what is kept: images, ISOs, logs, stages of the store. ISOs and logs are read here too."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from synos_tasks.errors import OutputNotWritable, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from synos_tasks.settings import Settings

UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""Seconds of each."""
_AGE = re.compile(r"([0-9]{1,6})([mhdw])", re.ASCII)


class Dated(Protocol):
    """What has a last use."""

    @property
    def used(self) -> float:
        """When it was last used, in seconds since 1970."""
        ...


T = TypeVar("T", bound=Dated)


def verdicts(
    items: Sequence[T],
    *,
    now: float,
    older_than: float = 0.0,
    keep_last: int = 0,
    group: Callable[[T], str] = lambda _: "",
) -> list[tuple[T, str]]:
    """Return each item with the reason to keep it, or '' where it has expired.

    The newest ``keep_last`` of each group stay, and what was used less than ``older_than`` seconds ago. Items of
    group '' are in no group.
    """
    ranks: Counter[str] = Counter()
    found: list[tuple[T, str]] = []
    for item in sorted(items, key=lambda one: -one.used):
        name, age = group(item), now - item.used
        rank, ranks[name] = ranks[name], ranks[name] + 1
        if name and rank < keep_last:
            reason = "the newest" if rank == 0 else f"one of the newest {keep_last}"
        else:
            reason = "" if age >= older_than else f"only {_ago(age)} old"
        found.append((item, reason))
    return found


def seconds_of(text: str) -> float:
    """Return the seconds of an age; raises SettingsError. Spaces around it and capitals are accepted."""
    found = _AGE.fullmatch(text.strip().lower())
    if not found:
        raise SettingsError(
            f"{text!r} is not an age",
            why="an age is a whole number of at most six digits, followed by its unit",
            hint="30m, 12h, 14d or 2w: minutes, hours, days, weeks",
        )
    return int(found[1]) * UNITS[found[2]]


def _ago(seconds: float) -> str:
    for unit, size in (("days", UNITS["d"]), ("hours", UNITS["h"])):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log of .synos/logs. ``used``: when it was last written, in seconds since 1970."""

    path: Path
    used: float
    bytes: int


def logs(settings: Settings) -> list[Log]:
    """Return the logs, oldest first: regular files alone, no links."""
    paths = [
        path for path in (settings.state_dir / "logs").glob("*") if path.name.endswith((".log", ".log.gz"))
    ]
    found = [(path, path.lstat()) for path in paths if path.is_file() and not path.is_symlink()]
    return sorted(
        (Log(path=path, used=status.st_mtime, bytes=status.st_size) for path, status in found),
        key=lambda log: (log.used, log.path.name),
    )


def old_logs(settings: Settings, days: int, now: float) -> list[Log]:
    """Return the logs last written more than ``days`` days ago, oldest first; 0 days: none."""
    judged = verdicts(logs(settings), now=now, older_than=days * UNITS["d"]) if days else []
    return [log for log, reason in reversed(judged) if not reason]


def delete_logs(found: Sequence[Log]) -> None:
    """Delete logs; raises OutputNotWritable."""
    for log in found:
        try:
            log.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputNotWritable(
                "a log cannot be deleted", where=str(log.path), why=error.strerror or str(error)
            ) from error


MANIFEST_SCHEMA = "synos.manifest/1"
MANIFEST, SUM = ".manifest.json", ".sha256"
ISO_FILES = (".log", ".report.html", SUM, MANIFEST)
"""Endings of the files that belong to an ISO; the manifest last, because it makes the set one of ours."""


@dataclass(frozen=True, kw_only=True)
class IsoSet:
    """An ISO that a build published, with the files that belong to it: the ISO first, the manifest last."""

    files: tuple[Path, ...]
    profile: str
    used: float
    """When it was built, in seconds since 1970."""
    linked: bool
    """A link of the output folder points to it."""

    @property
    def iso(self) -> Path:
        """The ISO itself."""
        return self.files[0]

    @property
    def bytes(self) -> int:
        """What the files take on the disk."""
        return sum(path.stat().st_blocks * 512 for path in self.files)


def isos(output: Path) -> list[IsoSet]:
    """Return the ISOs in the output folder, oldest first; none whose manifest or checksum file does not fit."""
    linked = {path.resolve().name for path in output.glob("*.iso") if path.is_symlink()}
    sets = (_iso_set(path, linked) for path in output.glob("*.iso") if not path.is_symlink())
    return sorted((one for one in sets if one), key=lambda one: (one.used, one.iso.name))


def _iso_set(iso: Path, linked: set[str]) -> IsoSet | None:
    paths = (iso, *(iso.with_name(f"{iso.name}{ending}") for ending in ISO_FILES))
    try:
        manifest = json.loads(paths[-1].read_text())
        profile, status = manifest["profile"], iso.stat()
        fits = (
            (manifest["schema"], manifest["bytes"]["iso"]) == (MANIFEST_SCHEMA, status.st_size)
            and iso.name.endswith(f"-{profile}-{manifest['build_id']}.iso")
            and paths[-2].read_text() == f"{manifest['sha256']}  {iso.name}\n"
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    files = tuple(path for path in paths if path.is_file() and not path.is_symlink())
    used, is_linked = status.st_mtime, iso.name in linked
    return IsoSet(files=files, profile=str(profile), used=used, linked=is_linked) if fits else None
