"""identity: the build id in os-release; a layer of its own, so that a new id changes no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.listing import Listing

OS_RELEASE = "usr/lib/os-release"


def make(below: str, build_id: str, lower: Listing, target: Path) -> None:
    """Write os-release as it was ``below``, and the build id."""
    lines = [line for line in below.splitlines() if not line.startswith("BUILD_ID=")]
    lower.make_parents(target, OS_RELEASE)
    (target / OS_RELEASE).write_text("".join(f"{line}\n" for line in [*lines, f"BUILD_ID={build_id}"]))
