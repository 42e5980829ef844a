"""identity: the build id in os-release; a layer of its own, so that a new id changes no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.layers import Listing, StageInputs

STAGE = StageSpec(order=60)
OS_RELEASE = "usr/lib/os-release"


def make_files(inputs: StageInputs, lower: Listing, target: Path) -> None:
    """Write os-release as it is below, with the build id."""
    lines = [line for line in inputs.read(OS_RELEASE).splitlines() if not line.startswith("BUILD_ID=")]
    lower.make_parents(target, OS_RELEASE)
    (target / OS_RELEASE).write_text(
        "".join(f"{line}\n" for line in [*lines, f"BUILD_ID={inputs.plan.build_id}"])
    )
