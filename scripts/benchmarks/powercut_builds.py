"""Builds through the store and into the output folder as the engine does them, with large random files instead of stages' products.

In the guest, `python3 builds.py FOLDER NUMBER`: says what is there, then does builds from NUMBER on without an end. Each line says
what has happened, and so is a promise.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, "/usr/libexec/powercut/project")

from synos_tasks.iso import lock, profile, publish
from synos_tasks.iso.plan import Plan, Tools, plan_build
from synos_tasks.iso.protocol import Done
from synos_tasks.iso.store import Store, sha256

STAGES = 4
BYTES = 4 * 2**20
DATA = Path("/run/docker-build")


def product(build: int, stage: int) -> bytes:
    """What a stage makes."""
    return random.Random(f"{build} {stage}").randbytes(BYTES)


def expected(build: int) -> str:
    """SHA-256 of a build's ISO."""
    found = hashlib.sha256()
    for stage in range(STAGES):
        found.update(product(build, stage))
    return found.hexdigest()


def plan_of(build: int) -> Plan:
    """Plan a build that differs from all others."""
    profiles = DATA / "profiles"
    for path in (profiles, DATA / "overlays/synos-base"):
        path.mkdir(parents=True, exist_ok=True)
    (profiles / "tiny.yaml").write_text(f"suite: trixie\npackages: [bash]\nhostname: box{build}\n")
    wanted = profile.load(profiles, "tiny")
    nothing = lock.Lock(request=lock.request_of(wanted), epoch=1_700_000_000, packages=())
    return plan_build(DATA, wanted, nothing, Tools(builder="none"))


def say(*words: object) -> None:
    """Promise something."""
    print("POWERCUT", *words, flush=True)


def look(output: Path) -> None:
    """Say of each ISO under its final name whether its checksum is right."""
    for path in sorted(output.glob("*.iso")):
        if path.is_symlink() and not path.exists():
            say("dangling", path.name)
        elif not path.is_symlink():
            sums = Path(f"{path}.sha256")
            found = sha256(path)
            right = sums.exists() and sums.read_text() == f"{found}  {path.name}\n"
            say("there", path.name, found if right else "WRONG")


def build(number: int, folder: Path) -> None:
    """Make the stages that are not in the store, and publish."""
    wanted, output, done = plan_of(number), folder / "output", []
    with (
        Store(folder / "cache", lambda text: say("damaged", number, text)) as store,
        publish.staging(output) as staging,
    ):
        with (staging / publish.ISO).open("wb") as iso:
            for stage in range(STAGES):
                key = hashlib.sha256(f"{number} {stage}".encode()).hexdigest()
                entry = store.find(key)
                say("found" if entry else "making", number, stage)
                if not entry:
                    with store.alone(key), store.slot() as slot:
                        (slot / "layer").write_bytes(product(number, stage))
                        entry = store.commit(key, slot, {}, f"stage{stage}")
                    say("committed", number, stage)
                iso.write(entry.file("layer").read_bytes())
                done.append(Done(name=f"stage{stage}", key=key, hit=False, seconds=0.0, bytes=BYTES))
        stages = [
            {key: value for key, value in dataclasses.asdict(one).items() if key != "facts"} for one in done
        ]
        (staging / publish.MANIFEST).write_text(json.dumps({"key": wanted.key, "stages": stages}))
        digest = publish.publish(staging, wanted, (0, 0))
    say("published", number, publish.iso_path(output, wanted.profile, wanted.build_id).name, digest)


def main(folder: Path, number: int) -> None:
    """Look, then build until the power is cut."""
    (folder / "output").mkdir(exist_ok=True)
    look(folder / "output")
    say("looked")
    while True:
        build(number, folder)
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
