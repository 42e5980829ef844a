"""The daemon behind the socket: which file it reads, whether it would take one, and how it is started again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.engine import api, daemon
from synos_tasks.engine.daemon import CONFIG, Daemon
from synos_tasks.errors import EngineUnavailable, HostUnfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ME = os.getpid()
INFO: dict[str, Any] = {
    "ServerVersion": "26.1.5",
    "DockerRootDir": "/var/lib/docker",
    "OperatingSystem": "Debian GNU/Linux 12",
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "ContainersRunning": 3,
    "LiveRestoreEnabled": False,
}


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Have a socket at which this process listens."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        path = f"{folder}/docker.sock"
        listening.bind(path)
        listening.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield path


@pytest.fixture(autouse=True)
def info(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the engine says of itself; no process is a dockerd."""
    told = dict(INFO)
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(api, "get", lambda _path: told)
    processes(monkeypatch, {})
    return told


def processes(monkeypatch: pytest.MonkeyPatch, there: dict[int, str]) -> None:
    monkeypatch.setattr(daemon, "_pids", lambda: list(there))
    monkeypatch.setattr(daemon, "_words", lambda pid: there[pid].split())


@pytest.mark.parametrize(
    ("line", "config"),
    [
        ("/usr/sbin/dockerd --config-file=/some/where.json --debug", "/some/where.json"),
        ("dockerd --config-file /some/where.json", "/some/where.json"),
        ("dockerd --config-file=here.json", f"{Path.cwd()}/here.json"),
        ("dockerd --debug", str(CONFIG)),
        ("dockerd --config-file", str(CONFIG)),
    ],
)
def test_who_listens_says_which_file_it_reads(
    listener: str, monkeypatch: pytest.MonkeyPatch, line: str, config: str
) -> None:
    processes(monkeypatch, {1: "systemd", ME: line, ME + 1: "dockerd --config-file=/others.json"})
    found = daemon.look()
    assert (found.pid, str(found.config), found.socket) == (ME, config, listener)
    assert (found.version, found.root_dir, found.containers) == ("26.1.5", Path("/var/lib/docker"), 3)


@pytest.mark.usefixtures("listener")
def test_behind_a_listener_that_is_none_nobody_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    processes(monkeypatch, {ME: "systemd", ME + 1: "dockerd --config-file=/others.json"})
    found = daemon.look()
    assert (found.pid, found.config) == (None, CONFIG)


def test_behind_systemds_usual_socket_it_is_the_only_one(
    listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "USUAL_SOCKETS", (listener,))
    there = {ME: "systemd", ME + 1: "/usr/bin/dockerd -H fd:// --config-file=/named.json"}
    processes(monkeypatch, there)
    assert (daemon.look().pid, str(daemon.look().config)) == (ME + 1, "/named.json")
    processes(monkeypatch, {**there, ME + 2: "dockerd"})
    assert daemon.look().pid is None


def test_a_rootless_one_reads_its_users(
    info: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info["SecurityOptions"] = ["name=rootless"]
    assert daemon.look().config == tmp_path / ".config/docker/daemon.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/xdg")
    assert str(daemon.look().config) == "/xdg/docker/daemon.json"
    assert (
        daemon.look().restart_hint().startswith("systemctl --user restart docker; that stops every container")
    )


@pytest.mark.parametrize("host", ["ssh://there", "tcp://10.0.0.1:2375"])
def test_an_engine_elsewhere_has_its_file_there(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(HostUnfit, match="not this machine's") as caught:
        daemon.look()
    assert caught.value.where == host


def test_one_of_a_context_is_elsewhere_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "there")
    with pytest.raises(HostUnfit):
        daemon.look()


def test_docker_desktop_has_no_file(info: dict[str, Any]) -> None:
    info["OperatingSystem"] = "Docker Desktop"
    with pytest.raises(HostUnfit, match="Docker Desktop"):
        daemon.look()


@pytest.mark.parametrize(
    ("booted", "script", "socket", "hint"),
    [
        (True, True, "/run/docker.sock", "sudo systemctl restart docker"),
        (False, True, "/var/run/docker.sock", "sudo service docker restart"),
        (False, False, "/var/run/docker.sock", "sudo kill 42, and ./scripts/synos doctor"),
        (True, True, "/tmp/own.sock", "end dockerd (process 42) and start it"),
    ],
)
def test_how_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, booted: bool, script: bool, socket: str, hint: str
) -> None:
    monkeypatch.setattr(daemon, "BOOTED", tmp_path if booted else tmp_path / "none")
    monkeypatch.setattr(daemon, "INIT_SCRIPT", tmp_path if script else tmp_path / "none")
    found = Daemon(version="", socket=socket, root_dir=tmp_path, config=CONFIG, pid=42, containers=2)
    assert found.restart_hint().startswith(hint)
    assert found.restart_hint().endswith("other projects' too (2 run now)")


def test_containers_that_outlive_it_are_not_said_to_stop(tmp_path: Path) -> None:
    found = Daemon(version="", socket="", root_dir=tmp_path, config=CONFIG, live_restore=True)
    assert "stops" not in found.restart_hint()


def answering(monkeypatch: pytest.MonkeyPatch, run: Callable[[list[str]], tuple[int, str, str]]) -> None:
    def done(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        code, out, err = run(argv)
        return subprocess.CompletedProcess(argv, code, out, err)

    monkeypatch.setattr(subprocess, "run", done)


def test_dockerd_reads_the_text_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shutil, "which", lambda name, path: f"/usr/sbin/{name}" if "/usr/sbin" in path else ""
    )
    read: list[Path] = []

    def validate(argv: list[str]) -> tuple[int, str, str]:
        tool, option, file = argv
        assert (tool, option) == ("/usr/sbin/dockerd", "--validate")
        read.append(Path(file.removeprefix("--config-file=")))
        bad = read[-1].read_text() == "bad"
        return (1, "", "unable: bad\n") if bad else (0, "", "configuration OK\n")

    answering(monkeypatch, validate)
    assert daemon.refusal("{}") == ""
    assert daemon.refusal("bad") == "unable: bad"
    assert not any(path.exists() for path in read)


def test_without_a_dockerd_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name, path: None)
    assert daemon.refusal("bad") == ""


def test_the_engines_own_builder_is_asked_whichever_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    answering(monkeypatch, lambda argv: asked.append(argv) or (0, "Name: default", ""))  # type: ignore[func-returns-value]
    assert daemon.inspect_builder() == "Name: default"
    assert asked == [["docker", "buildx", "inspect", "default"]]


def test_a_builder_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda _argv: (1, "", "ERROR: no\n"))
    with pytest.raises(EngineUnavailable) as caught:
        daemon.inspect_builder()
    assert caught.value.why == "ERROR: no"

    def none(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", none)
    with pytest.raises(EngineUnavailable, match="no `docker` command"):
        daemon.inspect_builder()
