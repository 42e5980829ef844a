from __future__ import annotations

from pathlib import Path

import pytest

from synos_tasks.errors import SettingsError
from synos_tasks.root import quality

TOOLS = Path("/venv/bin")


def test_only_sorts_and_defaults_to_everything() -> None:
    assert quality.parse_only("") == ("lint", "unit", "integration", "e2e")
    assert quality.parse_only("e2e, unit") == ("unit", "e2e")


def test_only_refuses_what_it_does_not_know() -> None:
    with pytest.raises(SettingsError, match="'units'"):
        quality.parse_only("unit,units")


def test_lint_finds_scripts_and_dockerfiles_by_itself(tmp_path: Path) -> None:
    for name in (
        "scripts/synos",
        "scripts/setup/a.sh",
        ".ci/run",
        "docker/build/Dockerfile",
        "docker/x/Dockerfile.dev",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    steps = {step.name: step.argv for step in quality.lint_steps(tmp_path, TOOLS)}
    assert steps["shellcheck"][-3:] == (".ci/run", "scripts/setup/a.sh", "scripts/synos")
    assert steps["hadolint"][-2:] == ("docker/build/Dockerfile", "docker/x/Dockerfile.dev")
    assert all(argv[0].startswith("/venv/bin/") for argv in steps.values())


def test_a_project_without_scripts_has_no_such_steps(tmp_path: Path) -> None:
    names = [step.name for step in quality.lint_steps(tmp_path, TOOLS)]
    assert names == ["ruff check", "ruff format", "mypy", "imports", "generated files"]


def test_pytest_is_called_once_for_all_suites() -> None:
    argv = quality.pytest_step(["unit", "e2e"], TOOLS).argv
    assert argv == ("/venv/bin/python", "-m", "pytest", "-m", "not long", "tests/unit", "tests/e2e")


@pytest.mark.allow_process(reason="a tool that is not there is an error of starting it")
def test_a_missing_tool_is_a_failed_step(tmp_path: Path) -> None:
    outcome = quality.run_quietly(quality.Step(name="x", argv=("/no/such/tool",)), tmp_path)
    assert outcome.code == 127
    assert "/no/such/tool cannot be run" in outcome.output
