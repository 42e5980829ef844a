"""Ages as people write them: 30m, 12h, 14d, 2w."""

from __future__ import annotations

import re

from synos_tasks.errors import SettingsError

UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""Seconds of each."""
_AGE = re.compile(r"([0-9]{1,6})([mhdw])", re.ASCII)


def seconds_of(text: str) -> float:
    """Give the seconds of an age; raises SettingsError. Spaces around it, and capitals, are no mistake."""
    found = _AGE.fullmatch(text.strip().lower())
    if not found:
        raise SettingsError(
            f"{text!r} is no age",
            why="an age is a whole number of at most six digits, with its unit behind it",
            hint="30m, 12h, 14d or 2w: minutes, hours, days, weeks",
        )
    return int(found[1]) * UNITS[found[2]]
