"""Damage of what a service stores, done to its files, and what heals it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.build_helpers import docker, wait_until
from tests.service_clients import NatsClient
from tests.services_clones import SERVICES, client, container, inspected, shell

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.build_helpers import Clone

SAVED, LATER = 600, 300
"""Items that are in the backup, and those that came after it."""
OVERWRITE = 'write() { size=$(stat -c %s "$1"); head -c 12 /dev/urandom | dd of="$1" bs=1 seek=$((size * $2 / 1000)) conv=notrunc 2>/dev/null; }; '
CUT = 'cut_off() { truncate -s $(($(stat -c %s "$1") * $2 / 1000)) "$1"; }; '
AOF, WAL, STREAM = "appendonlydir/*", "17/pg_wal/0*", "jetstream/SYNOS/streams/damage"
BLOCK = f"$(ls -v {STREAM}/msgs/*.blk | head -n 1)"


@dataclass(frozen=True)
class Kind:
    """A damage: to whose files, by which shell command in the volume, and whether the server runs meanwhile.

    In the command, $1 is where in a file, in thousandths, and $2 a path that the server told.
    """

    service: str
    name: str
    script: str
    live: bool = False
    kill: bool = False
    """Whether the server is killed before, where it does not run meanwhile; or else it is stopped."""
    noticed: bool = True
    """Whether anybody could notice it, wherever in the file it is."""


KINDS = (
    Kind("redis", "incr overwritten, running", f"write {AOF}.incr.aof $1", live=True, noticed=False),
    Kind("redis", "incr overwritten", f"write {AOF}.incr.aof $1", noticed=False),
    Kind("redis", "incr overwritten, killed", f"write {AOF}.incr.aof $1", kill=True, noticed=False),
    Kind("redis", "incr cut", f"cut_off {AOF}.incr.aof $1"),
    Kind("redis", "incr missing", f"rm {AOF}.incr.aof"),
    Kind("redis", "base overwritten", f"write {AOF}.base.rdb $1"),
    Kind("redis", "base cut", f"cut_off {AOF}.base.rdb $1"),
    Kind("redis", "base missing", f"rm {AOF}.base.rdb"),
    Kind("redis", "manifest overwritten", f"write {AOF}.manifest 100"),
    Kind("redis", "manifest missing", f"rm {AOF}.manifest"),
    Kind("redis", "manifest empty", f": > $(echo {AOF}.manifest)"),
    Kind("redis", "owner", "chown -R 0:0 ."),
    Kind("redis", "mode", "chmod 000 appendonlydir"),
    Kind("postgres", "page of a table, running", "write 17/$2 $1", live=True),
    Kind("postgres", "page of a table", "write 17/$2 $1"),
    Kind("postgres", "page of a table, killed", "write 17/$2 $1", kill=True),
    Kind("postgres", "table missing, running", "rm 17/$2", live=True),
    Kind("postgres", "table missing", "rm 17/$2"),
    Kind("postgres", "table cut, running", "truncate -s 8192 17/$2", live=True),
    Kind("postgres", "pg_control overwritten", "write 17/global/pg_control 10"),
    Kind("postgres", "pg_control missing", "rm 17/global/pg_control"),
    Kind("postgres", "WAL missing", f"rm {WAL}"),
    Kind("postgres", "WAL overwritten", f"for one in {WAL}; do head -c 16777216 /dev/urandom > $one; done", kill=True),
    Kind("postgres", "PG_VERSION missing", "rm 17/PG_VERSION"),
    Kind("postgres", "owner", "chown -R 0:0 17"),
    Kind("postgres", "mode", "chmod 755 17"),
    Kind("nats", "message overwritten", f"write {BLOCK} $1"),
    Kind("nats", "size of a record overwritten", f"printf '\\377\\377\\377' | dd of={BLOCK} bs=1 seek=1 conv=notrunc"),
    Kind("nats", "block cut", f"cut_off {BLOCK} $1"),
    Kind("nats", "block missing", f"rm {BLOCK}"),
    Kind("nats", "index overwritten", f"write {STREAM}/msgs/index.db $1", noticed=False),
    Kind("nats", "index missing", f"rm {STREAM}/msgs/index.db", noticed=False),
    Kind("nats", "meta.inf overwritten", f"write {STREAM}/meta.inf $1"),
    Kind("nats", "meta.inf missing", f"rm {STREAM}/meta.inf"),
    Kind("nats", "meta.sum missing", f"rm {STREAM}/meta.sum"),
    Kind("nats", "owner", "chown -R 0:0 ."),
)  # fmt: skip


@dataclass
class Stack:
    """A stack whose services hold the same items, some of them in a backup."""

    clone: Clone
    items: dict[str, set[int]] = field(default_factory=dict)

    def fill(self) -> None:
        """Have each service hold all items, those of the backup first."""
        for ids in (range(SAVED), range(SAVED, SAVED + LATER)):
            for service in SERVICES:
                with client(self.clone, service, "damage") as one:
                    one.write(set(ids) - self.held(service))
            if ids[0] == 0 and not (self.clone.root / ".synos/backups/unified/saved").exists():
                self.clone.inv("services.backup", "--name", "saved")
        shell(self.clone, "services.psql", "--", "-c", "VACUUM ANALYZE damage")
        shell(self.clone, "services.psql", "--superuser", "--", "-c", "CHECKPOINT")
        self.items = {service: self.held(service) for service in SERVICES}

    def held(self, service: str) -> set[int]:
        """The items of a service; of NATS as many as there are, since a client waits for those that are gone."""
        with client(self.clone, service, "damage") as one:
            if isinstance(one, NatsClient):
                return set(range(one.stream().get("state", {}).get("messages", 0)))
            return one.intact()

    def lives(self) -> dict[str, tuple[str, str, int]]:
        """What changes where a service is restarted: container, start, restarts."""
        found = {service: inspected(self.clone, service) for service in SERVICES}
        return {
            service: (one["Id"], one["State"]["StartedAt"], one["RestartCount"])
            for service, one in found.items()
        }

    def damage(self, kind: Kind, place: int) -> None:
        """Do it, and let the server meet it."""
        path = shell(self.clone, "services.psql", "--", "-Atc", "SELECT pg_relation_filepath('damage')")
        ident = container(self.clone, kind.service)
        if not kind.live:
            docker("kill" if kind.kill else "stop", ident)
        image, volume = (
            inspected(self.clone, kind.service)["Config"]["Image"],
            f"{self.clone.settings.project.id}-unified_{kind.service}",
        )
        script = f"cd /v; {OVERWRITE}{CUT}{kind.script}"
        docker("run", "--rm", "--pull=never", "--network=none", "--user=0", f"--label={self.clone.label}", f"--volume={volume}:/v",
               "--entrypoint=sh", image, "-euc", script, "sh", str(place), path.stdout.strip() or "none")  # fmt: skip
        if not kind.live:
            docker("start", ident)
            wait_until(self.settled(kind.service), 15)

    def settled(self, service: str) -> Callable[[], bool]:
        """Tell whether a service is healthy, or has failed three times."""

        def look() -> bool:
            state = inspected(self.clone, service)
            return bool(
                state["State"].get("Health", {}).get("Status") == "healthy" or state["RestartCount"] >= 3
            )

        return look


@dataclass(frozen=True)
class Outcome:
    """What became of one damage."""

    kind: Kind
    detected: str
    """What `services.heal` said of it; '' for nothing."""
    outcome: str
    lost: int
    """Items that are not there any more."""
    seconds: float
    fine: bool


def heal(stack: Stack, kind: Kind, place: int, *, repair: bool = True) -> Outcome:
    """Damage a service, and follow what the commands say, until it is healthy."""
    began, clone = time.monotonic(), stack.clone
    others = {name: life for name, life in stack.lives().items() if name != kind.service}
    only = ("services.heal", "--only", kind.service)
    stack.damage(kind, place)
    told = clone.try_inv(*only)
    detected = told.json["error"]["why"].splitlines()[0] if told.code == 38 else ""
    outcome, ends = f"heal ended with {told.code}", []
    if detected:
        ends = [clone.try_inv(*only, "--repair", "--yes")] if repair else []
        outcome = "repaired" if ends and not ends[-1].code else ""
        if not outcome:
            refused = f"no repair: {ends[-1].json['error']['why'].splitlines()[-1]}; " if ends else ""
            ends.append(clone.try_inv(*only, "--from-backup", "saved", "--yes"))
            outcome = f"{refused}restored" if not ends[-1].code else f"blocked: {ends[-1].err[-300:]}"
    elif not told.code:
        outcome = "; ".join([*told.json["healed"], "nothing found"])
    untouched = {name: life for name, life in stack.lives().items() if name != kind.service} == others
    again = clone.try_inv(*only)
    lost = len(stack.items[kind.service] - stack.held(kind.service)) if not again.code else -1
    told_lost = [
        line for one in ends if not one.code for done in one.json["services"] for line in done["lost"]
    ]
    found = bool(detected) or (not kind.noticed and not told.code) or (not told.code and not lost)
    fine = untouched and not again.code and found and (lost <= LATER or bool(told_lost))
    outcome += "" if untouched else "; OTHERS WERE TOUCHED"
    return Outcome(
        kind, detected, f"{outcome} ({'; '.join(told_lost)})", lost, time.monotonic() - began, fine
    )
