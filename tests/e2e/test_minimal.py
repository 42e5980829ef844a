"""`minimal`, built through the public command and booted on BIOS and UEFI."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.build.publish import STAGING_PREFIX

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.e2e


def test_the_result_is_what_scripts_may_rely_on(minimal: Answer) -> None:
    built = minimal.json
    assert built["schema"] == "synos.build.iso/1"
    assert built["profile"] == "minimal"
    assert [stage["name"] for stage in built["stages"]] == [
        "base", "packages-minimal", "system", "overlay", "identity", "initramfs", "bootfiles", "iso",
    ]  # fmt: skip
    for stage in built["stages"]:
        assert set(stage) == {"name", "key", "hit", "seconds", "bytes"}
    assert built["stages"][-1]["bytes"] == Path(built["iso"]).stat().st_size


def test_its_companions_lie_beside_the_iso(minimal: Answer) -> None:
    iso = Path(minimal.json["iso"])
    digest = hashlib.sha256(iso.read_bytes()).hexdigest()
    assert minimal.json["sha256"] == digest
    assert Path(f"{iso}.sha256").read_text() == f"{digest}  {iso.name}\n"
    manifest = json.loads(Path(f"{iso}.manifest.json").read_text())
    assert manifest["build_id"] == minimal.json["build_id"]
    assert {"linux-image-amd64", "live-boot", "openssh-server"} <= {p["name"] for p in manifest["packages"]}
    assert "xorriso" in Path(f"{iso}.log").read_text()
    assert not list(iso.parent.glob(f"{STAGING_PREFIX}*"))


@pytest.mark.parametrize(("firmware", "media"), [("bios", "cdrom"), ("uefi", "usb")])
def test_it_boots(warm: Clone, minimal: Answer, firmware: str, media: str) -> None:
    iso = minimal.json["iso"]
    booted = warm.inv("build.boot", "--iso", iso, "--firmware", firmware, "--media", media).json
    report = booted["report"]
    assert booted["ok"]
    assert report["build_id"] == minimal.json["build_id"]
    assert report["hostname"] == "synos"
    assert report["user"] == "synos"
    assert Path(booted["screenshot"]).read_bytes().startswith(b"\x89PNG")
