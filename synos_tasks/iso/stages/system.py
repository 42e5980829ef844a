"""system: users, host name, locale and all else that the files of iso/keys set up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso import key
from synos_tasks.iso.keys import repositories
from synos_tasks.iso.root import clean, make_devices
from synos_tasks.iso.stagespec import StageSpec
from synos_tasks.iso.system import System

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.layers import StageInputs

NAME = "system"
STAGE = StageSpec(order=30, fields=("sources", "third_parties", "selectors"), keys=key.of_system())


def make(inputs: StageInputs, root: Path) -> None:
    """Set the system up as the profile says."""
    make_devices(root)
    system = System(inputs.context, root)
    system.write("etc/apt/sources.list", "".join(f"{line}\n" for line in system.profile.sources))
    if pins := repositories.pins(system.profile):
        system.write("etc/apt/preferences.d/profile", pins)
    for name, one in key.of_system().items():
        if one.apply and (value := system.profile.values.get(name)) is not None:
            one.apply(system, value)
    system.finish(NAME)
    clean(root)
