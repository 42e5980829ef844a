"""`minimal`, built through the public command; test_layers.py boots what stands on it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso.publish import STAGING_PREFIX

if TYPE_CHECKING:
    from tests.build_helpers import Answer

pytestmark = pytest.mark.e2e


def test_the_result_is_what_scripts_may_rely_on(minimal: Answer) -> None:
    built = minimal.json
    assert built["schema"] == "synos.build.iso/1"
    assert built["profile"] == "minimal"
    assert [stage["name"] for stage in built["stages"]] == [
        "base", "packages-minimal", "system", "overlay", "identity", "initramfs", "bootfiles", "iso",
    ]  # fmt: skip
    for stage in built["stages"]:
        assert set(stage) == {"name", "key", "hit", "fetched", "seconds", "bytes"}
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
