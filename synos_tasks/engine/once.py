"""Volumes for one command: their names tell whose they are, so that those of killed commands are known."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

ONCE = "-once-"
"""In the name of such a volume, between the project's id and the number of the process."""


def once_name(project: str) -> str:
    """Make a name for this process."""
    return f"{project}{ONCE}{os.getpid()}-{uuid.uuid4().hex[:8]}"


def is_in_hand(name: str) -> bool:
    """Tell whether the process that a volume was made for still runs. A number may be another process's by now."""
    number = name.rpartition(ONCE)[2].partition("-")[0]
    return number.isdigit() and Path("/proc", number).exists()
