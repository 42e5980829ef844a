"""Long campaigns: builds that end too early in every way, and the same bytes again and again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from select import select
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

from scripts.benchmarks.workbench import PROFILE, Workbench, report, workbench
from synos_tasks.build.containers import compiler_cache_volumes
from synos_tasks.engine.labels import LABEL_ROLE
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN
from synos_tasks.iso.publish import STAGING_PREFIX
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.store import sha256
from tests.build_helpers import Clone, docker, host_state, processes_in, processes_of, wait_until
from tests.own_engine import OwnEngine, own_engine

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SECONDS = 15.0
"""Until nothing of a build runs."""
COMPONENT = "synos-welcome"
RECIPE = f"inherits: minimal\npackages: [hello]\ncomponents: [{COMPONENT}]\nhooks: [hooks/bench.sh]\n"
"""Of a profile that has every kind of stage."""
HOOK_FILE = "docker/build/hooks/bench.sh"
HOOK = """#!/bin/bash
(trap '' HUP INT TERM; setsid sleep 600) &
sleep 1
echo made >/usr/share/made
"""
STOPPING_HOOK = """#!/bin/bash
trap '' HUP INT TERM
(trap '' HUP INT TERM; setsid sleep 600) &
sleep 0.2
kill -STOP 1
kill -STOP -1
kill -9 1
while :; do sleep 1; done
"""
KINDS = {
    "builder": ("-build-", ""),
    "bootstrap": ("mmdebstrap", "base"),
    "packages": ("apt-get install", "packages-minimal"),
    "hooks": ("synos-hook-", "hook-bench.sh"),
    "initramfs": ("mkinitramfs", "initramfs"),
    "compilation": ("-compile-", f"component-{COMPONENT}"),
}
"""Kinds of containers: a word in the name or command, and the stage for which one runs; '' is all of them."""
ANY = "any"
LONG = ("base", "packages-minimal")
"""Stages whose products stay in the store but where they are to be made, so that a round is short."""
PAUSED = [kind for kind in KINDS if kind != "bootstrap"]


class Terminal:
    """`inv build.iso` in the foreground of a terminal of its own."""

    def __init__(self, clone: Clone) -> None:
        self._master, theirs = os.openpty()
        argv = ["setsid", "--ctty", sys.executable, "-m", "invoke", "build.iso", "--profile", PROFILE]
        self.process = subprocess.Popen(argv, cwd=clone.root, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self._text, self._closed = b"", threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def interrupt(self) -> None:
        """Type Ctrl-C: the kernel sends SIGINT to all processes in the foreground."""
        os.write(self._master, b"\x03")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End what runs in it."""
        self.process.kill()
        self.close()

    def close(self) -> str:
        """Close it, which sends SIGHUP to what runs in it; return what was printed."""
        self._closed.set()
        self._reader.join()
        return self._text.decode(errors="replace")

    def _read(self) -> None:
        with suppress(OSError):  # EIO: nothing runs in it any more
            while not self._closed.is_set():
                if select([self._master], [], [], 0.1)[0]:
                    self._text += os.read(self._master, 65536)
        self._closed.wait()
        os.close(self._master)


@dataclass
class Running:
    """A build that runs, and what may end it."""

    terminal: Terminal
    engine: OwnEngine
    container: str = ""
    """The one that is to be ended or paused."""
    paused: set[str] = field(default_factory=set)

    def kill(self) -> None:
        self.terminal.process.kill()

    def terminate(self) -> None:
        self.terminal.process.terminate()

    def interrupt(self) -> None:
        self.terminal.interrupt()

    def interrupt_twice(self) -> None:
        self.terminal.interrupt()
        time.sleep(0.3)
        with suppress(OSError):
            self.terminal.interrupt()

    def hang_up(self) -> None:
        self.terminal.close()

    def kill_container(self) -> None:
        docker("kill", self.container)

    def pause_and_kill(self) -> None:
        docker("pause", self.container)
        self.paused = {self.container}
        self.kill()

    def pause_and_interrupt(self) -> None:
        docker("pause", self.container)
        self.interrupt()

    def stop_engine(self) -> None:
        self.engine.stop()

    def kill_engine(self) -> None:
        self.engine.kill()


@dataclass(frozen=True)
class Ending:
    """A way in which a build ends too early."""

    name: str
    act: Callable[[Running], None]
    codes: tuple[int, ...] = ()
    """Exit codes that `inv` may have; none: those of its own errors."""
    kind: str = ""
    """Of the container that it waits for; '' for any moment of a build."""
    hook: str = HOOK


ENDINGS = (
    Ending("SIGKILL of inv", Running.kill, (-9,)),
    Ending("SIGTERM of inv", Running.terminate, (130,)),
    Ending("Ctrl-C", Running.interrupt, (130,)),
    Ending("Ctrl-C twice", Running.interrupt_twice, (130,)),
    Ending("terminal closed", Running.hang_up, (-1,)),
    *(Ending(f"docker kill: {kind}", Running.kill_container, kind=kind) for kind in KINDS),
    Ending("a hook stops all, SIGKILL of inv", Running.kill, (-9,), kind="hooks", hook=STOPPING_HOOK),
    Ending("docker pause, SIGKILL of inv", Running.pause_and_kill, (-9,), kind=ANY),
    Ending("docker pause, Ctrl-C", Running.pause_and_interrupt, (130,), kind=ANY),
    Ending("engine restarted", Running.stop_engine),
    Ending("engine killed", Running.kill_engine),
)


def bench_kills(rounds: int, seed: int) -> None:
    """End builds in the ways of ENDINGS in turn, each at a random moment; as root, on an engine of its own."""
    chance, table = random.Random(seed), {ending.name: Row() for ending in ENDINGS}
    with workbench() as bench:
        bench.clone.add(f"docker/build/profiles/{PROFILE}.yaml", RECIPE)
        bench.clone.add(HOOK_FILE, HOOK)
        first = bench.build().json  # on this engine, as the other one has no network
        root, project = docker("info", "--format={{.DockerRootDir}}"), bench.clone.settings.project
        with own_engine(BUILDER.tag(project), TOOLCHAIN.tag(project)) as engine:
            _copy_store(bench.clone, engine)
            with patch.dict(os.environ, engine.environment):
                campaign = Campaign(bench, engine, first["stages"], chance, root)
                for number in range(rounds):
                    turn, place = divmod(number, len(ENDINGS))
                    ending = ENDINGS[place]
                    kind = chance.choice(PAUSED) if ending.kind == ANY else ending.kind
                    table[ending.name].add(number + 1, *campaign.round(ending, kind, prune=bool(turn % 2)))
    wrong = [one for row in table.values() for one in row.wrong]
    rows = {name: [row.rounds, len(row.wrong), row.seconds] for name, row in table.items()}
    seen = {"rounds": rounds, "seed": seed, "endings": rows, "wrong": wrong}
    report("builds that were ended and did harm", 0, len(wrong), **seen)


def _copy_store(clone: Clone, engine: OwnEngine) -> None:
    """Copy the store to another engine."""
    project = clone.settings.project
    labels = (f"--label={clone.label}", f"--label={LABEL_ROLE}=cache")
    docker("volume", "create", *labels, project.store_volume, environment=engine.environment)
    tar = ["docker", "run", "--rm", "--interactive", "--network=none", f"--label={clone.label}"]
    tar += [f"--volume={project.store_volume}:/cache", BUILDER.tag(project), "tar", "-C", "/cache"]
    with subprocess.Popen([*tar, "-c", "."], stdout=subprocess.PIPE) as read:
        environment = {**os.environ, **engine.environment}
        subprocess.run([*tar, "-x"], stdin=read.stdout, check=True, env=environment)


@dataclass
class Row:
    """What was seen of one ending."""

    rounds: int = 0
    seconds: float = 0.0
    """The most until nothing ran, or only what is paused."""
    wrong: list[str] = field(default_factory=list)

    def add(self, number: int, what: str, seconds: float, wrong: list[str]) -> None:
        """Note a round, and print it."""
        text = f"{number}: {what}: nothing ran after {seconds:.1f} s: {'; '.join(wrong) or 'as it must be'}"
        print(text, file=sys.stderr, flush=True)
        self.rounds, self.seconds = self.rounds + 1, max(self.seconds, round(seconds, 1))
        self.wrong += [text] if wrong else []


class Campaign:
    """Rounds on one engine: a build that is ended, what it leaves, and the next build."""

    def __init__(
        self,
        bench: Workbench,
        engine: OwnEngine,
        stages: list[dict[str, Any]],
        chance: random.Random,
        root: str,
    ) -> None:
        """Build once, which tells the bytes. ``stages`` are those of a build from nothing, ``root`` is the other engine's folder."""
        self.bench, self.clone, self.engine, self.chance = bench, bench.clone, engine, chance
        self.store = engine.folder / f"data/volumes/{bench.clone.settings.project.store_volume}/_data"
        self.keys = {stage["name"]: stage["key"] for stage in stages}
        self._forget("")
        built = bench.build().json
        self.sha256 = built["sha256"]
        self.usual = {stage["name"]: stage["seconds"] for stage in stages} | {"": built["seconds"]}
        self.host = partial(host_state, self.clone, root)
        self.before = self.host()

    def round(self, ending: Ending, kind: str, *, prune: bool) -> tuple[str, float, list[str]]:
        """Return what was done, the seconds until nothing ran, and what is wrong. ``prune`` before the next build."""
        for attempt in range(9):  # a build, or its container, may be done before its moment has come
            self._forget(kind)
            self.clone.add(HOOK_FILE, ending.hook)
            with Terminal(self.clone) as terminal:
                running = Running(terminal, self.engine)
                moment = self._wait(running, kind, 0.8 / 2**attempt)
                self.clone.add(HOOK_FILE, HOOK)
                began = time.monotonic()
                with suppress(subprocess.CalledProcessError):  # the container is gone
                    if terminal.process.poll() is None:
                        ending.act(running)
                        what = f"{ending.name}, after {moment:.1f} s{f' of {kind}' if kind else ''}"
                        return what, *self._seen(running, ending, began, prune=prune)
                terminal.process.wait()
        return ending.name, 0.0, [f"it was always done before: {terminal.close()[-500:]}"]

    def _seen(
        self, running: Running, ending: Ending, began: float, *, prune: bool
    ) -> tuple[float, list[str]]:
        """Return the seconds until nothing ran, and what is wrong then, and after the next commands."""

        def gone() -> bool:
            # but for what is paused, and its client, which has the container's id in its command line
            return all(any(one in alive for one in running.paused) for alive in self.alive())

        ended = wait_until(gone, MOST_SECONDS)
        seconds = time.monotonic() - began
        wrong = [] if ended else [f"still there: {self.alive()}"]
        wrong += self._said(running, ending)
        if self.engine.process.poll() is not None:
            self.engine.start()
        if self.host() != self.before:
            wrong.append("the host is not as it was")
        isos = self.clone.output.glob("*-*-*.iso")
        wrong += [f"partial: {path.name}" for path in isos if sha256(path) != self.sha256]
        try:
            for container in running.paused:
                name = docker("inspect", "--format={{.Name}}", container).removeprefix("/")
                if name not in json.dumps(self.clone.inv("doctor").json):
                    wrong.append(f"doctor does not name {name}")
            if prune:
                self.clone.inv("maint.prune", "--yes")
                wrong += [f"after prune: {one}" for one in self.alive()]
            wrong += self._next_build()
        except (AssertionError, subprocess.CalledProcessError) as error:
            wrong.append(f"the next command failed: {error}")
        return seconds, wrong

    def alive(self) -> set[str]:
        """Return the containers in which something runs, and the processes of `inv` and of its clients."""
        containers = {path.name for path in (self.engine.folder / "data/containers").iterdir()}
        return {one for one in containers if processes_of(one)} | processes_in(self.clone.root)

    def _forget(self, kind: str) -> None:
        """Remove the last build's ISO, and from the store what is to be made."""
        stage = KINDS.get(kind, ("", ""))[1]
        made = {stage} if stage in LONG else self.keys.keys() - LONG
        for name in made:
            remove(self.store / "objects" / self.keys[name])
        for path in self.clone.output.glob("[!.]*"):
            path.unlink()

    def _wait(self, running: Running, kind: str, part: float) -> float:
        """Wait for a random moment of the first ``part`` of a build, or of its first container of a kind."""
        word, stage = KINDS.get(kind, ("", ""))
        moment = self.chance.uniform(0, self.usual[stage] * part)
        if not stage:
            time.sleep(moment)

        def appears() -> bool:
            listed = docker("ps", "--no-trunc", "--format={{.ID}} {{.Names}} {{.Command}}").splitlines()
            running.container = next((line.partition(" ")[0] for line in listed if word in line), "")
            return bool(running.container) or running.terminal.process.poll() is not None

        if kind:
            wait_until(appears, 60)
        if stage:
            time.sleep(moment)
        return moment

    @staticmethod
    def _said(running: Running, ending: Ending) -> list[str]:
        """Return what is wrong with how `inv` ended: it may also have been done."""
        code, text = running.terminal.process.poll(), running.terminal.close()
        expected = code in ending.codes if ending.codes else code not in {None, 1}
        good = (code == 0 or expected) and "Traceback" not in text
        return [] if good else [f"exit code {code}: {text[-500:]}"]

    def _next_build(self) -> list[str]:
        """Build; return what is wrong with that, and with what is there afterwards."""
        answer, project = self.bench.build(), self.clone.settings.project
        wrong = [] if answer.json["sha256"] == self.sha256 else ["other bytes"]
        wrong += ["partial in the store"] if "damaged in the store" in answer.err else []
        kept = {project.store_volume, *compiler_cache_volumes(self.clone.settings, COMPONENT)}
        left = {
            *self.alive(),
            *docker("ps", "--all", "--quiet").split(),
            *(set(docker("volume", "ls", "--quiet").split()) - kept),
            *self.clone.output.glob(f"{STAGING_PREFIX}*"),
            *(
                path
                for folder in (project.leases, self.store / "locks", self.store / "tmp")
                for path in folder.iterdir()
            ),
        }
        return [*wrong, f"left: {left}"] if left else wrong


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
