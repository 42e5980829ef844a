"""Makes layers, and looks into them: a stage works, what it changed is laid out and compressed."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import StageFailed
from synos_tasks.iso import pool, stagespec
from synos_tasks.iso.initramfs_inputs import named_by_hooks, touched
from synos_tasks.iso.inputs import kind
from synos_tasks.iso.plan import layer_compression
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stages import squashfs
from synos_tasks.iso.tree import SQUASHFS, UNKNOWN, Delta, difference, freeze, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from synos_tasks.iso.background import BackgroundJobs
    from synos_tasks.iso.plan import Plan, Stage
    from synos_tasks.iso.pool import Pool
    from synos_tasks.iso.store import Entry
    from synos_tasks.iso.tools import BuildContext
    from synos_tasks.iso.tree import Node, Tree


# mode, owner/group, size or device numbers, date, time, path; as `unsquashfs -lln` prints them
_LINE = re.compile(
    r"([-dlcbps])([-rwxsStT]{9}) +(\d+)/(\d+) +(?:\d+, *\d+|\d+) +\S+ +\S+ squashfs-root/?(.*)"
)
# https://wiki.debian.org/UsrMerge
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_MODES = {stat.filemode(mode)[1:]: mode for mode in range(0o10000)}
ACL = "system.posix_acl"
PLAIN = (0o755, 0, 0)
_KINDS = {"d": "a folder", "l": "a link"}


@dataclass(frozen=True)
class Layer:
    """A layer of the plan: in the store, or on its way there."""

    key: str
    entry: Future[Entry]


@dataclass(frozen=True)
class StageInputs:
    """What a stage works with, besides the root."""

    context: BuildContext
    plan: Plan
    stage: Stage
    pool: Pool
    compiled: Sequence[Entry]
    """The components of the profile."""
    below: Sequence[Entry] = ()
    """The layers below, lowest first; only for a stage that makes files alone."""

    def bring(self, path: str, target: Path) -> None:
        """Copy a file as the uppermost layer has it, with all that belongs to it; there must be one."""
        copied = self.context.work / "brought"
        for entry in reversed(self.below):
            remove(copied)
            argv = ["unsquashfs", "-quiet", "-no-progress", "-no-wildcards", "-dest", str(copied)]
            subprocess.run([*argv, str(entry.file(SQUASHFS)), path], capture_output=True, check=False)
            if os.path.lexists(copied / path):
                (copied / path).rename(target)
                break
        remove(copied)

    @contextmanager
    def repository(self) -> Iterator[tuple[Path, dict[str, int]]]:
        """Yield a flat APT repository with what the lock has for this stage, and unpacked sizes in bytes by name."""
        folder, packages = self.context.work / "repository", self.plan.lock.layer(self.stage.name)
        yield folder, pool.repository(packages, self.pool.have(packages), folder)
        remove(folder)

    def read(self, path: str) -> str:
        """Return a text file as the uppermost layer has it; '' where there is none."""
        for entry in reversed(self.below):
            argv = ["unsquashfs", "-cat", str(entry.file(SQUASHFS)), path]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout:
                return done.stdout
        return ""


class Listing:
    """What stacked layers hold: kind of each path, mode and owner of each folder. Read without unpacking them."""

    def __init__(self) -> None:
        self._paths: dict[str, tuple[str, int, int, int]] = {"": ("a folder", *PLAIN)}

    def add(self, lines: Iterable[str], removed: Iterable[str]) -> None:
        """Lay a layer over what is there: ``lines`` of `unsquashfs -lln`, ``removed`` as its delta has it."""
        for path in removed:
            self._drop(path)
        for line in lines:
            found = _LINE.match(line)
            if not found:
                continue
            letter, mode, uid, gid, path = found.groups()
            if letter == "c" and re.search(r" 0, *0 ", line):  # a whiteout
                continue
            if letter == "l":
                path = path.partition(" -> ")[0]
            self._paths[path] = (_KINDS.get(letter, "a file"), _MODES[mode], int(uid), int(gid))

    def kind(self, path: str) -> str:
        """Say what a path is; nothing where there is nothing."""
        return self._paths[path][0] if path in self._paths else ""

    def behind_links(self, path: str) -> str:
        """Return where a path lies when /bin, /lib and their like are links into /usr."""
        first = path.partition("/")[0]
        return f"usr/{path}" if first in MERGED and self.kind(first) == "a link" else path

    def make_parents(self, target: Path, path: str) -> None:
        """Make the folders above ``path`` with the modes and owners they have below."""
        parent = path.rpartition("/")[0]
        if parent and not (target / parent).exists():
            self.make_parents(target, parent)
            self.make_folder(target, parent)

    def make_folder(self, target: Path, path: str) -> None:
        """Make one folder, as it is below, or else for everyone to read."""
        (target / path).mkdir(exist_ok=True)
        mode, uid, gid = self._paths[path][1:] if self.kind(path) == "a folder" else PLAIN
        os.chown(target / path, uid, gid)
        (target / path).chmod(mode)

    def _drop(self, path: str) -> None:
        if self._paths.pop(path, ("",))[0] == "a folder":
            for known in [known for known in self._paths if known.startswith(f"{path}/")]:
                del self._paths[known]


def changes_of(
    inputs: StageInputs, tree: Tree, jobs: BackgroundJobs, below: list[Layer]
) -> tuple[Path, dict[str, Any]]:
    """Let a stage work; return a folder with what it changed, and its facts for the store.

    A layer starts where the one below it ended.
    """
    folder = inputs.context.work / f"layer-{inputs.stage.name}"
    remove(folder)
    if hasattr(stagespec.modules()[inputs.stage.kind], "make_files"):
        return folder, _make_files(inputs, jobs, below, folder)
    return folder, _make(inputs, tree, jobs, below, folder)


def compress(inputs: StageInputs, changed: Path, folder: Path) -> None:
    """Write what a stage changed as a squashfs into ``folder``."""
    compression = layer_compression(inputs.plan.profile, release=inputs.plan.release)
    squashfs.make(inputs.context, inputs.stage.name, changed, folder / SQUASHFS, compression)


def bring_tree_to(tree: Tree, jobs: BackgroundJobs, layers: list[Layer]) -> None:
    """Make the tree what the layers make; waits for them only where they must be unpacked."""
    if tree.applied != [layer.key for layer in layers]:
        tree.bring_to(jobs.wait_for([layer.entry for layer in layers]))


def _make(
    inputs: StageInputs, tree: Tree, jobs: BackgroundJobs, below: list[Layer], folder: Path
) -> dict[str, Any]:
    context, stage, root = inputs.context, inputs.stage, tree.root
    bring_tree_to(tree, jobs, below)
    with jobs.stage():
        before = tree.snapshot()
        tree.applied = UNKNOWN
        with context.fake_clock(root) if stage.kind != "base" else nullcontext():
            facts = stagespec.modules()[stage.kind].make(inputs, root)
        after = tree.snapshot()
        delta = difference(before, after)
    _warn_of_acls(context, stage.name, delta, after)
    jobs.stage_ended(delta.written)
    tree.settle()
    freeze(root, delta, folder, context.epoch)
    tree.applied = [*(layer.key for layer in below), stage.key]
    if stage.apart:
        changed = [f"{path}/" if kind(folder / path) == "a folder" else path for path in delta.changed]
        facts = {**(facts or {}), "touched": [*changed, *delta.removed]}
    return {**_facts(delta, named_by_hooks(root)), **(facts or {})}


def _warn_of_acls(context: BuildContext, stage: str, delta: Delta, after: Mapping[str, Node]) -> None:
    lost = [path for path in delta.changed if any(name.startswith(ACL) for name, _ in after[path].attributes)]
    if lost:
        context.events.warn(
            f"{stage}: /{lost[0]} {f'and {len(lost) - 1} more ' * (len(lost) > 1)}"
            "loses its access control list: squashfs has none; a file in /etc/tmpfiles.d can set it at boot"
        )


def _make_files(
    inputs: StageInputs, jobs: BackgroundJobs, below: list[Layer], folder: Path
) -> dict[str, Any]:
    """Make a layer of files alone; the layers below stay packed."""
    folder.mkdir()
    entries = jobs.wait_for([layer.entry for layer in below])
    lower = _listing(entries)
    facts = stagespec.modules()[inputs.stage.kind].make_files(replace(inputs, below=entries), lower, folder)
    named = sorted({*entries[-1].facts["read_by_hooks"], *named_by_hooks(folder)})
    return {**_facts(settle_files(folder, lower, inputs.context.epoch), named), **(facts or {})}


def _listing(below: Sequence[Entry]) -> Listing:
    listing = Listing()
    for entry in below:
        argv = ["unsquashfs", "-lln", str(entry.file(SQUASHFS))]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        if done.returncode:
            raise StageFailed("a layer cannot be listed", where=entry.key, why=done.stderr.strip())
        listing.add(done.stdout.splitlines(), entry.facts["removed"])
    return listing


def settle_files(folder: Path, lower: Listing, epoch: int) -> Delta:
    """Date the files of a layer, and tell what it changes of the layers below."""
    found = dict(walk(folder))
    for path in found:
        os.utime(folder / path, (epoch, epoch), follow_symlinks=False)
    os.utime(folder, (epoch, epoch))
    return Delta(list(found), [path for path in found if lower.kind(path) not in {"", "a folder"}])


def _facts(delta: Delta, named: list[str]) -> dict[str, Any]:
    touches = touched(delta.changed, delta.removed, named)
    return {
        "removed": delta.removed,
        "initramfs": touches,
        "files": len(delta.changed),
        "read_by_hooks": named,
    }
