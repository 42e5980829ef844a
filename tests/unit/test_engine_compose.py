"""`docker compose` and the engine's own words: commands as they are run, and answers as they are read."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine import api
from synos_tasks.engine import old_compose as compose
from synos_tasks.engine.old_compose import (
    ComposeFile,
    DockerCompose,
    ServiceContainer,
    Usage,
    container_of,
    failure,
    moment,
    usage_of,
)
from synos_tasks.errors import DiskFull, EngineUnavailable, PortTaken, ServiceFailed, SynosError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FILE = ComposeFile(project="synos-x-unified", path=Path("/x/c.yml"), environment={"SYNOS_STACK": "own"})
LABELS = {"com.docker.compose.project": "synos-x-unified", "com.docker.compose.service": "redis"}
STARTED = "2026-01-31T12:00:00.123456789Z"


def inspected(state: dict[str, Any] | None = None, **changes: dict[str, Any] | str) -> dict[str, Any]:
    """Give what the engine says of a container, without what nobody reads."""
    told: dict[str, Any] = {
        "Id": "abc", "Name": "/synos-x-unified-redis-1", "Image": "sha256:1", "RestartCount": 2,
        "Config": {"Labels": dict(LABELS)},
        "State": {
            "Status": "running", "ExitCode": 0, "OOMKilled": False, "StartedAt": STARTED,
            "Health": {
                "Status": "healthy", "FailingStreak": 0,
                "Log": [{"ExitCode": 1, "Output": "no\n"}, {"ExitCode": 0, "Output": "wrote and read\n"}],
            },
        },
        "NetworkSettings": {"Ports": {
            "6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": "7000"}, {"HostIp": "::1", "HostPort": "7000"}],
            "16379/tcp": None,
        }},
    }  # fmt: skip
    return {**told, **changes, "State": told["State"] | (state or {})}


def read(state: dict[str, Any] | None = None, **changes: dict[str, Any] | str) -> ServiceContainer:
    found = container_of(inspected(state, **changes))
    assert found is not None
    return found


def test_a_container_is_read_whole() -> None:
    assert read() == ServiceContainer(
        service="redis", id="abc", name="synos-x-unified-redis-1", state="running", health="healthy",
        said="wrote and read", started=dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC), restarts=2, exit_code=0,
        killed_for_memory=False, image="sha256:1", ports=("127.0.0.1:7000->6379", "::1:7000->6379"),
        labels=LABELS,
    )  # fmt: skip


def test_one_that_ran_a_single_command_is_no_service() -> None:
    assert container_of(inspected(Config={"Labels": {**LABELS, compose.LABEL_ONE_OFF: "True"}})) is None
    assert container_of(inspected(Config={"Labels": {**LABELS, compose.LABEL_ONE_OFF: "False"}})) is not None


def test_a_container_without_a_health_check_is_ready_when_it_runs() -> None:
    state = {"Health": None}
    found = read(state)
    assert (found.health, found.said, found.ready) == ("", "", True)
    assert not read(state={**state, "Status": "exited"}).ready


def test_a_check_that_has_not_said_anything_yet_is_starting() -> None:
    found = read(state={"Health": {"Status": "starting", "Log": None}})
    assert (found.health, found.said, found.ready) == ("starting", "", False)


@pytest.mark.parametrize(
    ("status", "told", "ready"),
    [
        ("running", "healthy", True),
        ("running", "starting", False),
        ("running", "unhealthy", False),
        ("exited", "healthy", False),
        ("restarting", "healthy", False),
        ("paused", "healthy", False),
    ],
)
def test_only_what_runs_and_is_healthy_is_ready(status: str, told: str, ready: bool) -> None:
    assert read(state={"Status": status, "Health": {"Status": told, "Log": []}}).ready is ready


def test_one_that_never_ran_has_no_start_and_no_ports() -> None:
    found = read(
        state={"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"}, NetworkSettings={"Ports": None}
    )  # fmt: skip
    assert (found.started, found.ports) == (None, ())
    assert read(NetworkSettings={}).ports == ()


def test_one_that_was_killed_for_its_memory_says_so() -> None:
    found = read(state={"Status": "exited", "OOMKilled": True, "ExitCode": 137})
    assert (found.killed_for_memory, found.exit_code) == (True, 137)


def test_a_container_without_labels_is_of_no_service() -> None:
    assert read(Config={"Labels": None}).service == ""


@pytest.mark.parametrize("text", [STARTED, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.1Z"])
def test_a_moment_is_read_to_the_second(text: str) -> None:
    assert moment(text) == dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


@given(st.datetimes(min_value=dt.datetime(1970, 1, 1)), st.integers(0, 999_999_999))  # noqa: DTZ001
def test_every_moment_is_read(when: dt.datetime, nanoseconds: int) -> None:
    text = f"{when:%Y-%m-%dT%H:%M:%S}.{nanoseconds}".rstrip("0") + "Z"
    assert moment(text) == when.replace(microsecond=0, tzinfo=dt.UTC)


CPU = {"cpu_usage": {"total_usage": 1_500_000_000, "usage_in_kernelmode": 1}, "online_cpus": 4}


def test_memory_leaves_out_what_the_kernel_can_take_back() -> None:
    v2 = {"usage": 100, "limit": 1000, "stats": {"inactive_file": 30, "active_file": 5}}
    v1 = {"usage": 100, "limit": 1000, "stats": {"total_inactive_file": 40, "inactive_file": 30}}
    assert usage_of({"cpu_stats": CPU, "memory_stats": v2}) == Usage(
        cpu_ns=1_500_000_000, memory=70, memory_limit=1000
    )  # fmt: skip
    assert usage_of({"cpu_stats": CPU, "memory_stats": v1}).memory == 60
    assert usage_of({"memory_stats": {"usage": 10, "stats": {"inactive_file": 30}}}).memory == 0


@pytest.mark.parametrize("stats", [{}, {"cpu_stats": {}, "memory_stats": {}}, {"cpu_stats": None}])
def test_a_container_that_has_just_ended_has_used_nothing(stats: dict[str, Any]) -> None:
    assert usage_of(stats) == Usage(cpu_ns=0, memory=0, memory_limit=0)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("Bind for 127.0.0.1:5432 failed: port is already allocated", PortTaken),
        ("listen tcp4 127.0.0.1:5432: bind: address already in use", PortTaken),
        ("write /var/lib/docker/x: no space left on device", DiskFull),
        ("mkdir /x: No space left on device", DiskFull),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", EngineUnavailable),
        ("error during connect: Get http://x: EOF", EngineUnavailable),
        ("no such service: redsi", ServiceFailed),
        ("", ServiceFailed),
    ],
)
def test_what_compose_says_becomes_an_error_of_ours(said: str, error: type[SynosError]) -> None:
    found = failure(("up", "--detach"), f"  Container x  Starting\n{said}\n", FILE)
    assert type(found) is error
    assert found.where == "docker compose up --detach (/x/c.yml)"
    assert said in found.why


@pytest.mark.parametrize(
    "said",
    [
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        "Error response from daemon: all predefined address pools have been fully subnetted",
    ],
)
def test_addresses_that_are_used_up_are_told_with_where_more_come_from(said: str) -> None:
    found = failure(("up",), f" Network x_data  Error\nfailed to create network x_data: {said}\n", FILE)
    assert type(found) is ServiceFailed
    assert found.what == "the engine has no addresses left for another network"
    assert said in found.why
    assert "`docker network ls`" in found.hint
    assert "default-address-pools in /etc/docker/daemon.json" in found.hint
    assert "prune" not in found.hint  # it takes networks of other projects


def test_only_the_last_lines_are_told() -> None:
    found = failure(("up",), "\n".join(f"line {number}" for number in range(50)), FILE)
    assert found.why.splitlines() == [f"line {number}" for number in range(38, 50)]


def test_a_command_names_its_project_its_file_and_every_profile() -> None:
    assert DockerCompose(FILE).argv("exec", "redis", "a b") == [
        "docker", "compose", "--project-name=synos-x-unified", "--file=/x/c.yml", "--profile=*",
        "exec", "redis", "a b",
    ]  # fmt: skip


def test_a_command_has_the_files_variables_and_none_of_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SYNOS_STACK", "SYNOS_NATS_PORT", "COMPOSE_FILE", "COMPOSE_PROFILES"):
        monkeypatch.setenv(name, "not this")
    monkeypatch.setenv("DOCKER_HOST", "unix:///mine")
    told = DockerCompose(FILE)._environment()
    assert {key: value for key, value in told.items() if key.startswith(("SYNOS_", "COMPOSE_"))} == {
        "SYNOS_STACK": "own", "COMPOSE_ANSI": "never",
    }  # fmt: skip
    assert told["DOCKER_HOST"] == "unix:///mine"
    assert told["PATH"] == os.environ["PATH"]


Answer = tuple[int, str, str]


def docker_says(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[Sequence[str]], Answer]
) -> list[Sequence[str]]:
    """Let the docker command print that: exit code, output, error."""
    ran: list[Sequence[str]] = []

    def run(argv: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(argv)
        return subprocess.CompletedProcess(argv, *answer(argv))

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_containers_come_from_the_socket_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, str] | None]] = []
    once = inspected(Id="once", Config={"Labels": {**LABELS, compose.LABEL_ONE_OFF: "True"}})
    here = {"a": inspected(Id="a", Name="/z"), "b": inspected(Id="b", Name="/y"), "once": once, "gone": None}

    def get(path: str, query: dict[str, str] | None = None) -> object:
        asked.append((path, query))
        if path == "/containers/json":
            return [{"Id": ident} for ident in here]
        return here[path.split("/")[2]]

    monkeypatch.setattr(api, "get", get)
    monkeypatch.setattr(api, "socket_path", lambda: "/x.sock")
    assert [one.id for one in DockerCompose(FILE).containers()] == ["b", "a"]
    query = asked[0][1]
    assert query is not None
    assert query["all"] == "true"
    assert json.loads(query["filters"]) == {"label": ["com.docker.compose.project=synos-x-unified"]}


def test_an_engine_elsewhere_is_asked_through_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "socket_path", lambda: None)
    ran = docker_says(
        monkeypatch,
        lambda argv: (0, "abc\n", "") if argv[1] == "ps" else (0, json.dumps([inspected()]), ""),
    )
    stack = DockerCompose(FILE)
    assert [one.service for one in stack.containers()] == ["redis"]
    assert "--filter=label=com.docker.compose.project=synos-x-unified" in ran[0]
    assert ran[1] == ["docker", "inspect", "abc"]
    assert stack.usage(["abc"]) == {}
    docker_says(monkeypatch, lambda _: (0, "", ""))
    assert stack.containers() == []


def test_an_engine_elsewhere_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "socket_path", lambda: None)
    docker_says(monkeypatch, lambda _: (1, "", "Cannot connect to the Docker daemon at tcp://x. Is it?\n"))
    with pytest.raises(EngineUnavailable):
        DockerCompose(FILE).containers()


def test_usage_leaves_out_what_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "socket_path", lambda: "/x.sock")
    monkeypatch.setattr(
        api, "get", lambda path, _query: None if "gone" in path else {"memory_stats": {"usage": 5}}
    )
    assert DockerCompose(FILE).usage(["gone", "a"]) == {"a": Usage(cpu_ns=0, memory=5, memory_limit=0)}


def test_a_log_is_both_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = docker_says(monkeypatch, lambda _: (0, "out\n", "err\n"))
    assert DockerCompose(FILE).log("abc", 12) == "out\nerr"
    assert ran == [["docker", "logs", "--tail=12", "abc"]]


def test_without_the_command_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    monkeypatch.setattr(subprocess.Popen, "__init__", missing)
    with pytest.raises(EngineUnavailable, match="no `docker` command"):
        DockerCompose(FILE).log("abc", 1)
    with pytest.raises(EngineUnavailable, match="no `docker` command"):
        DockerCompose(FILE).run("ps")
