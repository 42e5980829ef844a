"""What every command costs: `inv --list`, and scripts/synos in front of it."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from scripts.benchmarks.workbench import INV, report, seconds
from tests.build_helpers import ROOT


def medians(first: list[str], second: list[str], cwd_second: Path, rounds: int) -> tuple[float, float]:
    """Take turns, so that a busy moment hits both. The second may fail: Invoke does, on an empty tasks.py."""
    pairs = [(seconds(first), seconds(second, cwd_second, fails=True)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def bench_list() -> None:
    """`inv --list` against Invoke with an empty tasks.py."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tasks.py").write_text("")
        ours, empty = medians([str(INV), "--list"], [str(INV), "--list"], Path(folder), 21)
    report("inv --list / empty", 1.25, ours / empty, ours_seconds=ours, empty_seconds=empty)


def bench_setup() -> None:
    """A second `./scripts/synos` against `inv`."""
    ours, plain = medians([str(ROOT / "scripts/synos"), "--list"], [str(INV), "--list"], ROOT, 21)
    report("second call of scripts/synos, seconds added", 0.050, ours - plain)
