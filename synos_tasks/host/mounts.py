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
        """Return whether deleting below the mount point would harm the machine."""
        return self.kind in KERNEL_KINDS


def mount_table(mountinfo: Path = Path("/proc/self/mountinfo")) -> tuple[Mount, ...]:
    """Read the mounts that this process sees, sorted; format: proc_pid_mountinfo(5)."""
    found = []
    for line in mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, dash, after = line.partition(" - ")
        fields, (kind, _, rest) = before.split(" "), after.partition(" ")
        if dash and len(fields) > 4:
            source = rest.partition(" ")[0]
            found.append(Mount(*(_unescape(text) for text in (fields[4], kind, source, fields[3]))))
    return tuple(sorted(found))


def stale_mounts(project: Path, table: Iterable[Mount], *, ignore: Sequence[Path] = ()) -> tuple[Mount, ...]:
    """Return the mounts below ``project``, and those anywhere with a folder named synos-* in their path.

    ``ignore``: folders whose mounts others clean up, as the engine's root folder.
    """

    def is_stale(point: Path) -> bool:
        if any(folder in point.parents for folder in ignore):
            return False
        # the project's own parents may be named synos-* too: only what comes below them counts
        if point == project or point in project.parents:
            return False
        return project in point.parents or any(part.startswith("synos-") for part in point.parts)

    return tuple(mount for mount in table if is_stale(Path(mount.point)))


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
