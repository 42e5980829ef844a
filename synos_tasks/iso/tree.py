"""The root file system under construction, and what a stage changes in it."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.iso.store import Entry
    from synos_tasks.iso.tools import BuildContext

SQUASHFS = "layer.squashfs"
UNKNOWN = ["no layer"]
# live-boot stacks the layers with overlayfs: a character device 0:0 hides what lies below it
WHITEOUT = os.makedev(0, 0)
# where a frozen copy shares files with the tree: large, and replaced by those who change it, not written into
SHARED = "usr/"


@dataclass(frozen=True, slots=True)
class Node:
    """What there is at a path. Extended attributes (file capabilities) count: a change of them leaves the date."""

    status: os.stat_result
    attributes: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Delta:
    """What a stage changed: paths relative to the root, sorted."""

    changed: list[str]
    removed: list[str]
    """Gone, or replaced: these must go before the layer is unpacked over those below."""
    written: tuple[str, ...] = ()
    """Files that were not replaced but written into, where frozen copies share them."""


class Tree:
    """A root file system, brought to the state after any layer by unpacking those below."""

    def __init__(self, context: BuildContext) -> None:
        self._context, self.root = context, context.root
        self.applied: list[str] = []
        """Keys of the layers that it is made of; UNKNOWN while a stage works in it."""
        self.root.mkdir(exist_ok=True)

    def bring_to(self, layers: Sequence[Entry]) -> None:
        """Unpack layers until the tree is what they make, from scratch if it is something else."""
        keys = [entry.key for entry in layers]
        if self.applied != keys[: len(self.applied)]:
            self.clear()
        for entry in layers[len(self.applied) :]:
            for path in entry.facts["removed"]:
                remove(self.root / path)
            argv = ["unsquashfs", "-force", "-no-progress", "-quiet", "-dest", str(self.root)]
            self._context.run("unpack", [*argv, str(entry.file(SQUASHFS))])
            for path in entry.facts["removed"]:
                if is_whiteout(self.root / path):
                    (self.root / path).unlink()
            self.applied.append(entry.key)

    def clear(self) -> None:
        """Empty the tree."""
        self.applied = []
        shutil.rmtree(self.root)
        self.root.mkdir()

    def snapshot(self) -> dict[str, Node]:
        """Return path and node of all there is, in order."""
        return {path: Node(status, _attributes(self.root / path, status)) for path, status in walk(self.root)}

    def settle(self) -> None:
        """Set the build's date on everything, so that a new tree and an unpacked one are the same."""
        epoch = self._context.epoch
        for path, status in walk(self.root):
            if status.st_mtime != epoch:
                os.utime(self.root / path, (epoch, epoch), follow_symlinks=False)
        os.utime(self.root, (epoch, epoch))


def walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all below a folder, parents first, in order of names."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(root / below) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = f"{below}/{entry.name}" if below else entry.name
                yield path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)


def _attributes(path: Path, status: os.stat_result) -> tuple[tuple[str, bytes], ...]:
    if stat.S_ISLNK(status.st_mode):
        return ()
    return tuple((name, os.getxattr(path, name)) for name in sorted(os.listxattr(path)))


def difference(before: Mapping[str, Node], after: Mapping[str, Node]) -> Delta:
    """Compare two snapshots of one tree."""
    changed = [path for path, node in after.items() if path not in before or _differ(before[path], node)]
    replaced, written = [], []
    for path in changed:
        one, two = before[path].status if path in before else None, after[path].status
        if one and not (stat.S_ISDIR(one.st_mode) and stat.S_ISDIR(two.st_mode)):
            replaced.append(path)
            if path.startswith(SHARED) and one.st_ino == two.st_ino:
                written.append(path)
    gone = [path for path in before if path not in after]
    lost = {*gone, *replaced}
    # of a folder that is gone, only the folder
    removed = [path for path in gone if path.rpartition("/")[0] not in lost]
    return Delta(sorted(changed), sorted([*removed, *replaced]), tuple(sorted(written)))


def _differ(one: Node, two: Node) -> bool:
    a, b = one.status, two.status
    if (a.st_mode, a.st_uid, a.st_gid) != (b.st_mode, b.st_uid, b.st_gid) or one.attributes != two.attributes:
        return True
    if stat.S_ISDIR(b.st_mode):  # what is in it is looked at by itself
        return False
    facts = [(s.st_ino, s.st_size, s.st_mtime_ns, s.st_rdev) for s in (a, b)]
    if facts[0] != facts[1]:
        return True
    # who writes into a file and sets its date back cannot set this one
    return stat.S_ISREG(b.st_mode) and a.st_ctime_ns != b.st_ctime_ns


def freeze(root: Path, delta: Delta, target: Path, epoch: int) -> None:
    """Lay what changed out in ``target``, with whiteouts for what is gone.

    Files below usr/ are hard links: as long as they are needed, nothing may write into them; Delta.written
    tells when something did. All else is copied. So are files with several names: mksquashfs takes two names for one
    file only where lstat() says the same of both, access time included, and a stage may read the file in between.
    """
    target.mkdir()
    folders = {"": root.stat()}
    copies: dict[int, Path] = {}

    def make_folder(path: str) -> None:
        if path not in folders:
            make_folder(path.rpartition("/")[0])
            (target / path).mkdir()
            folders[path] = (root / path).stat()

    for path in delta.changed:
        status = (root / path).lstat()
        make_folder(path if stat.S_ISDIR(status.st_mode) else path.rpartition("/")[0])
        if stat.S_ISDIR(status.st_mode):
            continue
        regular_or_link = stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)
        if status.st_ino in copies:
            os.link(copies[status.st_ino], target / path, follow_symlinks=False)
        elif (path.startswith(SHARED) and status.st_nlink == 1) or not regular_or_link:
            os.link(root / path, target / path, follow_symlinks=False)
        else:
            copies[status.st_ino] = target / path
            shutil.copyfile(root / path, target / path, follow_symlinks=False)
            # the owner first: a change of it takes rights away
            os.chown(target / path, status.st_uid, status.st_gid, follow_symlinks=False)
            shutil.copystat(root / path, target / path, follow_symlinks=False)
    for path in delta.removed:
        if not os.path.lexists(root / path):
            make_folder(path.rpartition("/")[0])
            os.mknod(target / path, stat.S_IFCHR, WHITEOUT)
            os.utime(target / path, (epoch, epoch))
    for path, status in folders.items():
        os.chown(target / path, status.st_uid, status.st_gid)
        shutil.copystat(root / path, target / path)
        os.utime(target / path, (epoch, epoch))


def is_whiteout(path: Path) -> bool:
    """Tell whether a path is a node that hides what lies below it."""
    status = path.lstat() if os.path.lexists(path) else None
    return status is not None and stat.S_ISCHR(status.st_mode) and status.st_rdev == WHITEOUT
