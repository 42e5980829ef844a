"""The boot request, the QEMU command made of it, and the container it runs in."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from pathlib import Path

import pytest

from synos_tasks.build.boot import boot_spec, newest_iso
from synos_tasks.errors import IsoNotFound, SettingsError
from synos_tasks.iso import codec, protocol
from synos_tasks.iso.boot.qemu import kvm_pays, qemu_argv
from synos_tasks.iso.boot.request import FIRMWARES, MEDIA, Boot, parse_request
from synos_tasks.iso.boot.watch import Follower
from synos_tasks.settings import Settings

REQUEST = Boot(
    iso=Path("/iso/a,b.iso"), firmware="bios", media="cdrom", timeout=9, memory_mb=512, kvm=True, out=Path("/out")
)  # fmt: skip


def test_a_request_survives_its_line() -> None:
    assert parse_request(json.dumps(protocol.encode(REQUEST)).encode()) == REQUEST
    assert str(REQUEST.screenshot) == "/out/a,b-bios-cdrom.png"


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'{"iso": "/a", "out": "/b", "extra": 1}'])
def test_a_bad_line_is_a_settings_error(line: bytes) -> None:
    with pytest.raises(SettingsError):
        parse_request(line)


@pytest.mark.parametrize("change", [{"firmware": "coreboot"}, {"media": "floppy"}])
def test_unknown_choices_name_the_known_ones(change: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_request(json.dumps({**codec.to_data(REQUEST), **change}).encode())
    assert "bios" in caught.value.hint or "cdrom" in caught.value.hint


@pytest.mark.parametrize(
    ("firmware", "media", "accelerator"), list(itertools.product(FIRMWARES, MEDIA, ["kvm", "tcg"]))
)
def test_every_machine_can_report_and_cannot_write(firmware: str, media: str, accelerator: str) -> None:
    request = dataclasses.replace(REQUEST, firmware=firmware, media=media)
    argv = " ".join(qemu_argv(request, accelerator, Path("/scratch")))
    assert "type=3,asset=synos-selftest" in argv
    assert "-serial chardev:serial0" in argv
    assert "-nic none" in argv
    assert "readonly=on,file=/iso/a,,b.iso" in argv
    assert f"-accel {accelerator}" in argv


def test_the_follower_gives_complete_lines_once(tmp_path: Path) -> None:
    serial = tmp_path / "serial"
    follower = Follower(serial)
    assert follower.lines() == []
    text = "gr\u00fcn\r\nnext".encode()
    serial.write_bytes(text[:3])  # in the middle of a letter
    assert follower.lines() == []
    serial.write_bytes(text)
    assert follower.lines() == ["gr\u00fcn"]
    assert follower.lines() == []


def test_kvm_is_used_only_where_it_pays() -> None:
    assert kvm_pays(0.2, 0.1)
    assert kvm_pays(2.0, None)
    assert not kvm_pays(1.9, 0.1)


def test_the_container_has_no_powers(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, project_id="p")
    spec = boot_spec(settings, "image", iso_folder=tmp_path / "dist", out=tmp_path / "out", kvm=False)
    assert not any((spec.privileged, spec.capabilities, spec.devices, spec.new_privileges))
    assert spec.network == "none"
    assert [bind.source for bind in spec.binds if bind.writable] == [tmp_path / "out"]


def test_the_newest_iso(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, project_id="p")
    with pytest.raises(IsoNotFound):
        newest_iso(settings)
    settings.output_dir.mkdir()
    for age, name in enumerate(["new.iso", "old.iso"]):
        path = settings.output_dir / name
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert newest_iso(settings).name == "new.iso"
