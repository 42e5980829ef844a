"""An ISO that is run for a person: what is shown, where, and what is kept."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from synos_tasks.build.planning import Context
from synos_tasks.build.run import Ended, run_iso, screen_of
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import BootFailed, ContainerLost, SettingsError, WrongUse
from synos_tasks.images.catalog import BOOT
from synos_tasks.iso.boot.qemu import DISK_BYTES
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import settings_in


def ran(
    tmp_path: Path,
    *events: dict[str, str],
    ports: Mapping[str, tuple[str, int]] | None = None,
    **options: Any,  # noqa: ANN401
) -> tuple[Ended, list[str], dict[str, Any]]:
    """Run an ISO in a container that reports ``events``; return the result, what was said, and the request."""
    settings, engine, said, asked = settings_in(tmp_path), FakeDocker(), list[str](), dict[str, Any]()
    dockerfile = tmp_path / BOOT.dockerfile
    dockerfile.parent.mkdir(parents=True, exist_ok=True)
    dockerfile.touch()
    engine.add_image(BOOT.tag(settings.project))

    def on_run(spec: ContainerSpec, request: bytes) -> tuple[int, bytes, bytes]:
        asked.update(json.loads(request))
        engine.add_container(spec.name, ports=ports)
        return 0, b"".join(json.dumps(event).encode() + b"\n" for event in events), b""

    engine.on_run = on_run
    iso = tmp_path / "x.iso"
    iso.touch()
    ended = run_iso(Context(settings, engine, said.append), iso, **{"screen": "serial", **options})
    return ended, said, asked


RUNNING = {"event": "running", "accelerator": "tcg"}


def test_a_run_shows_the_console_and_the_ports(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    console = {"event": "console", "data": base64.b64encode(b"\x1b[1mlogin: ").decode()}
    ports = {"2222/tcp": ("127.0.0.1", 40022), "5900/tcp": ("127.0.0.1", 40059)}
    ended, said, asked = ran(tmp_path, RUNNING, console, {"event": "ran"}, ports=ports)
    assert capfd.readouterr().out == "\x1b[1mlogin: "
    assert (ended.by, ended.ssh_port, asked["password"]) == ("guest", 40022, "")
    assert any("-p 40022 USER@127.0.0.1" in line for line in said)
    ended, said, asked = ran(
        tmp_path, RUNNING, console, {"event": "ran"}, ports=ports, screen="vnc", memory_mb=99
    )
    assert capfd.readouterr().out == ""
    assert (ended.vnc_port, asked["memory_mb"]) == (40059, 99)
    assert f"screen: VNC at 127.0.0.1:40059, password {asked['password']}" in said


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BootFailed) as failed:
        ran(tmp_path, RUNNING, {"event": "ran", "why": "qemu: cannot set up guest memory"})
    assert failed.value.why == "qemu: cannot set up guest memory"
    with pytest.raises(ContainerLost):
        ran(tmp_path, RUNNING)


def test_a_disk_is_made_once_and_kept(tmp_path: Path) -> None:
    disk = tmp_path / "a.raw"
    ran(tmp_path, RUNNING, {"event": "ran"}, disk=disk)
    assert (disk.stat().st_size, disk.stat().st_blocks) == (DISK_BYTES, 0)
    disk.write_text("kept")
    ran(tmp_path, RUNNING, {"event": "ran"}, disk=disk)
    assert disk.read_text() == "kept"
    for wrong in ({"disk": tmp_path / "new.qcow2"}, {"disk": tmp_path}, {"memory_mb": -5}):
        with pytest.raises(SettingsError):
            ran(tmp_path, **wrong)


def test_a_window_needs_a_display_and_a_viewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = partial(screen_of, vnc=False, serial=False, json=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    assert screen() == "serial"
    (tmp_path / "vncviewer").touch(mode=0o755)
    assert (screen(), screen(json=True), screen(serial=True), screen(vnc=True)) == (
        "window",
        "window",
        "serial",
        "vnc",
    )
    monkeypatch.delenv("DISPLAY")
    assert (screen(), screen(json=True)) == ("serial", "none")
    with pytest.raises(WrongUse):
        screen(vnc=True, serial=True)
