"""Builds after a change, and from nothing; alone, or against other tools in the same run."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from scripts.benchmarks.workbench import Workbench, median, report, workbench
from tests.build_helpers import ROOT, docker

ROUNDS = 5


def bench_rebuild() -> None:
    """Nothing changed, one file changed, also with hooks that do not read it, one package added; in seconds."""
    with workbench() as bench:
        _rebuilds(bench)


def bench_peers(live_build: Path, mkosi: Path | None) -> None:
    """All that is promised against live-build and mkosi. Each script is called as `SCRIPT OUT_DIR [COMPRESSION]`."""
    with tempfile.TemporaryDirectory(dir=ROOT / ".synos") as folder, workbench() as bench:
        ours = _rebuilds(bench) | _cold(bench)
        sizes = {"release": ours.pop("release_bytes")}
        zstd = _cases(live_build, Path(folder, "zstd"), "zstd")
        xz = _cases(live_build, Path(folder, "xz"), "xz", last="cold")
        other = _cases(mkosi, Path(folder, "mkosi")) if mkosi else {}
    said = {"ours": ours, "live_build_zstd": zstd, "live_build_xz": xz, "mkosi": other}
    report("one file changed / live-build", 0.02, ours["touch"] / zstd["touch"]["seconds"], **said)
    report("one package added / live-build", 0.06, ours["package"] / zstd["package"]["seconds"])
    report("cold zstd / live-build", 0.20, ours["cold"] / zstd["cold"]["seconds"])
    report("cold zstd, no lock yet / live-build", 0.20, ours["cold_unlocked"] / zstd["cold"]["seconds"])
    report("cold release xz / live-build", 0.40, ours["cold_release"] / xz["cold"]["seconds"])
    report(
        "release xz, size / live-build",
        0.7,
        sizes["release"] / xz["cold"]["iso_bytes"],
        bytes=sizes["release"],
    )
    for case in ("touch", "package", "cold"):
        if case in other:
            report(f"{case} / mkosi's tree without an ISO", 1.0, ours[case] / other[case]["seconds"])


def _rebuilds(bench: Workbench) -> dict[str, float]:
    bench.build()
    nothing = [bench.time() for _ in range(ROUNDS)]
    touch = _touched(bench)
    package = []
    for name in ("tmux", "less", "netbase"):
        bench.packages(name)
        package.append(bench.time())
    bench.hooks(60, 1, 1)
    bench.build()
    hooks = _touched(bench)
    bench.packages()
    report("nothing changed, seconds", 1.0, median(nothing), all=nothing)
    report("one file changed, seconds", 4.0, median(touch), all=touch)
    report("one file changed that three hooks do not read, seconds", 2.5, median(hooks), all=hooks)
    report("one package added, seconds", 12.0, median(package), all=package)
    return {"nothing": median(nothing), "touch": median(touch), "package": median(package)}


def _touched(bench: Workbench) -> list[float]:
    times = []
    for _ in range(ROUNDS):
        bench.touch()
        times.append(bench.time())
    return times


def _cold(bench: Workbench) -> dict[str, float]:
    bench.build()
    cold = median([bench.time("--no-cache") for _ in range(3)])
    lock = bench.clone.root / "docker/build/profiles/bench.lock.yaml"
    lock.unlink()
    unlocked = bench.time("--no-cache")
    release = median([bench.time("--no-cache", "--release") for _ in range(2)])
    return {
        "cold": cold,
        "cold_unlocked": unlocked,
        "cold_release": release,
        "release_bytes": bench.iso_bytes(),
    }


def _cases(script: Path, output: Path, *arguments: str, last: str = "") -> dict[str, dict[str, Any]]:
    """Run a peer and give its lines by case; after case ``last``, or at its end, what it started is ended."""
    cases: dict[str, dict[str, Any]] = {}
    with subprocess.Popen(
        [str(script), str(output), *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            case = json.loads(line)
            cases[case["case"]] = case
            if case["case"] == last:
                # its container is the one that has this folder
                docker("rm", "--force", *docker("ps", "--quiet", f"--filter=volume={output}").split())
                return cases
    if process.returncode:
        raise SystemExit(f"{script} ended with {process.returncode}")
    return cases
