"""The official CLI: found, run, and its outcome told."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.dev import official, starting
from synos_tasks.errors import HookFailed, HostUnfit, ImageBuildFailed, SynosError
from tests.unit.fake_dev import Project, project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MESSAGES = ["#5 [one 1/2] RUN a && b", "what a command prints"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project(tmp_path, monkeypatch, cli="auto")


def cli(folder: Path, outcome: Mapping[str, Any] | str, code: int = 0) -> str:
    """Write a CLI that keeps its arguments and its environment."""
    path = folder / "devcontainer"
    printed = outcome if isinstance(outcome, str) else json.dumps(outcome)
    lines = "".join(f"echo '{line}' >&2\n" for line in MESSAGES)
    path.write_text(
        f'#!/bin/sh\nfor a; do echo "$a"; done >{folder}/argv\nenv >{folder}/env\n{lines}'
        f"echo '{printed}'\nexit {code}\n"
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.allow_process(reason="the CLI is a process")
@pytest.mark.parametrize(
    ("outcome", "code", "kind", "why"),
    [
        ({"outcome": "error", "message": "no build"}, 1, ImageBuildFailed, "no build"),
        ({"outcome": "error", "message": "a hook", "containerId": "1"}, 1, HookFailed, "a hook"),
        ({"outcome": "success"}, 3, ImageBuildFailed, "exit code 3"),
        ("[1]", 0, ImageBuildFailed, "exit code 0"),
    ],
)
def test_its_reason_for_a_failure_is_told(
    here: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    outcome: Mapping[str, Any] | str, code: int, kind: type[SynosError], why: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("COMPOSE_FILE", "elsewhere.yml")
    with pytest.raises(kind) as caught:
        official.up(here.context, here.config(), cli(here.root, outcome, code), cached=True)
    assert caught.value.why == why
    assert "COMPOSE_" not in (here.root / "env").read_text()
    assert capfd.readouterr().err.splitlines() == MESSAGES


def test_where_it_is_there_it_makes_and_starts_the_container(
    here: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = here.config(features={"x": {}}, initializeCommand="its own business")
    here.add(config, state="exited")
    used: list[str] = []

    def makes(_context: object, _config: object, path: str, *, cached: bool) -> None:
        used.append(path)
        here.add(config)

    monkeypatch.setattr(official, "up", makes)
    monkeypatch.setattr(shutil, "which", {"devcontainer": "/bin/devcontainer"}.get)
    assert starting.up(here.context, config).by == "official"
    assert (used, here.commands, here.composed) == (["/bin/devcontainer"], [], [])


def test_the_settings_choose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {"devcontainer": "/bin/devcontainer"}
    monkeypatch.setattr(shutil, "which", paths.get)
    found = [official.find(wanted) for wanted in ("auto", "official", "docker")]
    assert found == ["/bin/devcontainer", "/bin/devcontainer", ""]
    paths.clear()
    assert official.find("auto") == ""
    with pytest.raises(HostUnfit, match="no `devcontainer` command") as caught:
        official.find("official")
    assert "npm install" in caught.value.hint
