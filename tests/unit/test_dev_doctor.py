"""What doctor says of this machine. Containers and configurations are in test_dev_verbs.py."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from synos_tasks.dev import doctor, official
from tests.unit.fake_dev import scene

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.host.checks import Check


def examined(root: Path, networks: set[str] | None = None) -> dict[str, Check]:
    here = scene(root)
    here.containers.networks = networks or set()
    return {check.name: check for check in doctor.examine(here.session)}


@pytest.mark.parametrize(
    ("there", "major", "detail"),
    [
        ({"devcontainer", "code"}, 20, "0.80.0 at /bin/devcontainer"),
        ({"npm"}, 20, "will be installed"),
        ({"npm"}, 18, "containers are made with Docker alone"),
        (set[str](), 20, "containers are made with Docker alone"),
    ],
)
def test_the_official_cli_is_there_can_be_or_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: set[str], major: int, detail: str
) -> None:
    def which(name: str) -> str | None:
        return f"/bin/{name}" if name in there else None

    done = subprocess.CompletedProcess([], 0, "0.80.0\n", "")
    monkeypatch.setattr(shutil, "which", which)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(official, "node_major", lambda: major)
    found = examined(tmp_path)
    assert detail in found["official CLI"].detail
    assert ("is on PATH" in found["code"].detail) == ("code" in there)
    assert {check.status for check in found.values()} == {"ok"}
    assert not list(tmp_path.iterdir())


def test_services_that_can_be_joined_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    network = f"{scene(tmp_path).session.settings.project_id}-unified_data"
    assert examined(tmp_path, {network})["services"].detail == "stack unified is there to be joined"
    assert examined(tmp_path)["services"].hint == "inv services.up"


def test_a_cli_that_cannot_be_run_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise PermissionError("not executable")

    monkeypatch.setattr(subprocess, "run", broken)
    assert doctor._version(["x"]) == ""
