"""Damaged stores: each is named, and healed or refused with the reason, while the other services run on."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from scripts.benchmarks.workbench import report
from synos_tasks import settings
from synos_tasks.services.stack import open_stack
from tests.build_helpers import ROOT
from tests.conftest import running_services
from tests.damages import KINDS, Stack, heal
from tests.services_clones import SERVICES, shell

TOP = {"redis": "/data", "nats": "/data", "postgres": "/var/lib/postgresql/data"}


def bench_damage(rounds: int, seed: int, only: str, first: int = 1) -> None:
    """Damage services, in kinds and places that the seed chooses; every fourth is restored at once."""
    chance = random.Random(seed)
    kinds = [one for one in KINDS if only in one.name or only == one.service]
    order = [one for _ in range(rounds // len(kinds) + 1) for one in chance.sample(kinds, len(kinds))][
        :rounds
    ]
    open_stack(settings.load(ROOT, {"name": "synos"}), "unified", print).ensure_images(
        (*SERVICES, "nats-box")
    )
    fine = 0
    with (
        tempfile.TemporaryDirectory(prefix="synos-damage-") as folder,
        running_services(Path(folder) / "clone") as clone,
    ):
        stack = Stack(clone)
        for number, kind in list(enumerate(order, 1))[first - 1 :]:
            stack.fill()
            done = heal(stack, kind, chance.randrange(20, 980), repair=chance.randrange(4) > 0)
            fine += done.fine
            words = f"{number}\t{kind.service}\t{kind.name}\t{done.detected}\t{done.outcome}\tlost {done.lost}\t{done.seconds:.0f} s\t{'ok' if done.fine else 'FAILED'}"
            print(words, file=sys.stderr, flush=True)
            shell(
                clone,
                "services.exec",
                kind.service,
                "--",
                "sh",
                "-c",
                f"rm -rf {TOP[kind.service]}/damaged-*",
            )
    report(
        "damages that were neither healed nor refused with the reason",
        0,
        rounds - fine,
        rounds=rounds,
        seed=seed,
    )
