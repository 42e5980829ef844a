"""Lifecycle commands: those on this machine, those side by side. Order and markers are in test_dev_making.py."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.dev import lifecycle
from synos_tasks.errors import HookFailed
from tests.unit.fake_dev import Scene, container, scene

if TYPE_CHECKING:
    from pathlib import Path

LINE = st.text(min_size=1)
WORDS = st.lists(st.text(), min_size=1)


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    return scene(tmp_path)


@given(st.dictionaries(st.text(), LINE | WORDS))
def test_commands_with_names_are_as_each_alone(told: dict[str, Any]) -> None:
    found = lifecycle.commands(told)
    assert [name for name, _ in found] == list(told)
    for (_, words), value in zip(found, told.values(), strict=True):
        assert lifecycle.commands(value) == [("", words)]
        assert words == (["/bin/sh", "-c", value] if isinstance(value, str) else value)


@pytest.mark.allow_process(reason="the command is one on this machine")
def test_what_is_done_before_runs_here_in_the_projects_folder(
    here: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    config = here.config(initializeCommand={"a": "pwd; cat >seen", "b": ["sh", "-c", "echo $0", "x y"]})
    lifecycle.initialize(here.session, config)
    shown = capfd.readouterr()
    root = here.session.settings.root
    assert (sorted(shown.err.splitlines()), shown.out) == ([str(root), "x y"], "")
    assert (root / "seen").read_text() == ""
    assert here.said == [
        "initializeCommand a: pwd; cat >seen", "initializeCommand b: sh -c 'echo $0' 'x y'"
    ]  # fmt: skip


@pytest.mark.allow_process(reason="the command is one on this machine")
@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), (["/nowhere/x"], 127), (["/etc"], 127)])
def test_a_command_that_fails_or_is_not_there_is_told(here: Scene, command: Any, code: int) -> None:  # noqa: ANN401
    config = here.config(initializeCommand=command)
    with pytest.raises(HookFailed, match=f"initializeCommand failed with exit code {code}") as caught:
        lifecycle.initialize(here.session, config)
    assert caught.value.where == str(config.path)


def test_of_several_the_one_that_failed_is_named_and_all_were_run(here: Scene) -> None:
    config = here.config(postCreateCommand={"good": "a", "bad": "b", "fine": "c"})
    here.containers.codes["b"] = 9
    with pytest.raises(HookFailed, match="postCreateCommand bad failed with exit code 9"):
        lifecycle.run_all(here.session, config, container(config.labels))
    assert sorted(here.containers.asked) == ["a", "b", "c"]


@pytest.mark.allow_process(reason="the marker is a script for a shell")
def test_the_marker_is_the_official_clis(tmp_path: Path) -> None:
    def code(stage: str, life: str) -> int:
        argv = [shutil.which("sh") or "", "-c", lifecycle.MARK, "sh", stage, life]
        return subprocess.run(argv, env={**os.environ, "HOME": f"{tmp_path}/a b"}, check=False).returncode

    assert [code("postCreateCommand", life) for life in ("t1", "t1", "t2")] == [0, 1, 0]
    assert code("postStartCommand", "t1") == 0
    assert (tmp_path / "a b/.devcontainer/.postCreateCommandMarker").read_text() == "t2\n"
