"""The official CLI: found, installed, run, and its outcome told. What is not there is in test_dev_making.py."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.dev import official, starting
from synos_tasks.errors import HookFailed, ImageBuildFailed, SynosError
from tests.unit.fake_dev import Scene, container, scene

if TYPE_CHECKING:
    from collections.abc import Mapping

WORDS = ["[2026-01-01T00:00:00.0Z] x", "#5 [one 1/2] RUN a && b", "#5 ERROR: it broke"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return scene(tmp_path, cli="auto")


def cli(folder: Path, outcome: Mapping[str, Any] | str, code: int = 0) -> Path:
    """Write a CLI that keeps its arguments and its environment."""
    path = folder / "devcontainer"
    told = outcome if isinstance(outcome, str) else json.dumps(outcome)
    lines = "".join(f"echo '{line}' >&2\n" for line in WORDS)
    path.write_text(
        f"#!/bin/sh\nfor a; do echo \"$a\"; done >{folder}/argv\nenv >{folder}/env\n{lines}echo '{told}'\nexit {code}\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.allow_process(reason="the CLI is a process")
@pytest.mark.parametrize("cached", [True, False])
def test_it_is_told_which_configuration_and_its_words_are_kept(
    here: Scene, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "elsewhere.yml")
    config, root = here.config(), here.session.settings.root
    official.up(here.session, config, cli(root, {"outcome": "success"}), cached=cached)
    assert (root / "argv").read_text().splitlines() == [
        "up", f"--workspace-folder={root}", f"--config={config.path}", *([] if cached else ["--build-no-cache"]),
    ]  # fmt: skip
    assert "COMPOSE_" not in (root / "env").read_text()
    assert here.said == ["  [one 1/2] RUN a"]
    assert (root / ".synos/logs/dev-one.log").read_text().splitlines() == WORDS


@pytest.mark.allow_process(reason="the CLI is a process")
@pytest.mark.parametrize(
    ("outcome", "code", "kind", "why"),
    [
        ({"outcome": "error", "message": "no build"}, 1, ImageBuildFailed, "no build"),
        ({"outcome": "error", "description": "described"}, 1, ImageBuildFailed, "described"),
        ({"outcome": "error", "message": "a hook", "containerId": "1"}, 1, HookFailed, "a hook"),
        ({"outcome": "success"}, 3, ImageBuildFailed, "exit code 3"),
        ("nothing at all", 0, ImageBuildFailed, "exit code 0"),
    ],
)
def test_what_it_says_of_a_failure_is_told(
    here: Scene, outcome: Mapping[str, Any] | str, code: int, kind: type[SynosError], why: str
) -> None:
    with pytest.raises(kind) as caught:
        official.up(here.session, here.config(), cli(here.session.settings.root, outcome, code), cached=True)
    assert caught.value.why.splitlines() == [*WORDS, why]
    assert caught.value.where.endswith(".synos/logs/dev-one.log")


def test_where_it_is_there_it_makes_and_starts_the_container(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = here.config(features={"x": {}}, initializeCommand="its own business")
    made: list[Path] = []

    def makes(_session: object, _config: object, path: Path, *, cached: bool) -> None:
        made.append(path)
        here.containers.there = [container(config.labels)]

    monkeypatch.setattr(official, "up", makes)
    monkeypatch.setattr(shutil, "which", {"devcontainer": "/bin/devcontainer"}.get)
    here.containers.there = [container(config.labels, state="exited")]
    assert starting.up(here.session, config).by == "official"
    assert made == [Path("/bin/devcontainer")]
    assert here.containers.asked == []


def test_npm_installs_it_from_our_lock_once(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    root, ran = here.session.settings.root, list[list[str]]()
    for name in ("package.json", "package-lock.json", "README.md"):
        path = root / official.PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")

    def npm(argv: list[str], cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(argv)
        assert sorted(path.name for path in cwd.iterdir()) == ["package-lock.json", "package.json"]
        (cwd / "node_modules/.bin").mkdir(parents=True)
        (cwd / "node_modules/.bin/devcontainer").touch()
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(shutil, "which", {"npm": "/bin/npm", "node": "/bin/node"}.get)
    monkeypatch.setattr(official, "node_major", lambda: official.NODE_MINIMUM)
    monkeypatch.setattr(subprocess, "run", npm)
    own = here.session.state / "cli/node_modules/.bin/devcontainer"
    assert official.ensure(here.session) == official.ensure(here.session) == own
    assert [argv[:3] for argv in ran] == [["npm", "ci", "--ignore-scripts"]]
    monkeypatch.setattr(shutil, "which", {"npm": "/bin/npm"}.get)
    assert official.find(here.session) is None  # it cannot run without Node.js


@pytest.mark.parametrize(("npm", "major"), [("", 22), ("/bin/npm", 18), ("/bin/npm", 0)])
def test_without_a_node_that_is_new_enough_nothing_is_installed(
    here: Scene, monkeypatch: pytest.MonkeyPatch, npm: str, major: int
) -> None:
    monkeypatch.setattr(shutil, "which", {"npm": npm}.get)
    monkeypatch.setattr(official, "node_major", lambda: major)
    assert official.ensure(here.session) is None
    assert here.said == []


def test_without_node_there_is_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("node")

    monkeypatch.setattr(subprocess, "run", missing)
    assert official.node_major() == 0
