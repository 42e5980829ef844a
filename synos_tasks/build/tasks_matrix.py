"""`inv build.matrix`; see tasks.py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import console
from synos_tasks.build.tasks_boot import context_of
from synos_tasks.cli import Command, one_of, verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.build.matrix.wanted import Wanted


def names_in(text: str) -> tuple[str, ...]:
    """Return the names of an option that takes several, with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def suite(text: str) -> str:
    """Check a suite; see cli.number()."""
    from synos_tasks.iso.suites import REFUSED_SUITES, SUITES

    return REFUSED_SUITES.get(text) or one_of(*SUITES)(text)


def _each(check: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: next((wrong for name in names_in(text) if (wrong := check(name))), "")


@verb(
    "build.matrix",
    help={
        "profiles": "names with commas; PROFILE@SUITE is a profile with another suite",
        "suites": "every profile with each of these suites (default: its own)",
        "variants": "layers, release, or both (default: layers); see --release of build.iso",
        "set": "profiles, suites and variants of docker/build/matrix.yaml, instead",
        "output": "folder for the ISOs (default: synos.build.output of invoke.yaml, which is dist)",
        "jobs": "how much is made at a time (default: by the CPUs and the memory of this machine)",
        "locked": "fail where a lock would have to change",
        "offline": "use the locks and the pool alone, with no network",
    },
    types={"suites": _each(suite), "variants": _each(one_of("layers", "release"))},
    example="--profiles minimal,standard --suites bookworm,trixie",
)
def matrix(
    command: Command,
    profiles: str = "",
    suites: str = "",
    variants: str = "",
    set_: str = "",
    output: str = "",
    jobs: int = 0,
    locked: bool = False,
    offline: bool = False,
) -> None:
    """Build many ISOs, each as build.iso does; what several have in common is made once.

    One ISO: inv build.iso. See docs/scale.md.
    """
    from synos_tasks.build.iso_build import Options
    from synos_tasks.build.matrix import run, wanted
    from synos_tasks.build.matrix.engine import Local, jobs_for
    from synos_tasks.build.matrix.view import outline
    from synos_tasks.errors import SynosError

    began, context = time.monotonic(), context_of(command)
    asked = wanted.asked_by(command.settings, _wanted(command, profiles, suites, variants, set_))
    folder = Path(output).resolve() if output else command.settings.output_dir
    options = Options(profile="", output=folder, locked=locked, offline=offline)
    planned = (run.outlined if command.dry else run.planned)(context, asked, options)
    lines = "\n".join(outline(planned.tree))
    if command.dry:
        command.result(run.fields_of(planned, {}))
        command.show(lines)
        return
    console.say(lines)
    jobs = jobs or jobs_for(context)
    results = run.build(planned, Local(context, options, jobs))
    seconds = round(time.monotonic() - began, 3)
    rows = [
        [name, "failed", one.what]
        if isinstance(one, SynosError)
        else [name, f"{one.seconds:.1f} s", str(one.iso)]
        for name, one in results.items()
    ]
    command.table(f"{len(rows)} ISOs in {seconds:.1f} s, {jobs} at a time", ["ISO", "took", "file"], rows)
    fields = {**run.fields_of(planned, results), "jobs": jobs, "seconds": seconds}
    if error := run.failure(results):
        command.fail(error, **fields)
    command.result(fields)


def _wanted(command: Command, profiles: str, suites: str, variants: str, name: str) -> Wanted:
    """Return what the options ask for; raises WrongUse, or SettingsError of matrix.yaml."""
    from synos_tasks.build.matrix import wanted
    from synos_tasks.errors import WrongUse

    if name:
        if profiles or suites or variants:
            what = "--set excludes --profiles, --suites and --variants"
            raise WrongUse(what, hint="leave one of them out")
        return wanted.set_of(command.settings, name)
    for option, text in (("suites", suites), ("variants", variants), ("profiles", profiles)):
        if not names_in(text) and (text or option == "profiles"):
            raise WrongUse(
                f"--{option} names none", hint="as in --profiles minimal,standard, or take a --set"
            )
    return wanted.Wanted(
        profiles=names_in(profiles),
        suites=names_in(suites),
        variants=names_in(variants) or wanted.VARIANTS[:1],
    )
