"""Bringing containers up: the engine's socket, two commands at a time. The rest is in test_dev_making.py."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.dev import making, starting
from synos_tasks.errors import HookFailed, HostUnfit, SettingsError
from tests.unit.fake_dev import Scene, container, scene

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return scene(tmp_path)


@pytest.fixture
def listening() -> Iterator[Path]:
    """A socket, in a folder whose name is short enough for one."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/docker.sock")
        yield Path(folder, "docker.sock")


@pytest.mark.parametrize("rootless", [True, False])
def test_the_socket_in_use_is_given_with_a_warning_where_it_is_roots(
    here: Scene, listening: Path, monkeypatch: pytest.MonkeyPatch, rootless: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{listening}")
    here.containers.rootless = rootless
    starting.up(here.session, here.config(), docker="socket")
    [(_, argv)] = [asked for asked in here.containers.asked if asked[0] == "create"]
    assert f"--mount=type=bind,source={listening},target=/run/docker.sock" in argv
    assert f"--group-add={listening.stat().st_gid}" in argv
    assert "--env=DOCKER_HOST=unix:///run/docker.sock" in argv
    assert [line[:8] for line in here.said if "root" in line] == ([] if rootless else ["warning:"])


def test_an_empty_docker_host_is_none(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "")
    config = here.config()
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(HostUnfit) as caught:
        starting.socket_options(here.session, config, "socket")
    assert caught.value.where == "unix:///var/run/docker.sock"


def test_a_file_is_no_socket(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    (here.session.settings.root / "docker.sock").touch()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{here.session.settings.root}/docker.sock")
    with pytest.raises(HostUnfit, match="no socket on this machine"):
        starting.up(here.session, here.config(), docker="socket")


@pytest.mark.parametrize("sources", [(), ("/run/user/7/docker.sock",)])
@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_wrong_value_is_told_whatever_is_there(here: Scene, sources: tuple[str, ...], state: str) -> None:
    config = here.config()
    here.containers.there = [container(config.labels, sources=sources, state=state)]
    with pytest.raises(SettingsError, match="--docker is 'yes'"):
        starting.up(here.session, config, docker="yes")


def test_one_that_has_the_socket_is_up_already(here: Scene) -> None:
    config = here.config()
    here.containers.there = [container(config.labels, sources=("/run/user/7/docker.sock",))]
    assert starting.up(here.session, config, docker="rootless").by == "running"


def test_a_container_whose_command_failed_is_gone_on_with_by_the_next_up(here: Scene) -> None:
    config = here.config(postCreateCommand="a", postStartCommand="b")
    here.containers.codes["a"] = 1
    with pytest.raises(HookFailed):
        starting.up(here.session, config)
    assert len(here.containers.there) == 1
    assert not list(here.session.state.glob("*.shell"))
    assert starting.up(here.session, config).by == "running"


def test_another_command_on_the_same_container_is_waited_for(here: Scene) -> None:
    config, said = here.config(), list[str]()
    here.session.state.mkdir(parents=True)
    other = os.open(here.session.state / "one.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 1:
            os.close(other)  # the other ends

    starting.up(dataclasses.replace(here.session, say=say), config)
    assert said[0] == "another command works on development container one: waiting for it"


COMPOSED: dict[str, Any] = {
    "build": None, "mounts": None, "dockerComposeFile": ["../../a.yml", "../../.synos/dev/one.yml"],
    "service": "dev",
}  # fmt: skip


@pytest.mark.parametrize("there", [True, False])
def test_what_compose_made_beside_a_container_goes_with_it_where_it_can_be_told(
    here: Scene, there: bool
) -> None:
    config = here.config(**COMPOSED)
    here.containers.there = [container(config.labels), container(config.labels, id="2")]
    if there:
        for path in config.compose_files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert starting.down(here.session, config) == ["quirky_name"] * 2
    assert [compose.ran for compose in here.composes] == ([[("down",)]] if there else [])


def test_a_composed_one_that_is_to_be_kept_running_is(here: Scene) -> None:
    config = here.config(**COMPOSED, overrideCommand=True, customizations={"costs": "$5"})
    making.make(here.session, config, [], cached=True)
    override = json.loads((here.session.state / "one.labels.yml").read_text())["services"]["dev"]
    assert override["entrypoint"][2] == making.KEEP_RUNNING.replace("$", "$$")  # compose takes one back
    assert override["command"] == []
    assert '"costs": "$$5"' in override["labels"]["devcontainer.metadata"]
    assert here.composes[0].ran[-1] == ("up", "--detach", "--no-build", "dev")
