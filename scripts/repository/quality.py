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
SHELL_SCRIPTS = ("scripts/**/*", ".ci/*", "docker/**/*")
"""Where shell scripts are: those with the ending .sh, or a shell in their first line; no component's tests."""
DOCKERFILES = ("docker/**/*Dockerfile*",)
TOOLS = Path(sys.executable).parent
"""The commands of the environment that this Python is of; links stay unresolved."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command, run in the root of the project."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a step went: its exit code, all it printed, and how many seconds it took."""

    code: int
    output: str
    seconds: float


def parse_only(text: str) -> tuple[str, ...]:
    """Return the parts named in `--only`, in the order in which they run; all of them for ''.

    Raises SettingsError on a name that is none of PARTS.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in PARTS:
            raise SettingsError(f"--only has no part {name!r}", hint=f"there are: {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in wanted) or PARTS


def lint_steps(root: Path) -> list[Step]:
    """Plan every check that needs no test run."""
    steps = [
        _step("ruff check", "ruff", "check", "."),
        _step("ruff format", "ruff", "format", "--check", "."),
        _step("mypy", "mypy"),
        _step("imports", "lint-imports", "--no-cache"),
    ]
    if scripts := [path for path in _matching(root, SHELL_SCRIPTS) if _is_shell_script(root / path)]:
        steps.append(_step("shellcheck", "shellcheck", "--external-sources", *scripts))
    if dockerfiles := _matching(root, DOCKERFILES):
        steps.append(_step("hadolint", "hadolint", *dockerfiles))
    steps.append(_step("generated files", "python", "-m", "scripts.repository.generated"))
    return steps


def pytest_step(suites: Iterable[str]) -> Step:
    """Plan the one pytest call. What is marked `long` is run by hand: see CONTRIBUTING.md.

    Two processes take file after file (tests/conftest.py) in this order: the longest first, many short ones at the end.
    """
    processes = ("--numprocesses=2", "--dist=loadscope", "--no-loadscope-reorder")
    folders = (f"tests/{suite}" for suite in reversed(SUITES) if suite in suites)
    return _step("pytest", "python", "-m", "pytest", "-m", "not long", "--durations=30", *processes, *folders)


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
    return Outcome(code=code, output=output, seconds=time.monotonic() - begun)


def run_openly(step: Step, root: Path) -> int:
    """Run a step on the caller's own standard output, and return its exit code."""
    return subprocess.run(step.argv, cwd=root, check=False).returncode


def _step(name: str, tool: str, *arguments: str) -> Step:
    return Step(name=name, argv=(str(TOOLS / tool), *arguments))


def _matching(root: Path, patterns: Iterable[str]) -> list[str]:
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return sorted(str(path.relative_to(root)) for path in found)


def _is_shell_script(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(64).split() or [b""]
    shells = {b"#!/bin/sh", b"#!/bin/bash", b"bash", b"sh"}
    return (path.suffix == ".sh" and path.parent.name != "tests") or (
        first[0].startswith(b"#!") and first[-1] in shells
    )
