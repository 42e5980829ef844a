"""One rule for what is kept: images, ISOs, logs, stages of the store. Logs are read and deleted here too."""

from __future__ import annotations

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
