"""What the machine is like: its disk, ports and mounts, and the health of /dev.

Reads only; every path is a parameter.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Fixed by the kernel: Documentation/admin-guide/devices.txt.
NODES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0), "ptmx": (5, 2),
}  # fmt: skip
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
KINDS = {
    stat.S_IFBLK: "block device", stat.S_IFREG: "regular file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
}  # fmt: skip
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


def free_disk_bytes(path: Path) -> int:
    """Return the bytes that an unprivileged process may still write at ``path`` or its nearest parent."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def is_taken(address: str, port: int) -> bool:
    """Return whether something listens at ``address`` (IPv4 or IPv6, a number) already.

    False too where this process may not listen (ports below 1024, addresses of other machines): the engine,
    which has other rights, finds that out.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # as the engine does: connections that ended a moment ago do not keep a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


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


def dev_problems(dev: Path = Path("/dev")) -> list[str]:
    """Return what is wrong in ``dev``, one sentence each; empty when it is healthy."""
    problems = []
    for name, numbers in NODES.items():
        path = dev / name
        try:
            facts = path.lstat()
            # Where devpts is an instance of its own, ptmx is a link to pts/ptmx.
            if name == "ptmx" and stat.S_ISLNK(facts.st_mode):
                facts = path.stat()
        except OSError:
            problems.append(f"{path} is missing")
        else:
            problems += node_problems(path, facts, numbers)
    for name, target in LINKS.items():
        problems += _link_problems(dev / name, target)
    return problems + _stray_files(dev)


def node_problems(path: Path, facts: os.stat_result, numbers: tuple[int, int]) -> list[str]:
    """Compare one node's lstat with what it has to be."""
    if not stat.S_ISCHR(facts.st_mode):
        return [f"{path} is a {KINDS[stat.S_IFMT(facts.st_mode)]}, not a character device"]
    problems = []
    have = os.major(facts.st_rdev), os.minor(facts.st_rdev)
    if have != numbers:
        problems.append(f"{path} is device {have[0]}:{have[1]}, not {numbers[0]}:{numbers[1]}")
    if facts.st_mode & 0o006 != 0o006:
        problems.append(f"{path} has mode {stat.S_IMODE(facts.st_mode):04o}: not everybody may use it")
    return problems


def _link_problems(path: Path, target: str) -> list[str]:
    try:
        points_to = str(path.readlink())
    except FileNotFoundError:
        return [f"{path} is missing"]
    except OSError:
        return [f"{path} is not a link"]
    return [] if points_to.endswith(target) else [f"{path} is a link to {points_to}"]


def _stray_files(dev: Path) -> list[str]:
    """Find regular files directly in ``dev``; hidden ones belong to container managers."""
    try:
        paths = sorted(dev.iterdir())
    except OSError as error:
        return [f"{dev} cannot be read: {error.strerror}"]
    strays = [path for path in paths if path.name not in {*NODES, *LINKS} and not path.name.startswith(".")]
    return [f"{path} is a regular file" for path in strays if path.is_file() and not path.is_symlink()]
