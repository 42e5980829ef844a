"""What builds take: memory of the container, and room in the store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.workbench import PROFILE, report, workbench

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen

MB = 10**6
# cgroup v1, cgroup v2
PEAKS = ("memory.max_usage_in_bytes", "memory.peak")


def bench_memory() -> None:
    """Most memory that the container of a cold build of `minimal` had, page cache and tmpfs included; in GB."""
    with workbench() as bench:
        bench.build()
        layered = _peak_of(bench.clone.start(PROFILE, options=("--no-cache",)), bench.clone.running)
        release = _peak_of(
            bench.clone.start(PROFILE, options=("--no-cache", "--release")), bench.clone.running
        )
    report("peak memory of the container, GB", 1.5, layered / 10**9)
    report("peak memory of the container, --release, GB", 1.5, release / 10**9)


def bench_growth() -> None:
    """Growth of the store by each of five builds that differ by one file; in MB."""
    with workbench() as bench:
        bench.build()
        before = int(bench.clone.in_store("du -sb /cache").split()[0])
        for _ in range(5):
            bench.touch()
            bench.build()
        after = int(bench.clone.in_store("du -sb /cache").split()[0])
    report("growth of the store by build, MB", 5.0, (after - before) / 5 / MB, store_bytes=after)


def _peak_of(process: Popen[str], running: Callable[[], list[str]]) -> int:
    """Follow a build to its end; the kernel keeps the highest value itself."""
    peak = 0
    while process.poll() is None:
        for ident in running():
            for name in PEAKS:
                for path in Path("/sys/fs/cgroup").glob(f"**/*{ident}*/{name}"):
                    peak = max(peak, _read(path))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(process.communicate()[1])
    return peak


def _read(path: Path) -> int:
    try:
        return int(path.read_text())
    except OSError:  # the container has just ended
        return 0
