"""Profiles as strangers write them: four of those that `scripts/bench strangers` builds and boots, two at a time."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from scripts.benchmarks.strangers import FOLDER

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = [pytest.mark.e2e, pytest.mark.long]
PAIRS = [("router", "server"), ("forensic", "nas")]


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_they_boot_and_are_what_they_say(warm: Clone, names: tuple[str, str]) -> None:
    shutil.copytree(FOLDER, warm.root / "docker/build", dirs_exist_ok=True)
    isos = [warm.inv("build.iso", "--profile", name).json["iso"] for name in names]
    with ThreadPoolExecutor(2) as pool:
        boots = pool.map(lambda iso: warm.try_inv("build.boot", "--iso", iso, "--timeout", "1800"), isos)
    for booted in boots:
        assert booted.code == 0, booted.json["error"]
        assert booted.json["report"]["checked"] > 5
