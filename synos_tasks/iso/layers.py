"""Makes layers: a stage works, what it changed is laid out and compressed."""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import StageFailed
from synos_tasks.iso import deb, plan, pool
from synos_tasks.iso.listing import Listing
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stages import base, components, hooks, identity, overlay, packages, squashfs, system
from synos_tasks.iso.tree import SQUASHFS, Delta, difference, freeze, walk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from synos_tasks.iso.beside import Beside
    from synos_tasks.iso.plan import Plan, Stage
    from synos_tasks.iso.pool import Pool
    from synos_tasks.iso.store import Entry
    from synos_tasks.iso.tools import Workshop
    from synos_tasks.iso.tree import Tree


@dataclass(frozen=True)
class Layer:
    """A layer of the plan: in the store, or on its way there."""

    key: str
    entry: Future[Entry]


@dataclass(frozen=True)
class Picked:
    """What a stage changed, laid out to be compressed, and its facts for the store."""

    folder: Path
    facts: dict[str, Any]


class Layers:
    """The layers of one plan."""

    def __init__(
        self, shop: Workshop, wanted: Plan, debs: Pool, tree: Tree, beside: Beside, compiled: Sequence[Entry]
    ) -> None:
        """Share the tree, so that a layer starts where the one below it ended; ``compiled`` are the components."""
        self._compiled = compiled
        self._shop, self._plan, self._pool, self._tree, self._beside = shop, wanted, debs, tree, beside
        self._compression = plan.layer_compression(wanted.profile, release=wanted.release)

    def pick(self, stage: Stage, below: list[Layer]) -> Picked:
        """Let a stage work, and lay out what it changed."""
        folder = self._shop.work / f"layer-{stage.name}"
        remove(folder)
        if stage.kind in {"overlay", "identity"}:
            return self._files(stage, below, folder)
        return self._changes(stage, below, folder)

    def squeeze(self, stage: Stage, picked: Picked, folder: Path) -> None:
        """Write what was picked as a squashfs into ``folder``."""
        squashfs.make(self._shop, stage.name, picked.folder, folder / SQUASHFS, self._compression)

    def bring_tree_to(self, below: list[Layer]) -> None:
        """Let the tree be what layers make; waits for them only where they must be unpacked."""
        if not self._tree.is_at([layer.key for layer in below]):
            self._tree.bring_to(self._beside.wait_for([layer.entry for layer in below]))

    def _changes(self, stage: Stage, below: list[Layer], folder: Path) -> Picked:
        """Let a stage work in the tree."""
        tree, root = self._tree, self._tree.root
        self.bring_tree_to(below)
        before = tree.snapshot()
        tree.spoil()
        self._beside.stage_begins()
        with self._shop.fake_clock(root) if stage.kind != "base" else nullcontext():
            facts = self._work(stage, root)
        delta = difference(before, tree.snapshot())
        self._beside.stage_ended(delta.written)
        tree.settle()
        freeze(root, delta, folder, self._shop.epoch)
        tree.is_now([*(layer.key for layer in below), stage.key])
        return Picked(folder, {**_facts(delta), **facts})

    def _work(self, stage: Stage, root: Path) -> dict[str, Any]:
        shop = self._shop
        if stage.kind == "system":
            system.make(shop, root)
        elif stage.kind == "hooks":
            hooks.make(shop, root)
        elif stage.kind == "components":
            return {"installed": components.make(shop, root, self._compiled)}
        else:
            locked = self._plan.lock.layer(stage.name)
            repository = shop.work / "repository"
            paths = self._pool.have(locked)
            stanzas = pool.repository(locked, paths, repository)
            if stage.kind == "base":
                base.make(shop, root, repository, locked)
            elif locked:
                packages.make(shop, root, repository, stage.name)
            remove(repository)
            return {"installed": {name: _installed_bytes(stanza) for name, stanza in stanzas.items()}}
        return {}

    def _files(self, stage: Stage, below: list[Layer], folder: Path) -> Picked:
        """Make a layer of files alone; the layers below stay packed."""
        shop = self._shop
        folder.mkdir()
        entries = self._beside.wait_for([layer.entry for layer in below])
        lower = self._listing(entries)
        if stage.kind == "overlay":
            names = (plan.BASE_OVERLAY, *shop.profile.overlays)
            overlay.make(shop.profile, [shop.docker_build / name for name in names], lower, folder)
        else:
            text = _read(entries, identity.OS_RELEASE)
            identity.make(text, self._plan.build_id, lower, folder)
        return Picked(folder, _facts(settle_files(folder, lower, shop.epoch)))

    def _listing(self, below: list[Entry]) -> Listing:
        listing = Listing()
        for entry in below:
            argv = ["unsquashfs", "-lln", str(entry.file(SQUASHFS))]
            done = subprocess.run(argv, check=False, capture_output=True, text=True)
            if done.returncode:
                raise StageFailed("a layer cannot be listed", where=entry.key, why=done.stderr.strip())
            listing.add(done.stdout.splitlines(), entry.facts["removed"])
        return listing


def settle_files(picked: Path, lower: Listing, epoch: int) -> Delta:
    """Date the files of a layer, and tell what it changes of the layers below."""
    found = dict(walk(picked))
    for path in found:
        os.utime(picked / path, (epoch, epoch), follow_symlinks=False)
    os.utime(picked, (epoch, epoch))
    return Delta(list(found), [path for path in found if lower.kind(path) not in {"", "a folder"}])


def _facts(delta: Delta) -> dict[str, Any]:
    return {"removed": delta.removed, "initramfs": delta.touches_initramfs, "files": len(delta.changed)}


def _installed_bytes(stanza: str) -> int:
    return int(deb.fields(stanza).get("Installed-Size", 0)) * 1024


def _read(layers: list[Entry], path: str) -> str:
    """Give a text file as the uppermost layer has it."""
    for entry in reversed(layers):
        argv = ["unsquashfs", "-cat", str(entry.file(SQUASHFS)), path]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout:
            return done.stdout
    return ""
