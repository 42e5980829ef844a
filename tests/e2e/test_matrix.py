"""A small matrix on a store that has the lower layers, twice at the same time: the bytes of `inv build.iso`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.e2e


def test_two_matrices_at_once_give_what_build_iso_gives(warm: Clone, minimal: Answer) -> None:
    warm.add("docker/build/profiles/reader.yaml", "inherits: minimal\nhostname: reader\npackages: [less]\n")
    warm.add("docker/build/profiles/viewer.yaml", "inherits: reader\nhostname: viewer\n")
    warm.inv("build.lock", "--profile", "reader")
    warm.inv("build.lock", "--profile", "viewer")

    def run(output: str) -> Answer:
        return warm.inv("build.matrix", "--profiles", "minimal,reader,viewer", "--output", output)

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(run, ("matrix-one", "matrix-two"))
    sums = {iso["profile"]: iso["sha256"] for iso in one.json["isos"]}
    assert {iso["profile"]: iso["sha256"] for iso in two.json["isos"]} == sums
    assert sums["minimal"] == minimal.json["sha256"]
    shared = [
        stage["name"]
        for segment in one.json["segments"]
        if len(segment["isos"]) > 1
        for stage in segment["stages"]
    ]
    assert shared == ["initramfs", "base", "packages-minimal", "packages-reader"]
    for iso in one.json["isos"]:
        assert {stage["name"] for stage in iso["stages"] if stage["hit"]} >= set(shared) & {
            stage["name"] for stage in iso["stages"]
        }
    for name in ("reader", "viewer"):
        assert warm.inv("build.iso", "--profile", name).json["sha256"] == sums[name]


@pytest.mark.long
def test_variants_and_suites_give_what_build_iso_gives(warm: Clone) -> None:
    made = warm.inv(
        "build.matrix", "--profiles", "minimal", "--suites", "bookworm,trixie", "--variants", "layers,release"
    ).json["isos"]
    assert len({iso["sha256"] for iso in made}) == 4
    for iso in made:
        release = ["--release"] if iso["variant"] == "release" else []
        argv = [
            "build.iso",
            "--profile",
            f"minimal@{iso['suite']}",
            *release,
            "--no-cache",
            "--output",
            "alone",
        ]
        assert warm.inv(*argv).json["sha256"] == iso["sha256"]
