"""A matrix of ISOs against as many builds, each from an empty store."""

from __future__ import annotations

import shutil
from itertools import product

from scripts.benchmarks.workbench import INV, report, seconds, workbench

PROFILES, SUITES = ("minimal", "standard"), ("bookworm", "trixie")


def bench_matrix(jobs: int) -> None:
    """Time four ISOs from nothing, together and one by one, then together with a full store; all must have the same bytes."""
    asked = [f"--profiles={','.join(PROFILES)}", f"--suites={','.join(SUITES)}", f"--jobs={jobs}"]
    names = [f"{profile}@{suite}" for profile, suite in product(PROFILES, SUITES)]
    with workbench() as bench:
        clone = bench.clone
        for name in names:
            clone.inv("build.lock", "--profile", name)
            clone.inv("build.plan", "--profile", name)  # makes missing images
        cold = seconds([str(INV), "build.matrix", *asked], clone.root)
        together = _sums(clone.inv("build.matrix", *asked).json["isos"])
        unchanged = seconds([str(INV), "build.matrix", *asked], clone.root)
        shutil.rmtree(clone.output)
        warm = seconds([str(INV), "build.matrix", *asked], clone.root)
        assert _sums(clone.inv("build.matrix", *asked).json["isos"]) == together
        one_by_one: list[float] = []
        sums: dict[str, str] = {}
        for name in names:
            shutil.rmtree(clone.output)
            argv = ["build.iso", "--profile", name]
            one_by_one.append(round(seconds([str(INV), *argv, "--no-cache"], clone.root), 3))
            sums |= _sums([clone.inv(*argv).json])
    if sums != together:
        raise SystemExit(f"other bytes: {together} together, {sums} one by one")
    report(
        "matrix of four, cold / four cold builds", 0.6, cold / sum(one_by_one), cold=cold, alone=one_by_one
    )
    report("matrix of four, full store, seconds", 10.0, warm)
    report("matrix of four, nothing changed, seconds", 10.0, unchanged)


def _sums(isos: list[dict[str, str]]) -> dict[str, str]:
    return {iso["profile"]: iso["sha256"] for iso in isos}
