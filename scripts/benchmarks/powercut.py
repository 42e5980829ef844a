"""Power cuts: the services' own files in a guest whose QEMU is killed under load; what was acknowledged must be there.

SIGKILL of a server leaves what it wrote in the kernel's page cache. SIGKILL of QEMU takes the guest's page cache away, but what
the guest has written to its disk stays in the host's, flushed or not. So the disk is strict: QEMU logs all writes and flushes
(blklogwrites), and after a cut the disk has what was written before the last flush, and of the writes after it all, half or
none, as a drive that loses its cache. A write counts as acknowledged once a client on the host has read so.

The guest is an ISO of ours with Debian's packages and docker/services/{nats,postgres,redis} as they are: start, apply, conf.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from scripts.benchmarks import powercut_builds
from scripts.benchmarks.powercut_guest import BOOT_SECONDS, Guest, power_guest
from scripts.benchmarks.workbench import report
from tests.service_clients import CLIENTS, Addresses, Refused, ServiceClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVICES = tuple(CLIENTS)
PORTS = {"nats": 4222, "postgres": 5432, "redis": 6379}
PASSWORD = "powercut"
LEAST_RATE = 300.0
RATE = 450.0
"""Writes a second that the load aims at, per service."""
WRITERS = {"nats": 16, "postgres": 4, "redis": 4}
"""By service, each with a stream, table or prefix of its own. NATS waits for the disk once for each message of a stream."""
TOGETHER = 15
"""Writes of a writer that wait for their acknowledgements at a time. PostgreSQL's are one commit."""
SAME = 5
"""Cuts after which writers take new streams, tables and prefixes: making one is acknowledged, too."""
CALM = (3.0, 8.0)
"""Seconds of load before a cut."""
T = TypeVar("T")


class Writer(threading.Thread):
    """Writes with one client until end(), and keeps the ids that were acknowledged, of all its lives."""

    def __init__(self, client: ServiceClient, first: int, acknowledged: set[int]) -> None:
        super().__init__(daemon=True)
        self.client, self.next, self.acknowledged = client, first, acknowledged
        self._ending = threading.Event()
        self.start()

    def end(self) -> None:
        """End, whatever it waits for."""
        self._ending.set()
        self.join(BOOT_SECONDS)

    def run(self) -> None:
        """Write at the pace that RATE asks for; what was not written in time is not made up for."""
        while not self._ending.is_set():
            try:
                with self.client:
                    while not self._ending.is_set():
                        due = time.monotonic() + TOGETHER * WRITERS[self.client.service] / RATE
                        ids = range(self.next, self.next + TOGETHER)
                        self.next = ids.stop
                        self.client.write_together(ids, self.acknowledged.add)
                        self._ending.wait(due - time.monotonic())
            except self.client.lost:  # the ids on their way may or may not be there
                self._ending.wait(0.1)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One cut: what the disk lost; seconds until all three had answered; acknowledged writes a second before it; ids lost."""

    boot_seconds: float
    calm: float
    rates: dict[str, float]
    lost: dict[str, int]
    acknowledged: dict[str, int]
    disk: dict[str, Any]


class Campaign:
    """Cuts of one guest, and all that was ever acknowledged in it."""

    def __init__(self, guest: Guest, secrets: Path, chance: random.Random, *arguments: str) -> None:
        self._guest, self._secrets, self._chance, self._arguments = guest, secrets, chance, arguments
        self._acknowledged: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self._next: dict[tuple[str, str], int] = {}
        secrets.mkdir()
        for service in SERVICES:
            (secrets / f"{service}_password").write_text(PASSWORD)

    def boot(self) -> tuple[Addresses, float]:
        """Switch the guest on; return where its servers are and how long it took until all three answered."""
        began = time.monotonic()
        found = self._guest.start(*self._arguments, ports=tuple(PORTS.values()))
        addresses = Addresses(
            ports={name: found[port] for name, port in PORTS.items()}, secrets=self._secrets
        )
        for service in SERVICES:
            self._ask(addresses, service, "any", lambda client: client.ids())
        return addresses, time.monotonic() - began

    def _ask(
        self, addresses: Addresses, service: str, namespace: str, ask: Callable[[ServiceClient], T]
    ) -> T:
        end = time.monotonic() + BOOT_SECONDS
        while True:
            client = CLIENTS[service](addresses, namespace)
            try:
                with client:
                    return ask(client)
            except Exception as error:
                if not isinstance(error, (Refused, *client.lost)):
                    raise
                if time.monotonic() > end:
                    raise SystemExit(
                        f"{service} does not answer: {error}\n{self._guest.console()}"
                    ) from error
                time.sleep(0.5)

    def lost(self, addresses: Addresses) -> dict[str, int]:
        """Count what was acknowledged and is not there, by service, once."""
        lost = dict.fromkeys(SERVICES, 0)
        for (service, namespace), acknowledged in self._acknowledged.items():
            gone = acknowledged - self._ask(addresses, service, namespace, lambda client: client.ids())
            lost[service] += len(gone)
            acknowledged.difference_update(gone)
        return lost

    def cut(self, number: int, addresses: Addresses) -> tuple[Addresses, Cut]:
        """Cut the power under load, boot and count."""
        keys = [
            (service, f"cut{number // SAME}w{one}") for service in SERVICES for one in range(WRITERS[service])
        ]
        writers = {
            key: Writer(CLIENTS[key[0]](addresses, key[1]), self._next.get(key, 0), self._acknowledged[key])
            for key in keys
        }
        idle = {key: len(self._acknowledged[key]) for key in keys}
        while not all(len(self._acknowledged[key]) > idle[key] for key in keys):
            time.sleep(0.05)
        before, began, calm = self._count(), time.monotonic(), self._chance.uniform(*CALM)
        time.sleep(calm)
        after, calm = self._count(), time.monotonic() - began
        self._guest.cut()
        for key, writer in writers.items():
            writer.end()
            self._next[key] = writer.next
        acknowledged = self._count()
        disk = self._guest.lose(self._chance)
        addresses, seconds = self.boot()
        rates = {service: round((after[service] - before[service]) / calm, 1) for service in SERVICES}
        found = Cut(
            boot_seconds=round(seconds, 1), calm=round(calm, 1), rates=rates, lost=self.lost(addresses),
            acknowledged=acknowledged, disk=disk,
        )  # fmt: skip
        print(f"{number + 1}: {json.dumps(asdict(found))}", file=sys.stderr, flush=True)
        return addresses, found

    def _count(self) -> dict[str, int]:
        return {
            service: sum(len(ids) for (one, _), ids in list(self._acknowledged.items()) if one == service)
            for service in SERVICES
        }


def bench_power_cuts(rounds: int, seed: int, *, control: bool) -> None:
    """Cut the services' power; with ``control`` their settings are those that lose writes, and each of them must."""
    with power_guest() as (guest, folder):
        campaign = Campaign(guest, folder / "secrets", random.Random(seed), *["control"] * control)
        addresses, _ = campaign.boot()
        cuts = []
        for number in range(rounds):
            addresses, found = campaign.cut(number, addresses)
            cuts.append(found)
        late = campaign.lost(addresses)
    lost = {service: sum(cut.lost[service] for cut in cuts) + late[service] for service in SERVICES}
    calm = sum(cut.calm for cut in cuts)
    rates = {
        service: round(sum(cut.rates[service] * cut.calm for cut in cuts) / calm, 1) for service in SERVICES
    }
    facts = {
        "rounds": rounds, "seed": seed, "accelerator": guest.accelerator, "by_service": lost, "rates": rates,
        "acknowledged": cuts[-1].acknowledged, "by_cut": [cut.lost for cut in cuts], "disk": [cut.disk for cut in cuts],
    }  # fmt: skip
    if control:
        kept = [service for service in SERVICES if not lost[service]]
        report("services that lost nothing, with settings that do", 0, len(kept), **facts)
        return
    report("acknowledged writes lost by power cuts", 0, sum(lost.values()), **facts)
    slowest = min(rates.values())
    report(
        f"{LEAST_RATE:.0f} / acknowledged writes a second of the slowest service",
        1.0,
        LEAST_RATE / max(slowest, 0.1),
    )


def bench_power_cuts_store(rounds: int, seed: int) -> None:
    """Cut the power of builds through our store and publish(); see powercut_builds.py."""
    chance, faults, promised, start = random.Random(seed), list[str](), dict[str, str](), 0
    committed: set[str] = set()
    stages = 0
    with power_guest() as (guest, _):
        for number in range(rounds + 1):
            guest.start(f"builds={start}")
            _await(guest, f"published {start} ")  # the build that the cut before has ended too early
            if number < rounds:
                time.sleep(chance.uniform(0, CALM[1]))
            guest.cut()
            said = _said(guest)
            new = _faults(said, promised, committed)
            faults += new
            published = [line.split() for line in said if line.startswith("published ")]
            promised |= {name: digest for _, _, name, digest in published}
            start = int(published[-1][1]) + 1
            committed = {line.partition(" ")[2] for line in said if line.startswith(f"committed {start} ")}
            stages += len(committed)
            disk = guest.lose(chance)
            found = {
                "published": len(promised),
                "committed_of_the_cut_build": len(committed),
                "faults": new,
                **disk,
            }
            print(f"{number + 1}: {json.dumps(found)}", file=sys.stderr, flush=True)
    report(
        "promises of the store and of publish() that power cuts broke", 0, len(faults), rounds=rounds, seed=seed,
        published=len(promised), unfinished_stages_kept=stages, faults=faults,
    )  # fmt: skip


def _said(guest: Guest) -> list[str]:
    """What the guest has promised, in whole lines."""
    return re.findall(r"POWERCUT ([^\r\n]*)\r?\n", guest.console())


def _await(guest: Guest, words: str) -> None:
    end = time.monotonic() + BOOT_SECONDS
    while not any(line.startswith(words) for line in _said(guest)):
        if time.monotonic() > end:
            raise SystemExit(f"the guest does not say {words!r}:\n{guest.console()}")
        time.sleep(0.2)


def _faults(said: list[str], promised: dict[str, str], committed: set[str]) -> list[str]:
    """Return what a guest says after a cut against what was promised before it."""
    there = {name: digest for _, name, digest in (line.split() for line in said if line.startswith("there "))}
    faults = [line for line in said if line.startswith(("damaged ", "dangling ")) or line.endswith(" WRONG")]
    faults += [f"lost or changed: {name}" for name, digest in promised.items() if there.get(name) != digest]
    faults += [f"made again: stage {stage}" for stage in committed if f"making {stage}" in said]
    for number, digest in (line.split()[1::2] for line in said if line.startswith("published ")):
        if digest != powercut_builds.expected(int(number)):
            faults.append(f"build {number} has other bytes")
    return faults
