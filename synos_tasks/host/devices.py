"""The health of /dev, the folder that builds with too many rights damage first. Reads only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

# Fixed by the kernel: Documentation/admin-guide/devices.txt.
NODES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0), "ptmx": (5, 2),
}  # fmt: skip
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
KINDS = {
    stat.S_IFBLK: "block device", stat.S_IFREG: "regular file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
}  # fmt: skip


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
