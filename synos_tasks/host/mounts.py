"""The mount table, and which mounts in it a build has left behind. Reads only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Deleting files in these deletes the kernel's own: a devtmpfs is one instance for the whole machine.
KERNEL_KINDS = frozenset({"devtmpfs", "devpts", "proc", "sysfs", "efivarfs", "securityfs", "debugfs"})


@dataclass(frozen=True, order=True)
class Mount:
    """One line of mountinfo: where, what kind of file system, from what, and which folder of it."""

    point: str
    kind: str
    source: str
    root: str

    @property
    def reaches_kernel(self) -> bool:
        """Tell whether deleting below the mount point would harm the machine."""
        return self.kind in KERNEL_KINDS


def mount_table(mountinfo: Path = Path("/proc/self/mountinfo")) -> tuple[Mount, ...]:
    """Read the mounts this process sees, sorted; format: proc_pid_mountinfo(5)."""
    lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return tuple(sorted(mount for line in lines if (mount := _parse(line)) is not None))


def stale_mounts(project: Path, table: Iterable[Mount], *, ignore: Sequence[Path] = ()) -> tuple[Mount, ...]:
    """Pick the mounts below ``project``, and those anywhere with a folder named synos-* in their path.

    ``ignore``: folders whose mounts are somebody's who tidies up, as the engine's root folder.
    """
    return tuple(
        mount
        for mount in table
        if _is_ours(Path(mount.point), project) and not any(_below(Path(mount.point), i) for i in ignore)
    )


def _is_ours(point: Path, project: Path) -> bool:
    # The project's own parents may be named synos-* too: only what comes below them counts.
    if point == project or point in project.parents:
        return False
    return _below(point, project) or any(part.startswith("synos-") for part in point.parts)


def _below(point: Path, folder: Path) -> bool:
    return folder in point.parents


def _parse(line: str) -> Mount | None:
    fields = line.split(" ")
    try:
        dash = fields.index("-", 6)
        return Mount(
            point=_unescape(fields[4]),
            kind=fields[dash + 1],
            source=_unescape(fields[dash + 2]),
            root=_unescape(fields[3]),
        )
    except (ValueError, IndexError):
        return None


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
