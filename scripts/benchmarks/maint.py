"""`inv maint.prune`: how long a plan takes, and whether builds beside it come to harm."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.workbench import INV, Workbench, median, report, seconds, workbench
from synos_tasks import project as projects
from synos_tasks.engine.labels import LABEL_IMAGE, LABEL_PROJECT, LABEL_ROLE
from synos_tasks.images.catalog import BUILDER
from tests import crowd
from tests.build_helpers import ROOT, docker
from tests.own_engine import own_engine

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "debian:bookworm-slim"
OBJECTS = {"images": 200, "volumes": 150, "containers": 150}
KINDS = (
    ("--cache", "--store", "--older-than", "0m", "--keep-last", "1"),
    ("--all",),
    ("--cache", "--older-than", "0m"),
    (),
)


def bench_plan() -> None:
    """Time `inv --dry maint.prune --all` over 500 objects of the clone's own; the median of five."""
    with workbench() as bench:
        _fill(bench)
        times = [
            seconds([str(INV), "--dry", "maint.prune", "--all", "--json"], bench.clone.root) for _ in range(5)
        ]
        told = bench.clone.inv("--dry", "maint.prune", "--all").json
    seen = len(told["planned"]) + len(told["kept"])
    report("maint.prune --dry over 500 objects, s", 2.0, median(times), objects=seen, times=times)


def _fill(bench: Workbench) -> None:
    marks = [f"{LABEL_PROJECT}={bench.clone.settings.project.id}", f"{LABEL_ROLE}=build"]
    labels = [f"--label={mark}" for mark in marks]
    project = bench.clone.settings.project.id

    def image(number: int) -> None:
        tag = f"{project}-many:{number}"
        crowd.import_image(tag, f"{project}{number}".encode(), " ".join([*marks, f"{LABEL_IMAGE}={tag}"]))

    def volume(number: int) -> None:
        docker("volume", "create", *labels, f"{project}-many-{number}")

    def container(number: int) -> None:
        docker("create", *labels, f"--name={project}-many-{number}", BASE, "true")

    makers: dict[str, Callable[[int], None]] = {"images": image, "volumes": volume, "containers": container}
    with ThreadPoolExecutor(4) as threads:
        for kind, count in OBJECTS.items():
            list(threads.map(makers[kind], range(count)))


def bench_others() -> None:
    """Count what three other projects lose by `maint.prune --all`, and by what Docker has for it; needs root.

    In an engine of its own, because the others' ways take everything.
    """
    base, mark = "debian:bookworm-slim", f"crowd-{uuid.uuid4().hex[:12]}"
    builder = BUILDER.tag(projects.load(ROOT, "synos"))
    with own_engine(builder, base, networks=True) as engine, workbench() as bench:
        os.environ.update(engine.environment)
        project = bench.clone.settings.project.id
        label = f"label={LABEL_PROJECT}={project}"
        ways = {
            "inv maint.prune --all": [str(INV), "maint.prune", "--all", "--yes", "--older-than", "0m"],
            "docker builder prune --filter label": [
                "docker",
                "builder",
                "prune",
                "--all",
                "--force",
                f"--filter={label}",
            ],
            "docker system prune --filter label": [
                "docker",
                "system",
                "prune",
                "--all",
                "--force",
                f"--filter={label}",
            ],
            "docker system prune --all --volumes": [
                "docker",
                "system",
                "prune",
                "--all",
                "--force",
                "--volumes",
            ],
        }
        for number, (way, argv) in enumerate(ways.items()):
            crowd.small_images(bench.clone, builder, mark, number)
            bench.clone.inv("build.image")
            with tempfile.TemporaryDirectory() as context:
                ours = BUILDER.tag(bench.clone.settings.project)
                others = crowd.gather(f"{mark}{number}", project, ours, base, Path(context))
                trouble = _run(argv, bench.clone.root, {"INVOKE_SYNOS_MAINT_YOUNG_MINUTES": "0"})
                lost = others.missing()
                crowd.disperse(others.mark)
            if trouble:
                raise SystemExit(trouble)
            if argv[0] == str(INV):
                report(f"others' things lost by {way}", 0, sum(lost.values()), **lost)
            else:  # nobody promised anything
                print(
                    json.dumps({"bench": f"lost by {way}", "measured": sum(lost.values()), **lost}),
                    flush=True,
                )
            if docker("images", "--quiet", base) == "":  # gone, with the builder
                break


def bench_race(rounds: int, seed: int) -> None:
    """Prunes of every kind, again and again, beside as many builds of ISOs and of images; none may fail."""
    chance = random.Random(seed)
    with workbench() as bench:
        builder = BUILDER.tag(projects.load(ROOT, "synos"))
        crowd.small_images(bench.clone, builder, "race", 0)
        bench.build()
        done, prunes, wrong = threading.Event(), list[str](), list[str]()
        racer = threading.Thread(target=_prune_on, args=(bench, done, prunes, wrong, rounds))
        racer.start()
        builds = 0
        while builds < rounds or len(prunes) < rounds:
            time.sleep(chance.uniform(0, 1))
            trouble = _build(bench, builds, builder)
            builds += 1
            wrong += [trouble] if trouble else []
            print(
                f"{builds} builds, {len(prunes)} prunes: {trouble or 'as it must be'}",
                file=sys.stderr,
                flush=True,
            )
        done.set()
        racer.join()
    report(
        "builds and prunes that failed in a race", 0, len(wrong),
        builds=builds, prunes=len(prunes), seed=seed, wrong=[text[-600:] for text in wrong],
    )  # fmt: skip


def _build(bench: Workbench, number: int, builder: str) -> str:
    """Build an ISO after a change of a file, an image after a change of its Dockerfile, or one by plain docker."""
    kind = ("iso", "image", "docker")[number % 3]
    root = bench.clone.root
    dockerfile = root / "docker/dev/Dockerfile"
    if kind == "iso":
        bench.touch()
        return _run(
            [str(INV), "build.iso", "--profile", "bench", *(["--no-cache"] if number % 4 == 3 else [])], root
        )
    if kind == "image":
        crowd.small_images(bench.clone, builder, "race", number)
        return _run([str(INV), "build.image"], root)
    text = f"FROM {BASE}\nRUN --mount=type=cache,id=synos-race,target=/c date >/c/{number}; sleep 1; : {number}\n"
    dockerfile.write_text(f"{text}RUN ls /c | wc -l >/{number}\n")
    tag = f"synos-race:{bench.clone.settings.project.id}"
    mark = f"--label={LABEL_PROJECT}={bench.clone.settings.project.id}"
    return _run(["docker", "build", "--quiet", f"--file={dockerfile}", f"--tag={tag}", mark, str(root)], root)


def _prune_on(
    bench: Workbench, done: threading.Event, prunes: list[str], wrong: list[str], rounds: int
) -> None:
    while not done.is_set() or len(prunes) < rounds:
        options = KINDS[len(prunes) % len(KINDS)]
        # nothing is too young but what --all would take: there, a build's image has yet to be used
        young = "10" if "--all" in options else "0"
        trouble = _run(
            [str(INV), "maint.prune", "--yes", *options],
            bench.clone.root,
            {"INVOKE_SYNOS_MAINT_YOUNG_MINUTES": young},
        )
        prunes.append(" ".join(options))
        wrong += [f"prune {options}: {trouble}"] if trouble else []


def _run(argv: list[str], root: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        argv, cwd=root, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    return f"{' '.join(argv[:3])} ended with {done.returncode}: {done.stderr}" if done.returncode else ""
