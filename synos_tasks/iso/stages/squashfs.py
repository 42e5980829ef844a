"""squashfs: a layer, or in a release the whole root file system, compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.tools import BuildContext

STAGE = StageSpec()
# as much again as the tree otherwise, by default a quarter of the machine's; less of it costs no time
MEMORY = "256M"


def make(context: BuildContext, stage: str, root: Path, target: Path, compression: tuple[str, int]) -> None:
    """Write ``root`` to ``target``; the same tree gives the same bytes, however many cores there are."""
    algorithm, level = compression
    argv = ["mksquashfs", str(root), str(target), "-noappend", "-no-exports", "-mem", MEMORY]
    argv += ["-b", "256K", "-comp", algorithm]
    if algorithm == "zstd":
        argv += ["-Xcompression-level", str(level)]
    context.run(stage, argv)
