"""The verbs of this repository alone: they test and lint the library, which its wheel does not bring along."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from synos_tasks import console
from synos_tasks.cli import Command, verb

if TYPE_CHECKING:
    from scripts.repository.quality import Step
    from synos_tasks.errors import TestsFailed


@verb("test", json=False, help={"only": "parts with commas: lint, unit, integration, e2e (default: all)"})
def test(command: Command, only: str = "") -> None:  # noqa: PT028  (a verb, not a pytest test)
    """Run every check and test of this repository: lint, types, imports, then pytest."""
    from scripts.repository import quality  # noqa: PLC0415
    from synos_tasks.errors import TestsFailed  # noqa: PLC0415

    parts = quality.parse_only(only)
    steps = quality.lint_steps(command.root) if "lint" in parts else []
    suites = [part for part in parts if part in quality.SUITES]
    if command.dry:
        _print_plan([*steps, *([quality.pytest_step(suites)] if suites else [])])
        return
    error = _lint(command, steps)
    if not suites:
        if error is not None:
            raise error
        return
    if error is not None:
        # Shown before pytest starts: its closing line has to be the last one, CI reads it.
        console.show_error(error)
    code = quality.run_openly(quality.pytest_step(suites), command.root)
    if code or error is not None:
        sys.exit(TestsFailed.exit_code)


@verb("lint", json=False)
def lint(command: Command) -> None:
    """Run the checks of `inv test` that need no test run: style, types, imports, scripts, Dockerfiles."""
    from scripts.repository import quality  # noqa: PLC0415

    steps = quality.lint_steps(command.root)
    if command.dry:
        _print_plan(steps)
    elif error := _lint(command, steps):
        raise error


@verb("docs", json=False)
def docs(command: Command) -> None:
    """Write the files that are generated from the code, such as docs/exit-codes.md."""
    from scripts.repository import generated  # noqa: PLC0415

    written = generated.stale_files(command.root) if command.dry else generated.write(command.root)
    for path in written:
        console.say(f"{'would write' if command.dry else 'wrote'} {path}")
    if not written:
        console.say("nothing to do: all generated files are current")


def _lint(command: Command, steps: list[Step]) -> TestsFailed | None:
    """Run all steps, even after one failed, and return the error that names the failed ones."""
    from scripts.repository.quality import run_quietly  # noqa: PLC0415
    from synos_tasks.errors import TestsFailed  # noqa: PLC0415

    failed = []
    for step in steps:
        outcome = run_quietly(step, command.root)
        mark = console.paint("ok  ", "32") if outcome.code == 0 else console.paint("FAIL", "1;31")
        console.say(f"{mark}  {step.name}  {outcome.seconds:.1f} s")
        if outcome.code:
            failed.append(step)
            console.say(outcome.output.rstrip())
    if not failed:
        return None
    return TestsFailed(
        f"failed: {', '.join(step.name for step in failed)}",
        hint="run one alone:\n" + "\n".join(shlex.join(step.argv) for step in failed),
    )


def _print_plan(steps: list[Step]) -> None:
    for step in steps:
        console.say(shlex.join(step.argv))
