"""The campaign of attacks: all that SECURITY.md promises, attacked on the real engine, and judged from outside."""

from __future__ import annotations

import collections
import os
import random
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.workbench import report
from synos_tasks.build.planning import Context
from synos_tasks.engine.client import Docker
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import BUILDER
from tests.build_helpers import Clone, HostState, copy_project, docker, host_state
from tests.conftest import remove_labelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROMISED = 120
MOST_KB = 400_000
"""Memory that a command may take, whatever it reads."""
VOLATILE = (
    "fs/aio-nr", "fs/dentry-state", "fs/file-nr", "fs/inode-nr", "fs/inode-state", "fs/quota/", "kernel/ns_last_pid",
    "kernel/perf_event_max_sample_rate", "kernel/pty/nr", "kernel/random/", "net/netfilter/nf_conntrack_count",
)  # fmt: skip
"""Settings that change by themselves."""


@dataclass(frozen=True)
class Tried:
    """One attack, and what came of it: '' where it did not succeed."""

    kind: str
    name: str
    success: str = ""
    moment: str = ""
    """When foreign code ran; the same attack at another moment is another try, but no other attack."""


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str
    kilobytes: int

    def wrong(self, *codes: int) -> str:
        """Tell what is wrong with it where it should have ended with one of ``codes``; '' for nothing."""
        if self.code not in codes:
            return f"ended with {self.code}: {(self.err or self.out)[-400:]}"
        if "Traceback" in self.err:
            return f"a traceback: {self.err[-400:]}"
        if "\x1b" in self.out + self.err:
            return "an escape sequence on the terminal"
        return f"{self.kilobytes} kB of memory" if self.kilobytes > MOST_KB else ""


def command(clone: Clone, *words: str, limit: float = 120, answers: str = "") -> Said:
    """Run a verb to its end; after ``limit`` seconds it is killed, which is the exit code 137."""
    argv = [sys.executable, "-m", "invoke", *words]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    end = time.monotonic() + limit
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with subprocess.Popen(
            argv, cwd=clone.root, env=environment, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True,
            start_new_session=True, errors="replace",
        ) as process:  # fmt: skip
            assert process.stdin
            with suppress(BrokenPipeError):
                process.stdin.write(answers)
                process.stdin.close()
            status, used = _wait(process, end)
        out.seek(0), err.seek(0)
        heard, complained = (stream.read(2**20) for stream in (out, err))
    code = os.waitstatus_to_exitcode(status)
    return Said(code if code >= 0 else 128 - code, heard, complained, used)


def _wait(process: subprocess.Popen[str], end: float) -> tuple[int, int]:
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return status, usage.ru_maxrss
        if time.monotonic() > end:
            process.kill()
        time.sleep(0.02)


@dataclass(frozen=True)
class Host:
    """What attacks must leave as it was: devices with owners, mounts, settings of the kernel, files of the project."""

    state: HostState
    owners: tuple[tuple[str, int, int], ...]
    settings: tuple[tuple[str, str], ...]

    def changes(self, other: Host) -> list[str]:
        """Tell what differs."""
        pairs = [
            ("/dev", self.state.devices, other.state.devices),
            ("owners in /dev", self.owners, other.owners),
            ("mounts", self.state.mounts, other.state.mounts),
            ("settings", self.settings, other.settings),
            ("network devices", self.state.network, other.state.network),
        ]
        return [
            f"{name}: {sorted(map(str, set(one) ^ set(two)))}"[:2000]
            for name, one, two in pairs
            if one != two
        ]


def host(clone: Clone, engine_root: str) -> Host:
    """Look at the host."""
    state = host_state(clone, engine_root)
    owners = []
    for path, _, _ in state.devices:
        with suppress(FileNotFoundError):
            facts = Path(path).lstat()
            owners.append((path, facts.st_uid, facts.st_gid))
    return Host(state, tuple(owners), tuple(_settings()))


def _settings() -> Iterator[tuple[str, str]]:
    root = Path("/proc/sys")
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        devices = name.startswith("net/") and ("/conf/" in name or "/neigh/" in name)
        if (
            path.is_dir()
            or name.startswith(VOLATILE)
            or (devices and not {"all", "default"} & {*name.split("/")})
        ):
            continue
        with suppress(OSError, UnicodeDecodeError):
            yield name, path.read_text()


def listing(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Return mode with type, owner and group of all in a folder, by path."""
    found = [(path, path.lstat()) for path in sorted(folder.rglob("*"))]
    return {
        str(path.relative_to(folder)): (stat.filemode(facts.st_mode), facts.st_uid, facts.st_gid)
        for path, facts in found
    }


@dataclass(frozen=True)
class Ground:
    """Where a campaign takes place."""

    clone: Clone
    folder: Path
    """For what it needs, outside of all projects."""
    image: str

    def new_clone(self, name: str) -> Clone:
        """Copy the project once more."""
        return copy_project(self.folder / name)


def bench_attacks(seed: int, only: str) -> None:
    """Run all kinds of attacks, in an order that the seed decides, or one kind."""
    from scripts.benchmarks import attacks_builds, attacks_inputs, attacks_mirrors, attacks_services  # noqa: PLC0415  (they need this)

    modules = (attacks_builds, attacks_inputs, attacks_mirrors, attacks_services)
    kinds = {name: attack for module in modules for name, attack in module.KINDS.items()}
    if only and only not in kinds:
        raise SystemExit(f"--only takes {', '.join(kinds)}")
    order = [only] if only else random.Random(seed).sample(sorted(kinds), len(kinds))
    began, tried = time.monotonic(), []
    engine_root = docker("info", "--format={{.DockerRootDir}}")
    with tempfile.TemporaryDirectory(prefix="synos-bench-") as place:
        folder = Path(place)
        clone = copy_project(folder / "clone")
        try:
            ground = Ground(clone, folder, ensure_image(Context(clone.settings, Docker(), print), BUILDER))
            for kind in order:
                before = host(clone, engine_root)
                found = list(_safely(kind, kinds[kind](ground)))
                changes = host(clone, engine_root).changes(before)
                tried += [*found, Tried(kind, "the host stays as it is", "; ".join(changes))]
                _tell(kind, found, changes)
        finally:
            for path in folder.glob("*/.synos/id"):
                with suppress(IndexError, ValueError):  # attacked too
                    remove_labelled(path.read_text().split()[0])
    _report(tried, seed, time.monotonic() - began, complete=not only)


def _safely(kind: str, attack: Iterator[Tried]) -> Iterator[Tried]:
    try:
        yield from attack
    except Exception as error:  # noqa: BLE001  (the other kinds go on)
        yield Tried(kind, "the campaign itself", f"{type(error).__name__}: {error}"[:2000])


def _tell(kind: str, found: list[Tried], changes: list[str]) -> None:
    bad = [one for one in found if one.success]
    print(f"{kind}: {len(found)} tried, {len(bad)} succeeded", file=sys.stderr, flush=True)
    for one in bad:
        print(f"  {one.moment} {one.name}: {one.success}", file=sys.stderr, flush=True)
    for change in changes:
        print(f"  the host has changed: {change}", file=sys.stderr, flush=True)


def _report(tried: Iterable[Tried], seed: int, seconds: float, *, complete: bool) -> None:
    tried = list(tried)
    different = {(one.kind, one.name) for one in tried}
    kinds = dict(collections.Counter(kind for kind, _ in sorted(different)))
    facts = {"kinds": kinds, "tries": len(tried), "seed": seed, "seconds": round(seconds)}
    bad = [f"{one.kind}: {one.moment} {one.name}: {one.success}" for one in tried if one.success]
    if complete:
        report(
            "attacks that are missing from the campaign",
            0,
            max(0, PROMISED - len(different)),
            tried=len(different),
        )
    report("attacks that succeeded", 0, len(bad), wrong=bad, **facts)
