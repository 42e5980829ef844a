"""A live-build configuration, imported, built and booted: what it said is what runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import ROOT

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.e2e


@pytest.mark.long
def test_an_imported_rescue_system_boots(warm: Clone, tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "tests/live_build/lifeboat", tmp_path / "lifeboat")
    (folder / "config/archives/vendor.list.chroot").unlink()  # nobody serves it
    script = folder / "auto/config"
    script.write_text(script.read_text().replace("--apt-recommends false", "--apt-recommends true"))
    # a hook of its own sees what the other ones and the includes left, and stops the build otherwise
    checks = (
        'test "$(cat /etc/lifeboat-live)" = lifeboat; test -x /usr/local/bin/parts; command -v ddrescue gdisk'
    )
    (folder / "config/hooks/live/0999-look.hook.chroot").write_text(f"#!/bin/sh\nset -e\n{checks}\n")
    imported = warm.inv("build.import-live-build", str(folder)).json
    assert imported["profile"] == "lifeboat"
    assert "recommends: true" in Path(imported["path"]).read_text()
    built = warm.inv("build.iso", "--profile", "lifeboat").json
    booted = warm.inv("build.boot", "--iso", built["iso"], "--firmware", "uefi").json
    report = booted["report"]
    assert (report["build_id"], report["hostname"]) == (built["build_id"], "lifeboat")
    assert report["different"] == []
