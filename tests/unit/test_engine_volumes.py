"""What is asked of the Docker CLI about volumes, and how a container's streams are held."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.engine import api
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.engine.streams import streaming
from synos_tasks.engine.volumes import DockerVolumes, User
from synos_tasks.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SPEC = ContainerSpec(name="n", image="i", command=("c",), labels={}, logged=False)
ONE = {
    "Name": "p-one", "CreatedAt": "2027-01-15T08:00:00Z", "Labels": {"io.synos.role": "cache"},
    "Mountpoint": "/engine/p-one/_data", "Options": None,
}  # fmt: skip
TWO = {**ONE, "Name": "p-two", "Labels": None, "Options": {"type": "none", "device": ONE["Mountpoint"]}}


def answers(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[list[str]], tuple[int, str, str]]
) -> list[Any]:
    """Let a function stand for the `docker` command: exit code, output, messages."""
    asked: list[Any] = []

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(argv[1:])
        code, out, err = answer(argv[1:])
        return subprocess.CompletedProcess(argv, code, out, err)

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def well(argv: list[str]) -> tuple[int, str, str]:
    if argv[:2] == ["volume", "ls"]:
        return 0, "p-two\np-one\n", ""
    if argv[:2] == ["volume", "inspect"]:
        return 0, json.dumps([one for one in (TWO, ONE) if one["Name"] in argv]), ""
    if argv[0] == "ps":
        return 0, '"a"\t"running"\t"p-one,/home/x"\n"b"\t"exited"\t"p-one,p-two"\n"c"\t"created"\t""\n', ""
    return 0, "", ""


def sizes(method: str, path: str, query: dict[str, str], *, timeout: float) -> tuple[int, Any]:
    assert (method, path, query) == ("GET", "/system/df", {"type": "volume"})
    told = [{"Name": "p-one", "UsageData": {"Size": 7}}, {"Name": "p-two", "UsageData": {"Size": -1}}]
    return 200, {"Volumes": told}


def test_all_that_is_known_of_a_projects_volumes_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, well)
    monkeypatch.setattr(api, "socket_path", lambda: "/socket")
    monkeypatch.setattr(api, "request", sizes)
    one, two = DockerVolumes().listing("p")
    assert "--filter=label=io.synos.project=p" in asked[0]
    assert (one.name, one.role, one.bytes, one.created) == ("p-one", "cache", 7, 1_800_000_000.0)
    assert one.users == (User(name="a", state="running"), User(name="b", state="exited"))
    assert [user.is_live for user in one.users] == [True, False]
    assert (two.device, two.bytes, two.role) == ("/engine/p-one/_data", None, "")


def test_without_the_engines_socket_sizes_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, well)
    monkeypatch.setattr(api, "socket_path", lambda: None)
    assert [one.bytes for one in DockerVolumes().listing("p")] == [None, None]


def test_without_a_volume_nothing_more_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, lambda _: (0, "", ""))
    assert DockerVolumes().listing("p") == []
    assert len(asked) == 1


def test_one_that_went_away_meanwhile_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(argv: list[str]) -> tuple[int, str, str]:
        if argv[:2] == ["volume", "inspect"] and "p-two" in argv:
            return 1, "[]", "Error response from daemon: get p-two: no such volume"
        return well(argv)

    answers(monkeypatch, gone)
    monkeypatch.setattr(api, "socket_path", lambda: None)
    assert [one.name for one in DockerVolumes().listing("p")] == ["p-one"]
    assert DockerVolumes().find("p-two") is None
    assert DockerVolumes().remove("p-one") == ""


def test_what_the_engine_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, lambda _: (1, "", "Error response from daemon: remove x: volume is in use - [id]"))
    assert "in use" in DockerVolumes().remove("x")
    with pytest.raises(EngineUnavailable):
        DockerVolumes().create("x", {"a": "b"})
    with pytest.raises(EngineUnavailable):
        DockerVolumes().find("x")
    answers(monkeypatch, well)
    monkeypatch.setattr(api, "socket_path", lambda: "/socket")
    monkeypatch.setattr(api, "request", lambda *_, **__: (500, {"message": "broken"}))
    with pytest.raises(EngineUnavailable) as refused:
        DockerVolumes().listing("p")
    assert refused.value.why == "broken"


def test_without_docker_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    monkeypatch.setattr(subprocess.Popen, "__init__", missing)
    with pytest.raises(EngineUnavailable, match="no `docker` command"):
        DockerVolumes().find("x")
    with pytest.raises(EngineUnavailable, match="no `docker` command"), streaming(SPEC):
        pass


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a script in the place of the `docker` command; its folder is given back, and has what was asked."""

    def lay(script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        path = folder / "docker"
        path.write_text(f'#!/bin/sh\necho "$@" >>"{folder}/asked"\ncase $1 in rm) exit 0 ;; esac\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return folder

    return lay


needs_processes = pytest.mark.allow_process(reason="a stand-in for docker, whose pipes are what is tested")


@needs_processes
def test_both_ways_of_a_stream_are_open_at_once(docker: Callable[[str], Path]) -> None:
    """More than a pipe holds, in both directions."""
    asked = docker('cat; printf "./a\\n./dir/\\n./b\\ntar: note\\n" >&2') / "asked"
    given = [b"x" * 65536] * 40
    with streaming(SPEC, given) as stream:
        assert stream.out.read() == b"".join(given)
        ended = stream.finish()
    assert (ended.code, ended.files, ended.said) == (0, 2, "tar: note")
    assert "--log-driver=none" in asked.read_text()
    assert len(asked.read_text().splitlines()) == 1


@needs_processes
def test_one_that_does_not_read_its_input_tells_why(docker: Callable[[str], Path]) -> None:
    docker("echo damaged >&2; exit 2")
    with streaming(SPEC, [b"x" * 65536] * 40) as stream:
        assert stream.out.read() == b""
        ended = stream.finish()
    assert (ended.code, ended.said) == (2, "damaged")


@needs_processes
def test_input_that_fails_is_raised_where_it_is_waited_for(docker: Callable[[str], Path]) -> None:
    docker("cat >/dev/null; exit 1")

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise OSError(5, "Input/output error")

    with streaming(SPEC, broken()) as stream, pytest.raises(OSError, match="Input/output"):
        stream.finish()


@needs_processes
def test_one_that_the_engine_cannot_start_is_an_error_of_the_engine(docker: Callable[[str], Path]) -> None:
    docker("echo no such image >&2; exit 125")
    with streaming(SPEC) as stream, pytest.raises(EngineUnavailable) as failed:
        stream.finish()
    assert failed.value.why == "no such image"


@needs_processes
def test_one_that_is_left_early_is_ended_and_removed(docker: Callable[[str], Path]) -> None:
    asked = docker("exec sleep 60") / "asked"
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), streaming(SPEC, [b"x"]):
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10
    assert asked.read_text().splitlines()[-1] == "rm --force --volumes n"
