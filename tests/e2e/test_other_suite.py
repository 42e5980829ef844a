"""Debian 12 and the other bootstrapper: a profile of a few lines with a component, built and booted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.e2e
PROFILE = """\
inherits: minimal
suite: bookworm
bootstrapper: debootstrap
hostname: twelve
components: [synos-welcome]
"""


@pytest.mark.long
def test_bookworm_by_debootstrap_boots(warm: Clone) -> None:
    warm.add("docker/build/profiles/twelve.yaml", PROFILE)
    built = warm.inv("build.iso", "--profile", "twelve").json
    booted = warm.inv("build.boot", "--iso", built["iso"], "--firmware", "uefi", "--media", "usb").json
    assert booted["report"]["build_id"] == built["build_id"]
    assert booted["report"]["hostname"] == "twelve"
