"""Versions and errors of the engine and of compose, and that nothing else starts `docker`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine import client
from synos_tasks.engine.compose import ComposeFile, failure
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


@pytest.mark.allow_process(reason="what a fresh interpreter imports")
def test_the_client_is_imported_at_its_first_use_only() -> None:
    modules = ", ".join(f"synos_tasks.engine.{name}" for name in ("client", "cache", "compose", "run"))
    code = f"import sys, {modules}; sys.exit('python_on_whales' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


COMPOSED = ComposeFile(project="p", path=Path("/stack.yml"), environment={})


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("Bind for 127.0.0.1:5432 failed: port is already allocated", PortTaken, ""),
        ("listen tcp4 0.0.0.0:80: bind: address already in use", PortTaken, ""),
        ("write /var/lib: No space left on device", DiskFull, "docker system df"),
        ("Cannot connect to the Docker daemon at unix:///x", EngineUnavailable, ""),
        ("error during connect: EOF", EngineUnavailable, ""),
        ("all predefined address pools have been fully subnetted", ServiceFailed, "docker network ls"),
        ("service x has neither an image nor a build context", ServiceFailed, ""),
    ],
)
def test_each_failure_of_compose_has_its_error(text: str, error: type[Exception], hint: str) -> None:
    raised = failure(["up"], f"first\n{text}", COMPOSED)
    assert type(raised) is error
    assert text in raised.why
    assert "/stack.yml" in raised.where
    assert hint in raised.hint
