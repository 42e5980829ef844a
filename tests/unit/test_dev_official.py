"""The official CLI: found, installed where npm is there, run, and its outcome told."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from synos_tasks.dev import official, starting
from synos_tasks.errors import HookFailed, HostUnfit, ImageBuildFailed, SynosError
from tests.unit.fake_dev import Project, project

if TYPE_CHECKING:
    from collections.abc import Mapping

MESSAGES = [
    "[2026-01-01T00:00:00.0Z] x",
    "#1 [internal] load build definition",
    "#5 [one 1/2] RUN a && b",
    "#5 [one 1/2] RUN a && b",
    "#5 DONE 1.0s",
    "[2026-01-01T00:00:00.0Z] Running the postCreateCommand from devcontainer.json...",
    "what the command prints",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project(tmp_path, monkeypatch, cli="auto")


def cli(folder: Path, outcome: Mapping[str, Any] | str, code: int = 0) -> Path:
    """Write a CLI that keeps its arguments and its environment."""
    path = folder / "devcontainer"
    printed = outcome if isinstance(outcome, str) else json.dumps(outcome)
    lines = "".join(f"echo '{line}' >&2\n" for line in MESSAGES)
    path.write_text(
        f'#!/bin/sh\nfor a; do echo "$a"; done >{folder}/argv\nenv >{folder}/env\n{lines}'
        f"echo '{printed}'\nexit {code}\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.allow_process(reason="the CLI is a process")
@pytest.mark.parametrize("cached", [True, False])
def test_it_gets_the_configuration_and_its_messages_are_logged(
    here: Project, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "elsewhere.yml")
    config = here.config()
    official.up(here.context, config, cli(here.root, {"outcome": "success"}), cached=cached)
    assert (here.root / "argv").read_text().splitlines() == [
        "up", f"--workspace-folder={here.root}", f"--config={config.path}", *([] if cached else ["--build-no-cache"]),
    ]  # fmt: skip
    assert "COMPOSE_" not in (here.root / "env").read_text()
    running = "Running the postCreateCommand from devcontainer.json..."
    assert here.said == ["  [one 1/2] RUN a", running, "what the command prints"]
    assert (here.root / ".synos/logs/dev-one.log").read_text().splitlines() == MESSAGES


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
    here: Project, outcome: Mapping[str, Any] | str, code: int, kind: type[SynosError], why: str
) -> None:
    with pytest.raises(kind) as caught:
        official.up(here.context, here.config(), cli(here.root, outcome, code), cached=True)
    assert caught.value.why.splitlines() == [*MESSAGES, why]
    assert caught.value.where.endswith(".synos/logs/dev-one.log")


def test_where_it_is_there_it_makes_and_starts_the_container(
    here: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = here.config(features={"x": {}}, initializeCommand="its own business")
    here.add(config, state="exited")
    used: list[Path] = []

    def makes(_context: object, _config: object, path: Path, *, cached: bool) -> None:
        used.append(path)
        here.add(config)

    monkeypatch.setattr(official, "up", makes)
    monkeypatch.setattr(shutil, "which", {"devcontainer": "/bin/devcontainer"}.get)
    assert starting.up(here.context, config).by == "official"
    assert (used, here.commands, here.composed) == ([Path("/bin/devcontainer")], [], [])


def test_the_settings_choose_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {"devcontainer": "/bin/devcontainer"}
    monkeypatch.setattr(shutil, "which", paths.get)
    assert official.ensure(project(tmp_path, monkeypatch, cli="auto").context) == Path("/bin/devcontainer")
    assert official.ensure(project(tmp_path, monkeypatch, cli="docker").context) is None
    paths.clear()
    assert official.ensure(project(tmp_path, monkeypatch, cli="auto").context) is None
    with pytest.raises(HostUnfit, match="no @devcontainers/cli"):
        official.ensure(project(tmp_path, monkeypatch, cli="official").context)


def test_npm_installs_it_from_our_lock_once(here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    for name in ("package.json", "package-lock.json", "README.md"):
        path = here.root / "docker" / official.PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")

    def npm(argv: list[str], cwd: Path, **_: object) -> subprocess.CompletedProcess[bytes]:
        ran.append(argv)
        assert sorted(path.name for path in cwd.iterdir()) == ["package-lock.json", "package.json"]
        (cwd / "node_modules/.bin").mkdir(parents=True)
        (cwd / "node_modules/.bin/devcontainer").touch()
        return subprocess.CompletedProcess(argv, 0, b"", b"")

    monkeypatch.setattr(shutil, "which", {"npm": "/bin/npm", "node": "/bin/node"}.get)
    monkeypatch.setattr(official, "installable", lambda: True)
    monkeypatch.setattr(subprocess, "run", npm)
    own = here.context.state / "cli/node_modules/.bin/devcontainer"
    assert official.ensure(here.context) == official.ensure(here.context) == own
    assert [argv[:3] for argv in ran] == [["npm", "ci", "--ignore-scripts"]]
    monkeypatch.setattr(shutil, "which", {"npm": "/bin/npm"}.get)
    assert official.find(here.context) is None  # it cannot run without Node.js


def test_npm_that_does_not_install_it_is_told(here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(official, "installable", lambda: True)
    failed = subprocess.CompletedProcess([], 1, b"", b"npm error network\nnpm error no answer\n")
    ends = [failed, subprocess.TimeoutExpired("npm", 120)]
    monkeypatch.setattr(subprocess, "run", mock.Mock(side_effect=ends))
    for reason in ("no answer", "more than 120 s"):
        assert official.ensure(here.context) is None
        assert here.said[-1].endswith(f"{reason}); going on without it")


@pytest.mark.parametrize(
    ("there", "version", "wanted"),
    [
        ("npm node", "v20.20.2\n", True),
        ("npm node", "v18.1.0\n", False),
        ("npm node", "", False),
        ("node", "v22.0.0\n", False),
    ],
)
def test_npm_and_a_node_that_is_new_enough_install_it(
    monkeypatch: pytest.MonkeyPatch, there: str, version: str, wanted: bool
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name in there.split() else None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: mock.Mock(stdout=version))
    assert official.installable() is wanted
