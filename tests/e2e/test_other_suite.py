"""Debian 13 and the other bootstrapper: a profile of ten lines, built and booted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.e2e
PROFILE = "inherits: minimal\nsuite: trixie\nbootstrapper: debootstrap\nhostname: thirteen\n"


@pytest.mark.long
def test_trixie_by_debootstrap_boots(warm: Clone) -> None:
    warm.add("docker/build/profiles/thirteen.yaml", PROFILE)
    built = warm.inv("build.iso", "--profile", "thirteen").json
    booted = warm.inv("build.boot", "--iso", built["iso"], "--firmware", "uefi", "--media", "usb").json
    assert booted["report"]["build_id"] == built["build_id"]
    assert booted["report"]["hostname"] == "thirteen"
