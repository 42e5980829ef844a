"""squashfs: the root file system, compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synos_tasks.iso.tools import Workshop

STAGE = "squashfs"


def make(shop: Workshop, epoch: int) -> None:
    """Write live/filesystem.squashfs of the ISO. ``epoch`` clamps all dates, seconds since 1970."""
    profile = shop.plan.profile
    live = shop.tree / "live"
    live.mkdir(parents=True, exist_ok=True)
    argv = ["mksquashfs", str(shop.root), str(live / "filesystem.squashfs"), "-noappend", "-no-exports"]
    argv += ["-b", "1M" if profile.compression == "xz" else "256K", "-comp", profile.compression]
    if profile.compression == "zstd":
        argv += ["-Xcompression-level", str(profile.compression_level)]
    argv += ["-wildcards", "-e", "run/*", "tmp/*"]
    shop.run(STAGE, argv, environment={"SOURCE_DATE_EPOCH": str(epoch)})
