"""Profiles as strangers write them: four of those that `scripts/bench strangers` builds and boots, two at a time."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import ROOT

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.e2e
FOLDER = ROOT / "scripts/benchmarks/stranger-profiles"
NAMES = ("forensic", "nas", "router", "server")


@pytest.fixture(scope="module")
def booted(warm: Clone) -> dict[str, Answer]:
    """Build one after the other: they share their lower layers."""
    shutil.copytree(FOLDER, warm.root / "docker/build", dirs_exist_ok=True)
    isos = [warm.inv("build.iso", "--profile", name).json["iso"] for name in NAMES]
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda iso: warm.try_inv("build.boot", "--iso", iso, "--timeout", "1800"), isos)
        return dict(zip(NAMES, answers, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_it_boots_and_is_what_it_says(booted: dict[str, Answer], name: str) -> None:
    answer = booted[name]
    assert answer.code == 0, answer.json["error"]
    assert answer.json["report"]["checked"] > 5
