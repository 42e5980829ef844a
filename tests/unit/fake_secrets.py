"""What the tests of secrets share."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["nats_password", "postgres_password", "redis_password"]
GOOD = b"0123456789-good_token.~"
"""One that a person may have chosen."""


def mode(path: Path) -> int:
    """Permission bits, of a link its own."""
    return stat.S_IMODE(path.lstat().st_mode)
