"""Long campaigns: builds killed at any moment, and the same bytes again and again."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from scripts.benchmarks.workbench import PROFILE, Workbench, report, workbench
from synos_tasks.iso.publish import STAGING_PREFIX
from tests.build_helpers import wait_until

EMPTY = "/cache/locks:\n\n/cache/tmp:"


def bench_kills(rounds: int, seed: int) -> None:
    """SIGKILL of `inv` and of the container in turn, at a random moment of a build from an empty store."""
    chance = random.Random(seed)
    with workbench() as bench:
        expected = bench.build().json
        longest = expected["seconds"]
        wrong: list[str] = []
        for number in range(rounds):
            bench.clone.in_store("rm -rf /cache/objects/*")
            Path(expected["iso"]).unlink(missing_ok=True)
            moment = chance.uniform(0, longest)
            trouble = _kill(bench, moment, container=bool(number % 2)) or _mended(bench, expected["sha256"])
            print(
                f"{number + 1}: after {moment:.1f} s: {trouble or 'as it must be'}",
                file=sys.stderr,
                flush=True,
            )
            wrong += [trouble] if trouble else []
    report("killed builds that did harm", 0, len(wrong), rounds=rounds, seed=seed, wrong=wrong)


def _kill(bench: Workbench, moment: float, *, container: bool) -> str:
    """Kill a build ``moment`` seconds after its container has come up, unless it is done before."""
    process = bench.clone.start(PROFILE)
    wait_until(lambda: bool(bench.clone.running()) or process.poll() is not None, 30)
    time.sleep(moment)
    if container:
        if running := bench.clone.running():
            subprocess.run(
                ["docker", "kill", *running], check=False, capture_output=True
            )  # it may just have ended
    else:
        process.kill()
    process.communicate(timeout=60)
    return "" if wait_until(lambda: not bench.clone.running(), 15) else "something still runs after 15 s"


def _mended(bench: Workbench, sha256: str) -> str:
    """Build again; tells what is wrong."""
    if bench.build().json["sha256"] != sha256:
        return "other bytes"
    left = bench.clone.in_store("ls -A /cache/locks /cache/tmp")
    partial = list(bench.clone.output.glob(f"{STAGING_PREFIX}*"))
    return "" if left == EMPTY and not partial else f"left: {left} {partial}"


def bench_reproducible(profiles: list[str], rounds: int) -> None:
    """How many different ISOs: of `build.iso`, and over all circumstances of `build.verify-reproducible`."""
    with workbench() as bench:
        for profile in profiles:
            for kind in ((), ("--release",)):
                built = bench.clone.inv("build.iso", "--profile", profile, *kind).json
                verb = ("build.verify-reproducible", "--profile", profile, f"--rounds={rounds}", *kind)
                found = bench.clone.inv(*verb).json
                sums = {built["sha256"], found["sha256"]}
                name = f"different ISOs of {profile} {' '.join(kind)}".strip()
                report(name, 1, len(sums), builds=found["builds"] + 1, sha256=sorted(sums))
