"""What `inv test` and `inv lint` run, as frozen steps, and running them."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

SUITES = ("unit", "integration", "e2e")
PARTS = ("lint", *SUITES)
SHELL_SCRIPTS = (
    "scripts/synos",
    "scripts/*.sh",
    "scripts/setup/*.sh",
    ".ci/run",
    "docker/build/image/synos-*",
    "docker/build/image/cached",
    "docker/build/image/not-here",
    "docker/build/components/*/profile.d/*.sh",
    "docker/dev/image/make-user",
    "docker/dev/image/not-here",
    "docker/dev/image/sync",
    "docker/dev/image/credentials",
    "docker/dev/image/psql",
    "docker/dev/image/redis-cli",
    "docker/services/*/start",
    "docker/services/*/apply",
    "docker/services/*/health",
    "docker/services/*/cli",
    "docker/services/*/backup",
    "docker/services/*/restore",
)
DOCKERFILES = ("docker/**/*Dockerfile*",)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command, run in the root of the project."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a step went: its exit code, all it printed, and how many seconds it took."""

    step: Step
    code: int
    output: str
    seconds: float


def parse_only(text: str) -> tuple[str, ...]:
    """Give the parts named in `--only`, in the order in which they run; all of them for ''.

    Raises SettingsError on a name that is none of PARTS.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in PARTS:
            raise SettingsError(f"--only has no part {name!r}", hint=f"there are: {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in wanted) or PARTS


def lint_steps(root: Path, tools: Path) -> list[Step]:
    """Plan every check that needs no test run. ``tools``: the folder with the venv's commands."""
    steps = [
        Step(name="ruff check", argv=(str(tools / "ruff"), "check", ".")),
        Step(name="ruff format", argv=(str(tools / "ruff"), "format", "--check", ".")),
        Step(name="mypy", argv=(str(tools / "mypy"),)),
        Step(name="imports", argv=(str(tools / "lint-imports"), "--no-cache")),
    ]
    if scripts := _matching(root, SHELL_SCRIPTS):
        steps.append(
            Step(name="shellcheck", argv=(str(tools / "shellcheck"), "--external-sources", *scripts))
        )
    if dockerfiles := _matching(root, DOCKERFILES):
        steps.append(Step(name="hadolint", argv=(str(tools / "hadolint"), *dockerfiles)))
    steps.append(
        Step(name="generated files", argv=(str(tools / "python"), "-m", "synos_tasks.root.generated"))
    )
    return steps


def pytest_step(suites: Iterable[str], tools: Path) -> Step:
    """Plan the one pytest call. What is marked `long` is run by hand: see CONTRIBUTING.md."""
    folders = tuple(f"tests/{suite}" for suite in suites)
    return Step(name="pytest", argv=(str(tools / "python"), "-m", "pytest", "-m", "not long", *folders))


def tools_folder() -> Path:
    """Give the folder of the running Python, which holds the venv's commands; links stay unresolved."""
    return Path(sys.executable).parent


def run_quietly(step: Step, root: Path) -> Outcome:
    """Run a step and keep what it prints; a tool that is not there is a failed step, not a crash."""
    begun = time.monotonic()
    try:
        done = subprocess.run(
            step.argv, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", check=False,
        )  # fmt: skip
        code, output = done.returncode, done.stdout
    except OSError as error:
        code, output = 127, f"{step.argv[0]} cannot be run: {error.strerror}\n"
    return Outcome(step=step, code=code, output=output, seconds=time.monotonic() - begun)


def run_openly(step: Step, root: Path) -> int:
    """Run a step on the caller's own standard output, and give its exit code."""
    return subprocess.run(step.argv, cwd=root, check=False).returncode


def _matching(root: Path, patterns: Iterable[str]) -> list[str]:
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return sorted(str(path.relative_to(root)) for path in found)
