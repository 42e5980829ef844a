"""Versions and errors of the engine and of compose, and that nothing else starts `docker`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine import client
from synos_tasks.engine.compose import Compose, failure
from synos_tasks.engine.failures import version_tuple
from synos_tasks.engine.labels import BUILDER_CAPABILITIES, TOOLCHAIN_CAPABILITIES
from synos_tasks.errors import DiskFull, EngineUnavailable, PortTaken, ServiceFailed

SOURCES = Path(client.__file__).resolve().parent.parent


def test_without_a_docker_command_the_error_names_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineUnavailable, match="no `docker` command") as caught:
        client.Docker().containers()
    assert "./scripts/synos" in caught.value.hint


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=3), st.sampled_from(["", "+dfsg1", "-ce", "~rc1"])
)
def test_a_version_is_read_whatever_follows_it(numbers: list[int], suffix: str) -> None:
    assert version_tuple("v" + ".".join(map(str, numbers)) + suffix) == tuple(numbers)


def test_the_capabilities_are_exactly_those_of_the_safety_rule() -> None:
    wanted = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD SETFCAP SETGID SETUID SYS_CHROOT"
    assert " ".join(BUILDER_CAPABILITIES) == wanted
    assert set(BUILDER_CAPABILITIES) - set(TOOLCHAIN_CAPABILITIES) == {"MKNOD", "SYS_CHROOT"}


def test_only_the_engine_package_starts_docker() -> None:
    command = re.compile(r"[\[(]\s*[\"'](docker|podman|docker-compose)[\"']\s*,")
    assert command.search('run(["docker", "ps"])')
    elsewhere = [path for path in SOURCES.rglob("*.py") if SOURCES / "engine" not in path.parents]
    assert [path for path in elsewhere if command.search(path.read_text())] == []


def test_without_any_program_on_path_compose_has_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineUnavailable, match="no `docker` command"):
        Compose(project="p", path=Path("c.yml")).config()


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("Bind for 127.0.0.1:5432 failed: port is already allocated", PortTaken, ""),
        ("listen tcp4 0.0.0.0:80: bind: address already in use", PortTaken, ""),
        ("write /var/lib: No space left on device", DiskFull, "docker system df"),
        ("Cannot connect to the Docker daemon at unix:///x", EngineUnavailable, ""),
        ("error during connect: EOF", EngineUnavailable, ""),
        ('unable to resolve docker endpoint: context "x": context not found', EngineUnavailable, "doctor"),
        ("all predefined address pools have been fully subnetted", ServiceFailed, "docker network ls"),
        ("service x has neither an image nor a build context", ServiceFailed, ""),
    ],
)
def test_each_failure_of_compose_has_its_error(text: str, error: type[Exception], hint: str) -> None:
    raised = failure(["up"], f"first\n{text}", Path("/stack.yml"))
    assert type(raised) is error
    assert text in raised.why
    assert "/stack.yml" in raised.where
    assert hint in raised.hint


@pytest.mark.allow_process(reason="a command whose output passes through a pipe")
def test_what_services_log_does_not_steer_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = Compose(project="p", path=Path("c.yml"))
    said = r"pg | user \"a\033]0;b\007\033[2Jc\rpg | forged\302\233\"\n\tnext\nlast"
    monkeypatch.setattr(compose, "command", lambda *_: ["sh", "-c", f'printf "{said}"; exit 3'])
    assert compose.show("logs", out=sys.stdout.write) == 3
    assert capfd.readouterr().out == 'pg | user "a\ufffd]0;b\ufffdc\ufffdpg | forged\ufffd"\n\tnext\nlast'
