from __future__ import annotations

import dataclasses
import os
from collections import namedtuple
from typing import TYPE_CHECKING

import pytest

from synos_tasks.build import preflight
from synos_tasks.engine.gateway import ContainerFacts, EngineFacts
from synos_tasks.errors import DiskFull, EngineTooOld, EngineUnavailable, HostUnfit, OutputNotWritable
from synos_tasks.settings import Settings
from tests.unit.fakes import GOOD, FakeEngine

if TYPE_CHECKING:
    from pathlib import Path

Space = namedtuple("Space", "f_bavail f_frsize")  # noqa: PYI024  (as os.statvfs gives it)


def _settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path, project_id="synos-test")


def _container(state: str, *, ident: str = "c" * 64, role: str = "build") -> ContainerFacts:
    return ContainerFacts(id=ident, name="n", state=state, role=role)


def test_a_fit_machine_passes_and_has_its_output_folder(tmp_path: Path) -> None:
    output = tmp_path / "a/b"
    assert preflight.check(_settings(tmp_path), FakeEngine(), output) == GOOD
    assert list(output.iterdir()) == []


def test_no_engine(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable):
        preflight.check(_settings(tmp_path), FakeEngine(known=None), tmp_path)


@pytest.mark.parametrize(
    ("part", "version"),
    [("version", "19.03.15"), ("version", "22.9"), ("buildx", ""), ("buildx", "0.12.1"), ("compose", "")],
)
def test_an_engine_too_old(tmp_path: Path, part: str, version: str) -> None:
    facts = EngineFacts(**{**dataclasses.asdict(GOOD), part: version})
    with pytest.raises(EngineTooOld) as caught:
        preflight.check(_settings(tmp_path), FakeEngine(known=facts), tmp_path)
    assert caught.value.exit_code == 23
    assert (version or "missing") in caught.value.why
    assert caught.value.hint


def test_a_host_whose_dev_was_damaged_builds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "dev_problems", lambda: ["/dev/null is a file"])
    with pytest.raises(HostUnfit) as caught:
        preflight.check(_settings(tmp_path), FakeEngine(), tmp_path / "out")
    assert caught.value.where == "/dev"
    assert "/dev/null is a file" in caught.value.why
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_an_output_that_cannot_be_written(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritable) as caught:
        preflight.check_output(tmp_path / below)
    assert caught.value.where == str(tmp_path / below)
    assert caught.value.why
    assert "--output" in caught.value.hint


def test_a_disk_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: Space(100, 4096))
    with pytest.raises(DiskFull) as caught:
        preflight.check_output(tmp_path)
    assert "600 MB needed" in caught.value.why


@pytest.mark.parametrize("state", ["exited", "dead", "unknown"])
def test_what_a_killed_engine_left_is_removed(tmp_path: Path, state: str) -> None:
    engine = FakeEngine(listed=[_container(state)])
    preflight.remove_leftovers(_settings(tmp_path), engine)
    assert engine.removed == ["c" * 64]


@pytest.mark.parametrize("state", preflight.RUNNING)
def test_a_build_that_runs_is_left_alone(tmp_path: Path, state: str) -> None:
    engine = FakeEngine(listed=[_container(state)])
    preflight.remove_leftovers(_settings(tmp_path), engine)
    assert engine.removed == []


def test_containers_of_other_roles_are_left_alone(tmp_path: Path) -> None:
    engine = FakeEngine(listed=[_container("exited", role="services")])
    preflight.remove_leftovers(_settings(tmp_path), engine)
    assert engine.removed == []


def test_volumes_of_killed_commands_are_removed_and_no_others(tmp_path: Path) -> None:
    alive, dead = f"synos-test-once-{os.getpid()}-a1", "synos-test-once-4194305-b2"  # no process has that id
    volumes: dict[str, dict[str, str]] = {alive: {}, dead: {}, "synos-test-store": {}, "synos-test-once": {}}
    engine = FakeEngine(volumes=volumes)
    preflight.remove_leftovers(_settings(tmp_path), engine)
    assert set(engine.volumes) == {alive, "synos-test-store", "synos-test-once"}
