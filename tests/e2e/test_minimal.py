"""`minimal`, built once through the public command and booted on BIOS and UEFI."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]


def inv(*arguments: str, cwd: Path = ROOT) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", *arguments, "--json"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("output")
    return inv("build.iso", "--profile", "minimal", "--no-cache", "--output", str(folder))


def test_the_result_is_what_scripts_may_rely_on(built: dict[str, Any]) -> None:
    assert built["schema"] == "synos.build.iso/1"
    assert built["profile"] == "minimal"
    assert {stage["name"] for stage in built["stages"]} == {
        "rootfs", "customise", "initramfs", "squashfs", "bootfiles", "iso",
    }  # fmt: skip
    for stage in built["stages"]:
        assert set(stage) == {"name", "key", "hit", "seconds", "bytes"}
    iso_stage = next(stage for stage in built["stages"] if stage["name"] == "iso")
    assert iso_stage["bytes"] == Path(built["iso"]).stat().st_size


def test_its_companions_lie_beside_the_iso(built: dict[str, Any]) -> None:
    iso = Path(built["iso"])
    digest = hashlib.sha256(iso.read_bytes()).hexdigest()
    assert built["sha256"] == digest
    assert Path(f"{iso}.sha256").read_text() == f"{digest}  {iso.name}\n"
    manifest = json.loads(Path(f"{iso}.manifest.json").read_text())
    assert manifest["build_id"] == built["build_id"]
    assert {"linux-image-amd64", "live-boot", "openssh-server"} <= {p["name"] for p in manifest["packages"]}
    assert "mksquashfs" in Path(f"{iso}.log").read_text()
    assert (iso.parent / "synos-minimal.iso").resolve() == iso
    assert not list(iso.parent.glob(".partial-*"))


@pytest.mark.parametrize(("firmware", "media"), [("bios", "cdrom"), ("uefi", "usb")])
def test_it_boots(built: dict[str, Any], firmware: str, media: str) -> None:
    booted = inv("build.boot", "--iso", built["iso"], "--firmware", firmware, "--media", media)
    report = booted["report"]
    assert booted["ok"]
    assert report["build_id"] == built["build_id"]
    assert report["hostname"] == "synos"
    assert report["user"] == "synos"
    assert Path(booted["screenshot"]).read_bytes().startswith(b"\x89PNG")
