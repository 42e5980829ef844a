"""Executes a plan: takes from the store what it has, makes the rest, and compresses layers in the background."""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ComponentMissing, StageFailed
from synos_tasks.iso import publish, secrets
from synos_tasks.iso.background import BackgroundJobs, InputsModified
from synos_tasks.iso.layers import Layer, StageInputs, bring_tree_to, changes_of, compress
from synos_tasks.iso.plan import OVERLAY, release_compression
from synos_tasks.iso.pool import Pool
from synos_tasks.iso.protocol import UNPACK, Delivered, Done, LayersStored, Start
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stages import bootfiles, hooks, initramfs, iso, squashfs
from synos_tasks.iso.tree import SQUASHFS, Tree, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from synos_tasks.iso.plan import Plan, Stage
    from synos_tasks.iso.store import Entry, Store
    from synos_tasks.iso.tools import BuildContext

    Make = Callable[[Path], dict[str, Any] | None]
    """Makes the files of an entry in a folder, and returns its facts."""
    Wait = Callable[[], None]

VERIFIED = ("base", "packages")
"""Stages whose files come from packages that the lock names: no secret of this machine can be in these."""
NAME_LENGTH = 40
"""Of a layer, on the ISO: the kernel takes the paths of all layers within one page of 4096 bytes."""
POLL_SECONDS = 0.2


class Runner:
    """One execution of a plan."""

    def __init__(
        self,
        context: BuildContext,
        wanted: Plan,
        store: Store,
        *,
        offline: bool = False,
        awaits: bool = False,
    ) -> None:
        self.context, self.plan, self.store, self._awaits = context, wanted, store, awaits
        self.tree = Tree(context)
        self.pool = Pool(store, context, offline=offline)
        self.done: dict[str, Done] = {}
        self.compiled: list[Entry] = []
        self._began = time.monotonic()

    def run(self) -> None:
        """Build the ISO and deliver it into the output folder; raises a SynosError, ComponentMissing before any work."""
        layers, booting = self._layers()
        self._warn_of_hooks(layers)
        boot = booting.result()
        kernels, file_systems = boot.facts["kernels"], self._file_systems(layers)
        live = {name: boot.file(name) for files in initramfs.files_of(kernels).values() for name in files}
        tree, target = self.context.work / "iso", self.context.output / publish.ISO
        with self._timed("bootfiles"):
            count = len(file_systems)
            bootfiles.make(self.context, self.plan.build_id, tree, kernels=kernels, file_systems=count)
            if not self.plan.release:  # live-boot stacks these files, the lowest first
                (tree / "live").mkdir()
                (tree / "live/filesystem.module").write_text("".join(f"{name}\n" for name in file_systems))
        live |= file_systems
        with self._timed("iso", target):
            iso.make(self.context, tree, live, target)
        done = [self.done[stage.name] for stage in self.plan.stages]
        publish.deliver(self.context, self.plan, [*layers, *self.compiled], live, done)
        self.context.events.send(Delivered(build_id=self.plan.build_id))

    def store_layers(self) -> None:
        """Make the layers, and the initramfs unless a layer above brings the kernel; raises as run() does."""
        self._layers()
        self.context.events.send(LayersStored())

    def unpack(self) -> None:
        """Make the tree what the ISO holds; raises as run() does."""
        layers, booting = self._layers()
        booting.result()
        began = time.monotonic()
        self.context.events.send(Start(stage=UNPACK))
        self.tree.bring_to(layers)
        self._report(UNPACK, "", began, time.monotonic(), 0, hit=False)

    def _layers(self) -> tuple[list[Entry], Future[Entry]]:
        """Make or take all layers and the initramfs, whose error is for those who need it."""
        self.store.prefetch(stage.key for stage in self.plan.stages if stage.kind not in {"bootfiles", "iso"})
        if not self._awaits:
            self._find_components()
        try:
            return self._root(overlapping=True)
        except InputsModified:
            self.context.events.warn("a stage wrote into a layer below it: layers are made again, one by one")
            return self._root(overlapping=False)

    def _warn_of_hooks(self, layers: list[Entry]) -> None:
        for entry in layers:
            if names := [package["name"] for package in entry.facts.get("hooks_installed", [])]:
                self.context.events.warn(
                    f"hooks installed {', '.join(names[:5])}{' and others' * (len(names) > 5)}: no lock has these, so another "
                    "build may get other versions; name them under `packages:`"
                )

    def _find_components(self) -> None:
        """Take all components from the store, once: this image has no compiler."""
        while self._awaits and not all(self.store.peek(stage.key) for stage in self.plan.components):
            time.sleep(POLL_SECONDS)
        self._awaits, missing = False, []
        for stage in self.plan.components:
            began = time.monotonic()
            if entry := self.store.find(stage.key):
                self.compiled.append(self._hit(stage.name, began, entry))
            else:
                missing.append(stage.name.removeprefix("component-"))
        if missing:
            raise ComponentMissing(
                f"not compiled yet: {', '.join(missing)}",
                where="docker/build/components",
                hint="`inv build.iso` compiles it, and so does `docker build --build-arg SUITE="
                f"{self.context.profile.suite}`: the image is older, or of another suite",
            )

    def _root(self, *, overlapping: bool) -> tuple[list[Entry], Future[Entry]]:
        """Make or take all layers and the initramfs; raises InputsModified when overlapping went wrong."""
        with BackgroundJobs(self.context.stop) as self._jobs:
            layers: list[Layer] = []
            boot: Future[Entry] | None = None
            for stage in self.plan.layers:
                layers.append(self._layer(stage, layers))
                boot = boot or self._begin_initramfs(self.plan.stage("initramfs").key, layers)
                if not overlapping:
                    self._jobs.wait_for([layers[-1].entry, boot])
            assert boot is not None  # noqa: S101  (every plan has a base)
            entries = self._jobs.wait_for([layer.entry for layer in layers])
            touching = {entry.key for entry in entries if entry.facts["initramfs"]}
            # of layers above the base, where one of them brought what belongs into it
            if keys := self.plan.initramfs_layers(touching):
                boot = self._begin_initramfs(self.plan.initramfs_key(keys), layers[: len(keys)])
            with suppress(StageFailed):
                self._jobs.wait_for([boot])
            return entries, boot

    def _layer(self, stage: Stage, below: list[Layer]) -> Layer:
        """Take a layer from the store, or begin to compress it once its stage has worked."""
        if self._awaits and stage.kind == "components":
            self._find_components()
        began = time.monotonic()
        inputs = StageInputs(self.context, self.plan, stage, self.pool, self.compiled)
        with ExitStack() as stack:
            entry = self._found(stage.name, stage.key, began, stack)
            if entry:
                self._refuse_overlaid(stage, entry.facts, below)
                return Layer(stage.key, _done(entry))
            changed, facts = changes_of(inputs, self.tree, self._jobs, below)
            stack.callback(self._jobs.remove, changed)
            self._refuse_overlaid(stage, facts, below)
            if stage.kind not in VERIFIED:
                secrets.refuse(
                    (changed / path for path, _ in walk(changed)), self.context.secrets, stage.name
                )
            making = stack.pop_all()

        def make(folder: Path) -> dict[str, Any]:
            with self.store.tools_write_here():
                compress(inputs, changed, folder)
            return facts

        def work(wait_until_safe: Wait) -> Entry:
            with making:
                return self._make(stage.name, stage.key, began, make, wait_until_safe)

        layer = self._jobs.start(work)
        layer.add_done_callback(lambda future: making.close() if future.cancelled() else None)
        return Layer(stage.key, layer)

    def _refuse_overlaid(self, stage: Stage, facts: Mapping[str, Any], below: list[Layer]) -> None:
        """Raise ProfileError where a layer that is kept when overlays change hides something of them."""
        overlays = [
            layer.entry
            for one, layer in zip(self.plan.layers, below, strict=False)
            if stage.apart and one.kind == OVERLAY
        ]
        if overlays:
            laid = self._jobs.wait_for(overlays)[-1].facts["laid"]
            hooks.refuse_overlaid(self.plan.profile, stage.name, facts["touched"], laid)

    def _begin_initramfs(self, key: str, layers: list[Layer]) -> Future[Entry]:
        """Take the initramfs of some layers, or begin to make it, in a copy that later layers do not change."""
        began = time.monotonic()
        if entry := self.store.find(key):
            return _done(self._hit("initramfs", began, entry))
        copy = self.context.work / f"initramfs-{key}"
        remove(copy)
        bring_tree_to(self.tree, self._jobs, layers)
        try:
            kernels = initramfs.kernel_versions(self.context.root)
        except StageFailed as error:  # not the end yet: a layer above may bring a kernel
            failed: Future[Entry] = Future()
            failed.set_exception(error)
            return failed
        initramfs.prepare(self.context.root, copy)

        def work(wait_until_safe: Wait) -> Entry:
            try:
                make = partial(initramfs.make, self.context, copy, kernels)
                return self._stored("initramfs", key, make, wait_until_safe)
            finally:
                self._jobs.remove(copy)

        return self._jobs.start(work)

    def _file_systems(self, layers: list[Entry]) -> dict[str, Path]:
        if not self.plan.release:
            stages = enumerate(self.plan.layers)
            names = [f"{index:02}-{stage.name[:NAME_LENGTH]}.squashfs" for index, stage in stages]
            return {name: entry.file(SQUASHFS) for name, entry in zip(names, layers, strict=True)}
        stage, name = self.plan.stage("squashfs"), "filesystem.squashfs"

        def make(folder: Path) -> None:
            self.tree.clear()  # what was unpacked, not what was worked in: the bytes must not tell which
            self.tree.bring_to(layers)
            self.tree.settle()
            compression = release_compression(self.plan.profile)
            with self.store.tools_write_here():
                squashfs.make(self.context, stage.name, self.context.root, folder / name, compression)

        return {name: self._stored(stage.name, stage.key, make).file(name)}

    def _stored(self, name: str, key: str, make: Make, wait_until_safe: Wait = lambda: None) -> Entry:
        """Take an entry from the store, or make it."""
        began = time.monotonic()
        with ExitStack() as stack:
            entry = self._found(name, key, began, stack)
            return entry or self._make(name, key, began, make, wait_until_safe)

    def _make(self, name: str, key: str, began: float, make: Make, wait_until_safe: Wait) -> Entry:
        """Make an entry in a slot of the store, by ``make``, which returns its facts. The caller has the key's lock."""
        with self.store.slot() as folder:
            facts, ended = make(folder) or {}, time.monotonic()
            wait_until_safe()
            entry = self.store.commit(key, folder, facts, name)
        self._report(name, key, began, ended, entry.bytes, hit=False)
        return entry

    def _found(self, name: str, key: str, began: float, stack: ExitStack) -> Entry | None:
        """Return a stored entry; or nothing, with the key's lock in ``stack``: then the caller makes it."""
        entry = self.store.find(key)
        if entry is None:
            self.context.events.send(Start(stage=name))
            stack.enter_context(self.store.alone(key))
            entry = self.store.find(key)  # another build may have made it while this one waited
        return self._hit(name, began, entry) if entry else None

    def _hit(self, name: str, began: float, entry: Entry) -> Entry:
        self._report(name, entry.key, began, time.monotonic(), entry.bytes, hit=True, fetched=entry.fetched)
        return entry

    @contextmanager
    def _timed(self, name: str, product: Path | None = None) -> Iterator[None]:
        """Run a stage whose product is not stored: it takes less time than to find it."""
        self.context.events.send(Start(stage=name))
        began = time.monotonic()
        yield
        size = product.stat().st_size if product else 0
        self._report(name, self.plan.stage(name).key, began, time.monotonic(), size, hit=False)

    def _report(
        self, name: str, key: str, began: float, ended: float, size: int, *, hit: bool, fetched: bool = False
    ) -> None:
        seconds, since = round(ended - began, 3), round(began - self._began, 3)
        done = Done(name=name, key=key, hit=hit, fetched=fetched, seconds=seconds, bytes=size, began=since)
        self.done[name] = done
        self.context.events.send(done)


def _done(entry: Entry) -> Future[Entry]:
    future: Future[Entry] = Future()
    future.set_result(entry)
    return future
