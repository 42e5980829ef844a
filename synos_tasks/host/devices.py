"""The health of /dev: the folder that builds with too many rights damage first. Reads only."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

# Fixed by the kernel: Documentation/admin-guide/devices.txt.
NODES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "ptmx": (5, 2),
}
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}

# Mounts of their own whose content changes with every terminal and every process.
LIVELY = frozenset({"pts", "shm", "mqueue", "hugepages"})

KINDS = {
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


class DeviceNode(NamedTuple):
    """One entry below /dev; ``name`` is relative to it, the numbers are 0 for what is no device."""

    name: str
    kind: str
    major: int
    minor: int


def device_listing(dev: Path = Path("/dev")) -> list[DeviceNode]:
    """List everything below ``dev``, sorted: what a safety test compares before and after a build.

    Left out: what is inside pts, shm, mqueue and hugepages, which changes by itself.
    """
    found = []
    for folder, folders, files in os.walk(dev):
        here = Path(folder)
        for name in (*folders, *files):
            path = here / name
            try:
                facts = path.lstat()
            except FileNotFoundError:
                continue  # gone since the folder was read
            numbers = _numbers(facts) if kind_of(facts) in {"character", "block"} else (0, 0)
            found.append(DeviceNode(str(path.relative_to(dev)), kind_of(facts), *numbers))
        folders[:] = [name for name in folders if here != dev or name not in LIVELY]
    return sorted(found)


def dev_problems(dev: Path = Path("/dev")) -> list[str]:
    """Say what is wrong in ``dev``, one sentence each; empty when it is healthy."""
    problems = []
    for name, numbers in NODES.items():
        try:
            facts = (dev / name).lstat()
            # Where devpts is an instance of its own, ptmx is a link to pts/ptmx.
            if name == "ptmx" and stat.S_ISLNK(facts.st_mode):
                facts = (dev / name).stat()
        except OSError:
            problems.append(f"{dev / name} is missing")
            continue
        problems += node_problems(dev / name, facts, numbers)
    for name, target in LINKS.items():
        problems += _link_problems(dev / name, target)
    return problems + _stray_files(dev)


def node_problems(path: Path, facts: os.stat_result, numbers: tuple[int, int]) -> list[str]:
    """Compare one node's lstat with what it has to be."""
    if not stat.S_ISCHR(facts.st_mode):
        return [f"{path} is a {kind_of(facts)}, not a character device"]
    problems = []
    if _numbers(facts) != numbers:
        have, want = (":".join(map(str, pair)) for pair in (_numbers(facts), numbers))
        problems.append(f"{path} is device {have}, not {want}")
    if facts.st_mode & 0o006 != 0o006:
        problems.append(f"{path} has mode {stat.S_IMODE(facts.st_mode):04o}: not everybody may use it")
    return problems


def kind_of(facts: os.stat_result) -> str:
    """Name the type of a directory entry."""
    return KINDS.get(stat.S_IFMT(facts.st_mode), "unknown")


def _numbers(facts: os.stat_result) -> tuple[int, int]:
    return os.major(facts.st_rdev), os.minor(facts.st_rdev)


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
    problems = []
    try:
        entries = sorted(dev.iterdir())
    except OSError as error:
        return [f"{dev} cannot be read: {error.strerror}"]
    for path in entries:
        if path.name in NODES or path.name in LINKS or path.name.startswith("."):
            continue
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                problems.append(f"{path} is a regular file")
        except FileNotFoundError:
            continue
    return problems
