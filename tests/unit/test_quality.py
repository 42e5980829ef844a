from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.repository import quality
from synos_tasks.errors import SettingsError

TOOLS = Path(sys.executable).parent


def test_only_sorts_and_defaults_to_everything() -> None:
    assert quality.parse_only("") == ("lint", "unit", "integration", "e2e")
    assert quality.parse_only("e2e, unit") == ("unit", "e2e")


def test_only_refuses_what_it_does_not_know() -> None:
    with pytest.raises(SettingsError, match="'units'"):
        quality.parse_only("unit,units")


def test_lint_finds_scripts_and_dockerfiles_by_itself(tmp_path: Path) -> None:
    for name, text in {
        "scripts/synos": "#!/usr/bin/env bash\n", "scripts/setup/a.sh": "# sourced\n", ".ci/run": "#!/bin/sh\n",
        "docker/services/x/start": "#!/bin/sh\n", "docker/services/x/conf": "a\n", "docker/empty": "",
        "scripts/bench": "#!/usr/bin/env python3\n", "docker/build/Dockerfile": "", "docker/x/Dockerfile.dev": "",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    steps = {step.name: step.argv for step in quality.lint_steps(tmp_path)}
    assert steps["shellcheck"][2:] == (
        ".ci/run", "docker/services/x/start", "scripts/setup/a.sh", "scripts/synos",
    )  # fmt: skip
    assert steps["hadolint"][1:] == ("docker/build/Dockerfile", "docker/x/Dockerfile.dev")
    assert all(Path(argv[0]).parent == TOOLS for argv in steps.values())


@pytest.mark.allow_process(reason="a tool that is not there is an error of starting it")
def test_a_missing_tool_is_a_failed_step(tmp_path: Path) -> None:
    outcome = quality.run_quietly(quality.Step(name="x", argv=("/no/such/tool",)), tmp_path)
    assert outcome.code == 127
    assert "/no/such/tool cannot be run" in outcome.output
