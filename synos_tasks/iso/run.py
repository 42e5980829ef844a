"""Executes a plan: stages in order, the initramfs beside the squashfs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from synos_tasks.iso import deliver
from synos_tasks.iso.stages import bootfiles, customise, image, initramfs, rootfs, squashfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from synos_tasks.iso.tools import Workshop


class Runner:
    """One execution of a plan."""

    def __init__(self, shop: Workshop) -> None:
        """Nothing is done before run()."""
        self.shop = shop
        self.done: list[dict[str, Any]] = []

    def run(self) -> None:
        """Build the ISO and deliver it into the output folder; raises a SynosError."""
        shop = self.shop
        with self.stage("rootfs", shop.root):
            rootfs.make(shop)
        epoch = customise.epoch(shop.root)
        ident = customise.build_id(shop)
        with self.stage("customise"):
            customise.make(shop)
        live = shop.tree / "live"
        with ThreadPoolExecutor(2) as pool:
            beside = pool.submit(self._initramfs)
            with self.stage("squashfs", live / "filesystem.squashfs"):
                squashfs.make(shop, epoch)
            beside.result()
        with self.stage("bootfiles", shop.work / "efi.img"):
            bootfiles.make(shop, ident, epoch)
        iso = shop.output / deliver.ISO
        with self.stage("iso", iso):
            image.make(shop, iso, epoch)
        digest = deliver.deliver(shop, ident, self.done)
        shop.events.send("delivered", build_id=ident, sha256=digest)

    def _initramfs(self) -> None:
        with self.stage("initramfs", self.shop.tree / "live/initrd.img"):
            initramfs.make(self.shop)

    @contextmanager
    def stage(self, name: str, product: Path | None = None) -> Iterator[None]:
        """Tell that a stage starts and ends, how long it took, and the bytes of its product."""
        events = self.shop.events
        key = next(stage.key for stage in self.shop.plan.stages if stage.name == name)
        events.send("start", stage=name)
        began = time.monotonic()
        yield
        fields = {
            "name": name,
            "key": key,
            "hit": False,
            "seconds": round(time.monotonic() - began, 3),
            "bytes": _size(product),
        }
        self.done.append(fields)
        events.send("done", stage=name, **fields)


def _size(product: Path | None) -> int:
    """Bytes of a file, or of all files below a folder; 0 for a stage without a product."""
    if product is None:
        return 0
    if product.is_file():
        return product.stat().st_size
    return sum(
        path.lstat().st_size for path in product.rglob("*") if path.is_file() and not path.is_symlink()
    )
