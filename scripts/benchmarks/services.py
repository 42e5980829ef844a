"""What is promised of `inv services.*`: how quickly it starts and tells, what a crash leaves, what a backup has."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.benchmarks.workbench import INV, median, report, seconds
from tests.build_helpers import ROOT
from tests.conftest import remove_labelled
from tests.service_clients import CLIENTS, Addresses, NatsClient, Refused
from tests.services_clones import crash, services_clone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.build_helpers import Clone
    from tests.service_clients import ServiceClient

SERVICES = tuple(CLIENTS)
ENGINE = "engine"
RAY = ("--stack", "ray")
SETTLED = 60.0
"""Seconds after which an idle cluster takes what it takes."""
WIPE = ("services.down", "--volumes", "--yes", "--no-backup")
LEAST_RATE = 500.0
RATE = 650.0
"""Writes a second that the load aims at: more than is promised, and not all that goes."""
WRITERS = 2
CHUNK = 10
CALM = (3.0, 8.0)
"""Seconds of load before a kill."""
PATIENCE = 90.0
"""Seconds that a service may take to come back, or to acknowledge again, before the campaign gives up."""


def bench_services() -> None:
    """Starting from nothing, a start with nothing to do, and status, the last two against plain docker compose."""
    with _clone() as clone:
        clone.inv("services.up")  # has the images built
        starts = []
        for _ in range(3):
            clone.inv(*WIPE)
            starts.append(_time(clone, "services.up"))
        report("services.up from nothing, images there, seconds", 20.0, median(starts), all=starts)
        _bench_second_up(clone)
        _bench_status(clone)


def _bench_second_up(clone: Clone) -> None:
    before = sorted(clone.running())
    ours, plain = [], []
    for _ in range(7):
        ours.append(_time(clone, "services.up"))
        plain.append(seconds(_plain(clone, "up", "-d"), clone.root))
    if sorted(clone.running()) != before:
        raise SystemExit("there was something to do: the containers are others")
    over = median(ours) - median(plain)
    found = {"ours_seconds": median(ours), "plain_seconds": median(plain)}
    report("services.up with nothing to do, seconds over docker compose up", 2.0, over, **found)


def _bench_status(clone: Clone) -> None:
    times: dict[str, list[float]] = {"status": [], "ps": [], "version": [], "empty": []}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tasks.py").write_text("")
        for _ in range(11):
            times["status"].append(_time(clone, "services.status"))
            times["ps"].append(seconds(_plain(clone, "ps"), clone.root))
            times["version"].append(_time(clone, "--version"))
            # it fails, on an empty tasks.py
            times["empty"].append(seconds([str(INV), "--list"], Path(folder), fails=True))
    found = {f"{name}_seconds": median(all_) for name, all_ in times.items()}
    report("services.status / docker compose ps", 1.5, found["status_seconds"] / found["ps_seconds"], **found)


def bench_ray() -> None:
    """Ray's head and two workers from nothing, with images there, and what they take when they are idle."""
    with _clone(ray_port="0", ray_dashboard_port="0") as clone:
        clone.inv("services.up", *RAY)  # has the image built
        starts = []
        for _ in range(3):
            clone.inv("services.down", *RAY)
            starts.append(_time(clone, "services.up", *RAY))
        report("services.up of Ray with two workers, images there, seconds", 40.0, median(starts), all=starts)
        time.sleep(SETTLED)
        told = clone.inv("services.status", *RAY).json["services"]
        sizes = {one["name"]: one["memory"] for one in told}
        report("memory of idle Ray with two workers, GB", 1.4, sum(sizes.values()) / 1e9, bytes=sizes)


def bench_kills(rounds: int, seed: int, targets: Sequence[str]) -> None:
    """SIGKILL of a service or the engine under load, again and again; counts acknowledged ids that are gone."""
    if os.geteuid():
        raise SystemExit("services-kills kills other users' processes: run it as root")
    chance = random.Random(seed)
    done: list[Round] = []
    with _clone() as clone:
        clone.inv("services.up")
        loads = [Load(service, Addresses.of(clone)) for service in SERVICES]
        try:
            for number in range(rounds):
                done.append(_round(clone, loads, chance.choice(targets), chance.uniform(*CALM)))
                print(f"{number + 1}: {done[-1]}", file=sys.stderr, flush=True)
        finally:
            for load in loads:
                load.end()
    calm = sum(one.calm for one in done)
    rates = {service: round(sum(one.written[service] for one in done) / calm, 1) for service in SERVICES}
    slowest = {
        service: round(min(one.written[service] / one.calm for one in done), 1) for service in SERVICES
    }
    acknowledged = {load.service: len(load.acknowledged) for load in loads}
    recovery = {
        target: [round(one.recovery, 1) for one in done if one.target == target] for target in targets
    }
    lost = {service: sum(len(one.lost[service]) for one in done) for service in SERVICES}
    report(
        "acknowledged ids that were lost", 0, sum(lost.values()), rounds=rounds, seed=seed, by_service=lost,
        acknowledged=acknowledged, refused={load.service: load.refused for load in loads},
        wrong=[str(one) for one in done if any(one.lost.values())],
    )  # fmt: skip
    report("services healthy after a kill, seconds", 30.0, max(one.recovery for one in done), all=recovery)
    report(
        f"{LEAST_RATE:.0f} / acknowledged writes a second of the slowest service", 1.0,
        LEAST_RATE / min(rates.values()), rates=rates, slowest_rounds=slowest,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Round:
    """One kill. ``calm``: seconds of load before it, in which ``written`` ids were acknowledged by service."""

    target: str
    calm: float
    written: dict[str, int]
    recovery: float
    lost: dict[str, set[int]]

    def __str__(self) -> str:
        lost = ", ".join(f"{len(ids)} of {service} LOST" for service, ids in self.lost.items() if ids)
        rates = ", ".join(f"{service} {number / self.calm:.0f}" for service, number in self.written.items())
        return f"{self.target} killed at {rates} writes/s; {self.recovery:.1f} s; {lost or 'all that was acknowledged is there'}"


@dataclass
class Load:
    """Threads that write to one service until end(), and connect again whenever it goes away."""

    service: str
    addresses: Addresses
    acknowledged: set[int] = field(default_factory=set)
    refused: int = 0
    """How often the right password was not let in."""

    def __post_init__(self) -> None:
        self._ids = itertools.count()
        self._ending = threading.Event()
        self._failed: list[Exception] = []
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let the threads end."""
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            if thread.is_alive():
                print(f"a writer of {self.service} hangs", file=sys.stderr)

    def check(self) -> None:
        """Raise what has ended a thread; a server that goes away does not."""
        if self._failed:
            raise self._failed[0]

    def client(self) -> ServiceClient:
        """Give a client for what the threads write."""
        return CLIENTS[self.service](self.addresses, "kills")

    def _work(self) -> None:
        try:
            client = self.client()
            while not self._ending.is_set():
                try:
                    with client:
                        self._write(client)
                except Refused:
                    self.refused += 1
                except client.lost:
                    pass  # the ids on their way may or may not be there
                self._ending.wait(0.1)
        except Exception as error:  # noqa: BLE001  (raised again by check())
            self._failed.append(error)

    def _write(self, client: ServiceClient) -> None:
        due = time.monotonic()
        while not self._ending.is_set():
            client.write(itertools.islice(self._ids, CHUNK), self.acknowledged.add)
            now = time.monotonic()
            due = max(due + CHUNK * WRITERS / RATE, now)  # what was not written in time is not made up for
            self._ending.wait(due - now)


def _round(clone: Clone, loads: Sequence[Load], target: str, calm: float) -> Round:
    before = {load.service: len(load.acknowledged) for load in loads}
    began = time.monotonic()
    time.sleep(calm)
    written = {load.service: len(load.acknowledged) - before[load.service] for load in loads}
    calm = time.monotonic() - began
    killed = time.monotonic()
    _kill(clone, target)
    recovery = _healthy_again(clone, SERVICES if target == ENGINE else (target,), killed)
    lost = {}
    for load in loads:
        load.check()
        acknowledged = load.acknowledged.copy()
        lost[load.service] = acknowledged - _there(load)
        # the writers are back before the next round measures them
        end = time.monotonic() + PATIENCE
        while len(load.acknowledged) <= len(acknowledged):
            if time.monotonic() > end:
                raise SystemExit(f"{load.service} acknowledges nothing {PATIENCE:.0f} s after it was healthy")
            time.sleep(0.1)
    return Round(target=target, calm=calm, written=written, recovery=recovery, lost=lost)


def _kill(clone: Clone, target: str) -> None:
    """Kill a main process as a crash does: `docker kill` would count as a person's wish, and be the end of it."""
    if target == ENGINE:
        pid = int(Path("/var/run/docker.pid").read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() != "dockerd":
            raise SystemExit(f"process {pid} is no dockerd")
        os.kill(pid, signal.SIGKILL)
        # as whoever finds the engine gone does
        subprocess.run([str(ROOT / "scripts/synos"), "--list"], check=True, stdout=subprocess.DEVNULL)
        return
    crash(clone, target)


def _healthy_again(clone: Clone, restarted: Sequence[str], killed: float) -> float:
    """Seconds from the kill until status says that all are healthy, and those that were killed are newly started."""
    while True:
        found = _status(clone)
        passed = time.monotonic() - killed
        new = {name for name, one in found.items() if one["uptime"] is not None and one["uptime"] <= passed}
        if new >= set(restarted) and all(one["health"] == "healthy" for one in found.values()):
            return passed
        if passed > PATIENCE:
            for name in restarted:
                words = [str(INV), "services.logs", f"--only={name}", "--tail=20"]
                subprocess.run(words, cwd=clone.root, stdout=sys.stderr, check=False)
            raise SystemExit(f"not healthy {passed:.0f} s after the kill: {json.dumps(found)}")
        time.sleep(0.1)


def _status(clone: Clone) -> dict[str, dict[str, Any]]:
    """Services by name; {} while no engine answers."""
    argv = [str(INV), "services.status", "--json"]
    done = subprocess.run(argv, cwd=clone.root, capture_output=True, text=True, check=False)
    return {one["name"]: one for one in json.loads(done.stdout)["services"]} if done.returncode == 0 else {}


def _there(load: Load) -> set[int]:
    """Ids that a service has; one that is healthy answers at once, or it is said."""
    client = load.client()
    for _ in range(5):
        try:
            with client:
                return client.ids()
        except client.lost as error:
            print(f"{load.service} is healthy and does not answer: {error}", file=sys.stderr)
            time.sleep(1)
    raise SystemExit(f"{load.service} is healthy and cannot be read")


def bench_backup(count: int) -> None:
    """Everything that a backup has is restored as it was: in another clone, and in its own after its data is gone."""
    with _clone() as first, _clone() as second:
        first.inv("services.up")
        began = time.perf_counter()
        _fill(first, count)
        filled = time.perf_counter() - began
        expected = _held(first)
        began = time.perf_counter()
        backup = first.inv("services.backup").json
        saved = time.perf_counter() - began
        sizes = {
            service: sum(path.stat().st_size for path in Path(backup["path"], service).iterdir())
            for service in SERVICES
        }
        moved = second.root.parent / "moved" / backup["name"]
        shutil.copytree(backup["path"], moved)

        second.inv("services.up")
        there = _restored(second, str(moved), expected)
        first.inv(*WIPE)
        here = _restored(first, backup["name"], expected)
    report(
        "kinds of data unequal after a restore in another clone", 0, len(there.unequal), of=sorted(expected),
        count=count, unequal=there.unequal, seconds=there.seconds, backup_seconds=round(saved, 3),
        backup_bytes=backup["bytes"], by_service=sizes, fill_seconds=round(filled, 3),
    )  # fmt: skip
    report(
        "kinds of data unequal after a restore in its own clone, wiped", 0, len(here.unequal), of=sorted(expected),
        count=count, unequal=here.unequal, seconds=here.seconds,
    )  # fmt: skip


@dataclass(frozen=True)
class Restored:
    """How long a restore took, and what is not as it was."""

    seconds: float
    unequal: dict[str, list[Any]]


def _fill(clone: Clone, count: int) -> None:
    addresses = Addresses.of(clone)
    for kind in CLIENTS.values():
        with kind(addresses, "backup") as client:
            client.write_many(count)
            client.write(range(count, count + 100))
            if isinstance(client, NatsClient):
                some = max(2, min(count // 10, 1000))
                client.consume("everything", some)
                client.consume("one-subject", some, "3")
                client.consume(
                    "from-the-middle", some, deliver_policy="by_start_sequence", opt_start_seq=count // 2
                )


def _held(clone: Clone) -> dict[str, Any]:
    """What the services hold, by kind of data."""
    addresses = Addresses.of(clone)
    held: dict[str, Any] = {}
    for kind in CLIENTS.values():
        with kind(addresses, "backup") as client:
            held[client.service] = (len(client.ids()), client.digest())
            if isinstance(client, NatsClient):
                held["nats, the stream"], held["nats, consumers"] = client.stream(), client.consumers()
    return held


def _restored(clone: Clone, name: str, expected: dict[str, Any]) -> Restored:
    began = time.perf_counter()
    clone.inv("services.restore", name, "--yes")
    took = time.perf_counter() - began
    held = _held(clone)
    unequal = {what: [expected[what], held[what]] for what in expected if held[what] != expected[what]}
    return Restored(round(took, 3), unequal)


@contextmanager
def _clone(**settings: str) -> Iterator[Clone]:
    """Give a clone whose services have ports of their own, and remove all of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="synos-bench-") as folder:
        clone = services_clone(Path(folder, "clone"), **settings)
        try:
            yield clone
        finally:
            remove_labelled(clone.settings.project.id)


def _time(clone: Clone, *arguments: str) -> float:
    return seconds([str(INV), *arguments], clone.root)


def _plain(clone: Clone, *words: str) -> list[str]:
    """Docker compose by itself, as a person would call it for the same stack."""
    return [
        "docker", "compose", "--env-file", ".synos/services/unified/compose.env",
        "-f", "docker/services/docker-compose.unified.yml", "-p", f"{clone.settings.project.id}-unified", *words,
    ]  # fmt: skip
