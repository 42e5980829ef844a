"""Debian 13 and the other bootstrapper: a profile of ten lines, built and booted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import _remove_labelled
from tests.e2e.test_minimal import inv
from tests.integration.build_helpers import copy_project

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.e2e
PROFILE = "inherits: minimal\nsuite: trixie\nbootstrapper: debootstrap\nhostname: thirteen\n"


def test_trixie_by_debootstrap_boots(tmp_path: Path) -> None:
    clone = copy_project(tmp_path)
    clone.add("docker/build/profiles/thirteen.yaml", PROFILE)
    try:
        built = inv("build.iso", "--profile", "thirteen", cwd=clone.root)
        booted = inv("build.boot", "--iso", built["iso"], "--firmware", "uefi", cwd=clone.root)
    finally:
        _remove_labelled(clone.settings.project_id)
    assert booted["report"]["build_id"] == built["build_id"]
    assert booted["report"]["hostname"] == "thirteen"
