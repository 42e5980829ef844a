"""A matrix of ISOs against as many builds, each from an empty store."""

from __future__ import annotations

import shutil
import time
from itertools import product
from typing import TYPE_CHECKING

from scripts.benchmarks.workbench import report, workbench

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.build_helpers import Answer, Clone

FAMILY = {"reader": "less", "editor": "nano", "terminal": "tmux"}
"""Profiles that inherit `minimal`, with the package that each adds."""


def bench_matrix(jobs: int) -> None:
    """Time two matrices of four ISOs against four builds: profiles that inherit one, and two profiles with two suites.

    Of the second only `minimal` is common. On two cores most of its time is the Rust compiler's, once for each suite.
    """
    _compare("inherited", 0.6, ["minimal", *FAMILY], jobs)
    suites = [
        f"{profile}@{suite}" for profile, suite in product(("minimal", "standard"), ("bookworm", "trixie"))
    ]
    _compare("suites", 0.6, suites, jobs)


def _compare(what: str, promised: float, names: Sequence[str], jobs: int) -> None:
    """Build all together, with an empty store and with a full one, and one by one; all must have the same bytes."""
    asked = ["build.matrix", f"--profiles={','.join(names)}", f"--jobs={jobs}", "--output=together"]
    with workbench() as bench:
        clone = bench.clone
        for name, package in FAMILY.items():
            text = f"inherits: minimal\nhostname: {name}\npackages: [{package}]\n"
            clone.add(f"docker/build/profiles/{name}.yaml", text)
        for name in names:
            clone.inv("build.lock", "--profile", name)
            clone.inv("build.plan", "--profile", name)  # makes missing images
        cold, first = _timed(clone, *asked)
        unchanged, _ = _timed(clone, *asked)
        shutil.rmtree(clone.root / "together")
        warm, again = _timed(clone, *asked)
        alone = [
            _timed(clone, "build.iso", "--profile", name, "--no-cache", "--output=alone") for name in names
        ]
    sums = [
        _sums(*(answer.json for _, answer in alone)),
        *(_sums(*one.json["isos"]) for one in (first, again)),
    ]
    if any(one != sums[0] for one in sums):
        raise SystemExit(f"other bytes: {sums}")
    times = [seconds for seconds, _ in alone]
    title = f"matrix of four, {what}"
    report(f"{title}: cold / four cold builds", promised, cold / sum(times), cold=cold, alone=times)
    report(f"{title}: full store, seconds", 10.0, warm)
    report(f"{title}: nothing changed, seconds", 3.0, unchanged)


def _timed(clone: Clone, *words: str) -> tuple[float, Answer]:
    began = time.perf_counter()
    answer = clone.inv(*words)
    return round(time.perf_counter() - began, 3), answer


def _sums(*isos: dict[str, str]) -> dict[str, str]:
    return {iso["profile"]: iso["sha256"] for iso in isos}
