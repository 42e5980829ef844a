"""identity: the build id in os-release, and what the self-test compares; above all, so that a new id changes no other layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso import key, stagespec
from synos_tasks.iso.identities import FIRST_BOOT
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.layers import Listing, StageInputs

STAGE = StageSpec(order=60, fields=("values",))
OS_RELEASE = "usr/lib/os-release"
EXPECTED = "usr/lib/synos/expected"
MISSING = (
    f'for one in $(sed -s 1d /{FIRST_BOOT}/* 2>/dev/null); do [ -e "$one" ] || printf "%s " "$one"; done'
)


def make_files(inputs: StageInputs, lower: Listing, target: Path) -> None:
    """Write os-release as it is below, with the build id."""
    lines = [line for line in inputs.read(OS_RELEASE).splitlines() if not line.startswith("BUILD_ID=")]
    lower.make_parents(target, OS_RELEASE)
    (target / OS_RELEASE).write_text(
        "".join(f"{line}\n" for line in [*lines, f"BUILD_ID={inputs.plan.build_id}"])
    )
    lower.make_parents(target, EXPECTED)
    (target / EXPECTED).write_text(expected(inputs))


def expected(inputs: StageInputs) -> str:
    """Return what the self-test compares: a line of what, value and command, with tabs between, for each."""
    profile = inputs.plan.profile
    found = [
        one
        for name, one_key in stagespec.keys().items()
        if (value := profile.values.get(name)) is not None
        for one in one_key.expect(profile, value)
    ]
    for stage in stagespec.modules().values():
        if hasattr(stage, "expect"):
            found += stage.expect(inputs)
    found.append(key.Expected("not made at first boot", "", MISSING))
    return "".join(f"{one.what}\t{one.value}\t{one.command}\n" for one in found)
