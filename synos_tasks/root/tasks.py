"""The verbs about this project itself; they sit at the root of the namespace."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from synos_tasks import console
from synos_tasks.cli import verb
from synos_tasks.errors import TestsFailed
from synos_tasks.root import generated, quality

if TYPE_CHECKING:
    from synos_tasks.cli import Command


@verb("doctor", help={"json": "one JSON object with all checks on standard output"})
def doctor(command: Command) -> None:
    """Check the host and the Docker Engine, with a hint for whatever is not right; changes nothing."""
    from synos_tasks.engine.gateway import DockerEngine  # noqa: PLC0415  (kept off `inv --list`)
    from synos_tasks.root.doctor import examine  # noqa: PLC0415

    command.report("The host and the engine", examine(command.settings, DockerEngine()))


@verb("test", help={"only": "parts with commas: lint, unit, integration, e2e (default: all)"})
def test(command: Command, only: str = "") -> None:  # noqa: PT028  (a verb, not a pytest test)
    """Run every check and test of this project: lint, types, imports, then pytest."""
    parts = quality.parse_only(only)
    tools, root = quality.tools_folder(), command.settings.root
    steps = quality.lint_steps(root, tools) if "lint" in parts else []
    suites = [part for part in parts if part in quality.SUITES]
    pytest = quality.pytest_step(suites, tools) if suites else None
    if command.dry:
        _print_plan([*steps, *([pytest] if pytest else [])])
        return
    error = _lint(command, steps)
    if pytest is None:
        if error is not None:
            raise error
        return
    if error is not None:
        # Said before pytest starts: its closing line has to be the last one, CI reads it.
        console.show_error(error)
    code = quality.run_openly(pytest, root)
    if code or error is not None:
        sys.exit(TestsFailed.exit_code)


@verb("lint")
def lint(command: Command) -> None:
    """Run the checks of `inv test` that need no test run: style, types, imports, scripts, Dockerfiles."""
    steps = quality.lint_steps(command.settings.root, quality.tools_folder())
    if command.dry:
        _print_plan(steps)
        return
    if error := _lint(command, steps):
        raise error


@verb("docs")
def docs(command: Command) -> None:
    """Write the files that are generated from the code, as docs/exit-codes.md."""
    root = command.settings.root
    written = generated.stale_files(root) if command.dry else generated.write(root)
    for path in written:
        console.say(f"{'would write' if command.dry else 'wrote'} {path}")
    if not written:
        console.say("nothing to do: all generated files are current")


def _lint(command: Command, steps: list[quality.Step]) -> TestsFailed | None:
    """Run all steps, even after one failed, and give the error that names the failed ones."""
    failed = []
    for step in steps:
        outcome = quality.run_quietly(step, command.settings.root)
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


def _print_plan(steps: list[quality.Step]) -> None:
    for step in steps:
        console.say(shlex.join(step.argv))
