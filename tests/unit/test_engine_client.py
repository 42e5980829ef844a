"""Snapshots, versions and errors of the Docker client, and that nothing else starts `docker`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine import client
from synos_tasks.engine.client import snapshot
from synos_tasks.engine.failures import check_versions, version_tuple
from synos_tasks.engine.labels import BUILDER_CAPABILITIES, TOOLCHAIN_CAPABILITIES
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import EngineTooOld, EngineUnavailable
from tests.unit.fake_docker import FakeDocker

SOURCES = Path(client.__file__).resolve().parent.parent
ENGINE = SOURCES / "engine"


def commands_of(tree: ast.AST) -> list[int]:
    """Return the lines at which a list or tuple starts with the word docker, as a command line does."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.List | ast.Tuple)
        and node.elts
        and isinstance(node.elts[0], ast.Constant)
        and node.elts[0].value in {"docker", "podman", "docker-compose"}
    ]


def test_a_snapshot_never_asks_the_engine_again() -> None:
    # this test may start no process: reading a stale object of python-on-whales would
    found = snapshot("container", {"Id": "a", "Name": "/x", "State": {"Status": "exited"}})
    assert (found.id, found.name, found.state.status) == ("a", "x", "exited")
    found._last_refreshed_time  # noqa: B018
    assert not found._needs_reload()


def test_what_is_gone_is_none_and_no_engine_is_an_error() -> None:
    docker = FakeDocker()
    docker.add_volume("here")
    assert docker.volume("here") is not None
    assert docker.volume("gone") is None
    docker.answers = False
    with pytest.raises(EngineUnavailable):
        docker.volume("here")


def test_without_a_docker_command_the_error_names_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineUnavailable, match="no `docker` command") as caught:
        client.Docker().containers()
    assert "./scripts/synos" in caught.value.hint


@pytest.mark.parametrize(
    ("part", "version", "named"),
    [
        ("version", "20.10.24", "Docker Engine 20.10.24"),
        ("buildx", "", "docker buildx missing"),
        ("buildx", "0.10.5", "docker buildx 0.10.5"),
        ("compose_version", "1.29.2", "docker compose 1.29.2"),
    ],
)
def test_every_part_that_is_missing_or_too_old_is_named(part: str, version: str, named: str) -> None:
    docker = FakeDocker()
    check_versions(docker.info())
    setattr(docker, part, version)
    with pytest.raises(EngineTooOld) as caught:
        check_versions(docker.info())
    assert named in caught.value.why


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=3), st.sampled_from(["", "+dfsg1", "-ce", "~rc1"])
)
def test_a_version_is_read_whatever_follows_it(numbers: list[int], suffix: str) -> None:
    assert version_tuple("v" + ".".join(map(str, numbers)) + suffix) == tuple(numbers)


def test_the_capabilities_are_exactly_those_of_the_safety_rule() -> None:
    wanted = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD SETFCAP SETGID SETUID SYS_CHROOT"
    assert " ".join(BUILDER_CAPABILITIES) == wanted
    assert set(BUILDER_CAPABILITIES) - set(TOOLCHAIN_CAPABILITIES) == {"MKNOD", "SYS_CHROOT"}


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "capabilities": st.just(BUILDER_CAPABILITIES),
            "new_privileges": st.booleans(),
            "memory_mb": st.integers(1, 10**5),
            "network": st.sampled_from(["none", "bridge"]),
        },
    )
)
def test_a_container_gets_nothing_that_its_spec_does_not_name(asked: dict[str, Any]) -> None:
    options = ContainerSpec(name="n", image="i", command=("c",), labels={}, **asked).options()
    assert options["cap_drop"] == ["ALL"]
    assert options["cap_add"] == list(asked.get("capabilities", ()))
    assert options["security_options"] == ([] if asked.get("new_privileges") else ["no-new-privileges"])
    assert options.get("memory") == options.get("memory_swap")
    assert not options.get("privileged")
    assert not options["devices"]
    assert not options["mounts"]
    assert not {"pid", "ipc", "userns", "uts", "cgroupns"} & options.keys()


def test_only_the_engine_package_starts_docker() -> None:
    elsewhere = [path for path in SOURCES.rglob("*.py") if ENGINE not in path.parents]
    found = {
        str(path.relative_to(SOURCES)): lines
        for path in elsewhere
        if (lines := commands_of(ast.parse(path.read_text())))
    }
    assert commands_of(ast.parse('run(["docker", "ps"])')) == [1]
    assert not found


@pytest.mark.allow_process(reason="what a fresh interpreter imports")
def test_the_client_is_imported_at_its_first_use_only() -> None:
    code = (
        "import sys; from synos_tasks.engine.client import Docker; Docker  ; import synos_tasks.engine.cache, "
        "synos_tasks.engine.compose, synos_tasks.engine.run; sys.exit('python_on_whales' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
