from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from synos_tasks import host
from synos_tasks.build import planning
from synos_tasks.build.planning import Context
from synos_tasks.engine.labels import labels
from synos_tasks.errors import DiskFull, EngineTooOld, EngineUnavailable, HostUnfit, OutputNotWritable
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import settings_in

if TYPE_CHECKING:
    from pathlib import Path


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
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=100, f_frsize=4096))
    with pytest.raises(DiskFull) as caught:
        planning.check_output(tmp_path)
    assert "600 MB needed" in caught.value.why


@pytest.mark.parametrize(
    ("name", "role", "state", "removed"),
    [
        ("synos-test-build-1", "build", "exited", True),
        ("synos-test-build-1", "build", "dead", True),
        *(
            ("synos-test-build-1", "build", state, False)
            for state in ("created", "running", "paused", "restarting")
        ),
        ("synos-test-nats-1", "services", "exited", False),
        ("by-hand", "build", "exited", False),
        ("synos-other-build-1", "build", "exited", False),
    ],
)
def test_only_builders_of_this_project_that_ended_are_removed(
    tmp_path: Path, name: str, role: str, state: str, removed: bool
) -> None:
    docker = FakeDocker()
    ident = docker.add_container(name, state=state, labels=labels("synos-test", role))
    planning.remove_leftovers(_context(tmp_path, docker))
    assert docker.removed == ([ident] if removed else [])


def test_volumes_of_killed_commands_are_removed_and_no_others(tmp_path: Path) -> None:
    alive, dead = f"synos-test-once-{os.getpid()}-a1", "synos-test-once-4194305-b2"  # no process has that id
    docker = FakeDocker()
    for name in (alive, dead, "synos-test-store", "synos-test-once"):
        docker.add_volume(name, labels=labels("synos-test", "cache"))
    docker.add_volume(dead.replace("test", "other"), labels=labels("synos-other", "cache"))
    planning.remove_leftovers(_context(tmp_path, docker))
    assert docker.removed == [dead]
