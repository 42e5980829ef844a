"""Containers come up and go: made, found again, started again, entered, with lifecycle commands in their order."""

from __future__ import annotations

import dataclasses
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.dev import containers, starting
from synos_tasks.errors import EngineUnavailable, HookFailed, HostUnfit, SettingsError
from synos_tasks.images import ledger
from synos_tasks.locks import exclusive
from tests.unit.fake_dev import IMAGE, Project, project

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project(tmp_path, monkeypatch)


@pytest.fixture
def listening() -> Iterator[Path]:
    """A socket, in a folder whose name is short enough for one."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/docker.sock")
        yield Path(folder, "docker.sock")


def test_up_makes_it_and_a_second_time_there_is_nothing_to_do(
    here: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = here.config(postStartCommand="echo started", runServices=["other"])
    first = starting.up(here.context, config)
    assert (first.by, first.user, first.folder) == ("docker", "dev", str(here.root))
    assert here.composed == [("up", "other", "dev")]
    assert here.commands == ["echo started"]
    assert here.context.running(config).name == first.container
    assert IMAGE in ledger.read(here.context.settings.project.state_dir).images
    # python-on-whales takes longer to import than the rest of a second `dev.up` takes
    monkeypatch.setattr(here.docker, "containers", None)
    again = starting.up(here.context, config)
    assert (again.by, again.container) == ("running", first.container)
    assert (len(here.composed), here.commands) == (1, ["echo started"])


def test_down_removes_what_was_made_with_it(here: Project) -> None:
    config = here.config()
    up = starting.up(here.context, config)
    here.add(config, "another of it")
    for path in config.compose_files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert sorted(starting.down(here.context, config)) == ["another of it", up.container]
    assert here.composed[-1] == ("down",)
    assert not list(here.context.state.glob("*.shell"))
    for path in config.compose_files:
        path.unlink()
    here.composed.clear()
    here.add(config, state="exited")
    assert (starting.up(here.context, config).by, here.composed) == ("docker", [])
    assert (starting.down(here.context, config), here.composed) == (["quirky_name"], [])


def test_a_container_that_the_engine_keeps_is_not_called_removed(here: Project) -> None:
    config = here.config()
    up = starting.up(here.context, config)
    here.docker.refusals[here.context.running(config).id] = "permission denied"
    with pytest.raises(EngineUnavailable, match="could not be removed") as caught:
        starting.down(here.context, config)
    assert (caught.value.where, caught.value.why) == (up.container, "permission denied")
    assert list(here.context.state.glob("*.shell"))


@pytest.mark.parametrize("code", [1, 2, 126])
def test_a_mark_that_cannot_be_read_does_not_mean_that_all_was_run(here: Project, code: int) -> None:
    here.mark_code = code
    with pytest.raises(HookFailed, match="whether onCreateCommand was run is not known"):
        starting.up(here.context, here.config(onCreateCommand="echo created"))
    assert here.commands == []


def test_a_rebuild_that_cannot_be_leaves_the_old_one(here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(here.root))  # no engine of this user
    config = here.config()
    starting.up(here.context, config)
    with pytest.raises(HostUnfit):
        starting.up(here.context, config, rebuild=True, docker="rootless")
    assert len(here.docker.names("container")) == 1
    assert starting.up(here.context, config, rebuild=True, cached=False).by == "docker"
    assert here.built == [True, False]


def test_what_only_the_official_cli_knows_is_refused_by_name(here: Project) -> None:
    config = here.config(dockerComposeFile=None, build={"dockerfile": "x"}, features={}, runArgs=[])
    with pytest.raises(SettingsError, match="build, features, runArgs") as caught:
        starting.up(here.context, config)
    assert "@devcontainers/cli" in caught.value.hint


@pytest.mark.allow_process(reason="the command is one on this machine")
def test_initialize_runs_here_in_the_projects_folder(
    here: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    config = here.config(initializeCommand={"a": "pwd; cat >seen", "b": ["sh", "-c", "echo $0", "x y"]})
    starting.initialize(here.context, config)
    shown = capfd.readouterr()
    assert (sorted(shown.err.splitlines()), shown.out) == ([str(here.root), "x y"], "")
    assert (here.root / "seen").read_text() == ""
    assert here.said == ["initializeCommand a: pwd; cat >seen", "initializeCommand b: sh -c 'echo $0' 'x y'"]


@pytest.mark.allow_process(reason="the command is one on this machine")
@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), (["/nowhere/x"], 127), (["/etc"], 127)])
def test_an_initialize_that_fails_is_told(here: Project, command: Any, code: int) -> None:  # noqa: ANN401
    config = here.config(initializeCommand=command)
    with pytest.raises(HookFailed, match=f"initializeCommand failed with exit code {code}") as caught:
        starting.initialize(here.context, config)
    assert caught.value.where == str(config.path)


def test_another_command_on_the_same_container_is_waited_for(here: Project) -> None:
    config, said, other = here.config(), list[str](), ExitStack()
    here.context.state.mkdir(parents=True)
    other.enter_context(exclusive(here.context.state / "one.lock"))

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 1:
            other.close()  # the other ends

    starting.up(dataclasses.replace(here.context, say=say), config)
    assert said[0] == "waiting for another command on development container one"


def test_scripts_synos_is_left_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = project(tmp_path, monkeypatch, name="one")
    container = starting.up(here.context, here.config(remoteEnv={"A": "b c"})).container
    path = str(here.root / ".devcontainer/one/devcontainer.json")
    wanted = [container, path, "--user=dev", f"--workdir={here.root}", "--env=A=b c"]
    for name in ("one", "default"):
        assert (here.context.state / f"{name}.shell").read_text().splitlines() == wanted
    other = here.config("two", remoteEnv={"A": "b\nc"})  # would not fit on a line
    containers.remember(here.context, other, "x")
    assert not (here.context.state / "two.shell").exists()


@pytest.mark.parametrize("rootless", [True, False])
def test_the_socket_in_use_is_given_with_a_warning_where_it_is_roots(
    here: Project, listening: Path, monkeypatch: pytest.MonkeyPatch, rootless: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{listening}")
    here.docker.rootless = rootless
    config = here.config()
    starting.up(here.context, config, docker="socket")
    assert containers.has_socket(here.context.running(config))
    assert [line[:8] for line in here.said if "root" in line] == ([] if rootless else ["warning:"])
    assert starting.up(here.context, config, docker="socket").by == "running"


@pytest.mark.parametrize(
    ("docker", "host", "told"),
    [
        ("", "tcp://192.0.2.1:2376", "on another machine"),
        ("rootless", "", "no engine's socket"),
        ("socket", "unix:///nowhere", "no engine's socket"),
        ("socket", "unix://{root}/no-socket", "no engine's socket"),
    ],
)
def test_an_engine_that_cannot_be_used_or_given_is_told_first(
    here: Project, monkeypatch: pytest.MonkeyPatch, docker: str, host: str, told: str
) -> None:
    (here.root / "no-socket").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(here.root))
    monkeypatch.setenv("DOCKER_HOST", host.format(root=here.root))
    with pytest.raises((SettingsError, HostUnfit), match=told):
        starting.up(here.context, here.config(), docker=docker)
    assert here.docker.names("container") == []
