from __future__ import annotations

import dataclasses
import os
import re
import signal
import time
from contextlib import ExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from synos_tasks import builder, host
from synos_tasks.build import planning
from synos_tasks.build.planning import Context
from synos_tasks.engine.labels import labels
from synos_tasks.errors import DiskFull, EngineTooOld, EngineUnavailable, HostUnfit, OutputNotWritable
from synos_tasks.locks import held
from synos_tasks.project import PACKAGE
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import settings_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.engine.client import Container


def _context(tmp_path: Path, docker: FakeDocker | None = None) -> Context:
    return Context(settings_in(tmp_path), docker or FakeDocker(), print)


def test_a_fit_machine_passes_and_has_its_output_folder(tmp_path: Path) -> None:
    output = tmp_path / "a/b"
    planning.preflight(_context(tmp_path), output)
    assert list(output.iterdir()) == []


@pytest.mark.parametrize(
    ("part", "version"),
    [("version", "22.9"), ("buildx", ""), ("buildx", "0.12.1"), ("compose_version", "")],
)
def test_an_engine_too_old_or_none(tmp_path: Path, part: str, version: str) -> None:
    docker = FakeDocker()
    setattr(docker, part, version)
    with pytest.raises(EngineTooOld) as caught:
        planning.preflight(_context(tmp_path, docker), tmp_path)
    assert caught.value.exit_code == 23
    assert (version or "missing") in caught.value.why
    assert caught.value.hint
    docker.answers = False
    with pytest.raises(EngineUnavailable):
        planning.preflight(_context(tmp_path, docker), tmp_path)


def test_a_host_whose_dev_was_damaged_builds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "dev_problems", lambda: ["/dev/null is a file"])
    with pytest.raises(HostUnfit) as caught:
        planning.preflight(_context(tmp_path), tmp_path / "out")
    assert caught.value.where == "/dev"
    assert "/dev/null is a file" in caught.value.why
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_an_output_that_cannot_be_written(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritable) as caught:
        planning.check_output(tmp_path / below)
    assert caught.value.where == str(tmp_path / below)
    assert caught.value.why
    assert "--output" in caught.value.hint


def test_a_disk_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimpleNamespace(f_bavail=100, f_bfree=100, f_blocks=200, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _path: disk)
    with pytest.raises(DiskFull) as caught:
        planning.check_output(tmp_path)
    assert "600 MB needed" in caught.value.why


STATES = ("created", "running", "paused", "restarting", "exited", "dead")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("name", "role", "left"),
    [
        ("synos-test-build-1", "build", True),
        ("synos-test-nats-1", "services", False),
        ("by-hand", "build", False),
        ("synos-other-build-1", "build", False),
    ],
)
def test_builders_whose_command_is_gone_are_ended_whatever_they_do(
    tmp_path: Path, name: str, role: str, left: bool, state: str
) -> None:
    docker, said = FakeDocker(), list[str]()
    ident = docker.add_container(name, state=state, labels=labels("synos-test", role))
    context = dataclasses.replace(_context(tmp_path, docker), say=said.append)
    with context.lease(name):
        assert builder.leftovers(docker, context.settings.project) == []
        planning.remove_leftovers(context)
        assert (docker.removed, said) == ([], [])
    planning.remove_leftovers(context)
    assert docker.removed == ([ident] if left else [])
    assert said == ([f"removing container {name}: its command is gone"] if left else [])


@pytest.mark.allow_process(reason="the kernel ends a lease with its process")
def test_a_lease_counts_in_any_process_and_ends_with_it_however_that_ends(tmp_path: Path) -> None:
    """A clone sees none of another's, wherever that is."""
    context, name = _context(tmp_path), "synos-test-build-1"
    pipe, child = os.pipe(), os.fork()
    if not child:
        with context.lease(name):
            os.write(pipe[1], b"x")
            time.sleep(60)
    os.read(pipe[0], 1)
    leases = context.settings.project.leases
    assert held(leases) == {name}
    assert held(tmp_path / "another/.synos/leases") == frozenset()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert held(leases) == frozenset()
    assert list(leases.iterdir()) == []


def test_what_began_while_the_containers_were_listed_is_no_leftover(tmp_path: Path) -> None:
    with ExitStack() as leases:

        class Busy(FakeDocker):
            def containers(self, labels: Mapping[str, str] | None = None) -> list[Container]:
                name = "synos-test-build-1"
                leases.enter_context(context.lease(name))
                self.add_container(name, labels=labels)
                return super().containers(labels)

        docker = Busy()
        context = _context(tmp_path, docker)
        assert builder.leftovers(docker, context.settings.project) == []


def test_a_builder_that_cannot_be_removed_is_told(tmp_path: Path) -> None:
    docker, said = FakeDocker(), list[str]()
    ident = docker.add_container("synos-test-build-1", labels=labels("synos-test", "build"))
    docker.refusals[ident] = "device or resource busy"
    planning.remove_leftovers(dataclasses.replace(_context(tmp_path, docker), say=said.append))
    assert said[-1] == "warning: it could not be removed: device or resource busy"


def test_volumes_of_killed_commands_are_removed_and_no_others(tmp_path: Path) -> None:
    alive, dead = "synos-test-once-a1", "synos-test-once-b2"
    docker = FakeDocker()
    for name in (alive, dead, "synos-test-store", "synos-test-once"):
        docker.add_volume(name, labels=labels("synos-test", "cache"))
    docker.add_volume(dead.replace("test", "other"), labels=labels("synos-other", "cache"))
    docker.add_volume(
        "ab" * 32, labels=labels("synos-test", "build")
    )  # a builder's own, that a stage outlived
    docker.add_volume("cd" * 32, labels=labels("synos-test", "data"))
    context = _context(tmp_path, docker)
    with context.lease(alive):
        planning.remove_leftovers(context)
    assert docker.removed == [dead, "ab" * 32]


def test_no_container_runs_without_a_lease() -> None:
    """Or any command that begins meanwhile ends it."""
    starts = re.compile(r"Leased\((?:self\.)?_?context|docker\.(?:interact|pipe)\(")
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        leases = len(re.findall(r"context\.lease\(spec\.name\)", text))
        assert len(starts.findall(text)) == leases, f"{path}: with context.lease(spec.name), …"
