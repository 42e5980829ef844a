"""The few devices that scripts in the root expect; they are nodes on the builder's own disk, see mknod(2)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# see Documentation/admin-guide/devices.txt of Linux; the engine allows these to every container
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def make(root: Path) -> None:
    """Make them where they are missing; clean() takes them away again."""
    if (root / "dev").is_symlink() or not (root / "dev").is_dir():
        return
    for name, (major, minor) in NODES.items():
        path = root / "dev" / name
        if not path.exists():
            os.mknod(path, stat.S_IFCHR, os.makedev(major, minor))
            path.chmod(0o666)
