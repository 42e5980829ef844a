"""Units of systemd: written, enabled and taken away, as root or as a user, and what is said when it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import HostUnfit, ServiceFailed, SettingsError
from synos_tasks.services import systemd
from synos_tasks.services.systemd import disable, enable
from synos_tasks.services.units import unit_text
from synos_tasks.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNIT = "synos-test-unified.service"


class Machine:
    """Has a systemd, whose commands are kept."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
        self.ran: list[list[str]] = []
        self.fails = ""
        self.user = uid != 0
        (root / "booted").mkdir()
        (root / "home").mkdir()
        monkeypatch.setattr(systemd, "BOOTED", root / "booted")
        monkeypatch.setattr(systemd, "SYSTEM_UNITS", root / "etc/systemd/system")
        monkeypatch.setattr(systemd, "_run", self._run)
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(Path, "home", lambda: root / "home")
        monkeypatch.setenv("LOGNAME", "me")
        self.units = root / ("home/.config/systemd/user" if self.user else "etc/systemd/system")

    def _run(self, argv: Sequence[str]) -> None:
        self.ran.append(list(argv))
        if self.fails and self.fails in argv:
            raise ServiceFailed("systemd refused", where=" ".join(argv), why="no")

    def systemctl(self, *words: str) -> list[str]:
        return ["systemctl", *(["--user"] if self.user else []), *words]


@pytest.fixture(params=[0, 1000], ids=["root", "user"])
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Machine:
    return Machine(tmp_path, monkeypatch, request.param)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path / "clone", project_id="synos-test")


def test_a_unit_is_written_and_enabled_where_its_manager_looks(machine: Machine, settings: Settings) -> None:
    path = enable(settings, "unified")
    assert path == machine.units / UNIT
    inv = Path(sys.executable).parent / "inv"
    user = "me" if machine.user else None
    assert path.read_text() == unit_text(settings.root, "unified", inv, user)
    linger = [["loginctl", "enable-linger"]] if machine.user else []
    assert machine.ran == [
        *linger, machine.systemctl("daemon-reload"), machine.systemctl("enable", UNIT)
    ]  # fmt: skip


def test_enabling_again_writes_it_anew(machine: Machine, settings: Settings) -> None:
    path = enable(settings, "unified")
    path.write_text("old")
    assert enable(settings, "unified") == path
    assert path.read_text().startswith("# Written by")


def test_a_user_who_may_not_linger_has_no_unit(machine: Machine, settings: Settings) -> None:
    if not machine.user:
        assert enable(settings, "unified").is_file()
        return
    machine.fails = "enable-linger"
    with pytest.raises(ServiceFailed):
        enable(settings, "unified")
    assert not machine.units.exists()
    assert machine.ran == [["loginctl", "enable-linger"]]


def test_disabling_takes_it_away_and_starts_or_stops_nothing(machine: Machine, settings: Settings) -> None:
    path = enable(settings, "unified")
    machine.ran.clear()
    assert disable(settings, "unified") == path
    assert not path.exists()
    assert machine.ran == [machine.systemctl("disable", UNIT), machine.systemctl("daemon-reload")]


def test_what_was_not_enabled_is_not_disabled(machine: Machine, settings: Settings) -> None:
    assert disable(settings, "unified") is None
    assert machine.ran == []


def test_a_unit_that_systemd_does_not_let_go_stays(machine: Machine, settings: Settings) -> None:
    path = enable(settings, "unified")
    machine.fails = "disable"
    with pytest.raises(ServiceFailed):
        disable(settings, "unified")
    assert path.is_file()


@pytest.mark.parametrize("act", [enable, disable])
def test_without_systemd_nothing_is_written(
    machine: Machine,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Settings, str], Path | None],
) -> None:
    monkeypatch.setattr(systemd, "BOOTED", settings.root / "nothing")
    with pytest.raises(HostUnfit, match="systemd does not run") as caught:
        act(settings, "unified")
    assert "inv services.up --stack unified" in caught.value.hint
    assert not machine.units.exists()
    assert machine.ran == []


def test_a_path_that_no_unit_can_name_leaves_no_unit(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        enable(Settings(root=tmp_path / "a\nb", project_id="synos-test"), "unified")
    assert not (machine.units / UNIT).exists()
    assert machine.ran == []


def done(code: int, said: str = "") -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda argv, **_: subprocess.CompletedProcess(argv, code, "", said)


def test_a_command_that_fails_is_told_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", done(1, "Failed to connect to bus\n"))
    with pytest.raises(ServiceFailed) as caught:
        systemd._run(["systemctl", "daemon-reload"])
    assert (caught.value.where, caught.value.why) == ("systemctl daemon-reload", "Failed to connect to bus")
    monkeypatch.setattr(subprocess, "run", done(0))
    systemd._run(["systemctl", "daemon-reload"])


def test_a_command_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(HostUnfit, match="no `loginctl` command"):
        systemd._run(["loginctl", "enable-linger"])
