"""A profile of all kinds of stages and its lock, planned; and what differs between two plans."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from synos_tasks.iso import plan as planning
from synos_tasks.iso.lock import Lock, Package
from synos_tasks.iso.plan import Plan
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.stages.overlay import BASE_OVERLAY


def _package(name: str, layer: str) -> Package:
    return Package(
        name=name, version="1", architecture="amd64", layer=layer, size=1, sha256=name, archive="main", path=name
    )  # fmt: skip


LAYERS = (("base", ("linux-image-amd64",)), ("packages-parent", ("sudo",)), ("packages-x", ("vim",)))


def saying(profile: Profile, **values: Any) -> Profile:  # noqa: ANN401
    """Return a profile that says more."""
    return dataclasses.replace(profile, values={**profile.values, **values})


BASE = saying(Profile(name="x", layers=LAYERS), overlays=["overlays/x"], hooks=["hooks/x"])
LOCK = Lock(
    request="r",
    epoch=1_700_000_000,
    packages=(
        _package("linux-image-amd64", "base"), _package("sudo", "packages-parent"), _package("vim", "packages-x"),
    ),
)  # fmt: skip
FILES = {BASE_OVERLAY: "0", "overlays/x": "1", "hooks/x": "2"}
COMPONENTS = {"tool": {"source": "tool's"}, "agent": {"source": "agent's"}}
"""What components are made of; BASE has none of them."""
STACK = ["base", "packages-parent", "packages-x", "system", "overlay", "hook-x", "identity"]
ALL = {*STACK, "initramfs", "bootfiles", "iso"}
# the menu shows the build id, which anything changes; see changed()
NOT_THE_MENU = ALL - {"bootfiles"}
# the build id is in a layer of its own
ID_ALONE = {"identity", "iso"}


def since(stage: str) -> set[str]:
    """A layer, those above it, and the ISO."""
    return {*STACK[STACK.index(stage) :], "iso"}


def planned(
    profile: Profile = BASE,
    lock: Lock = LOCK,
    *,
    files: dict[str, str] | None = None,
    tools: str = "t",
    components: Mapping[str, Mapping[str, str]] = COMPONENTS,
    release: bool = False,
) -> Plan:
    return planning.make(
        profile, lock, files=files or FILES, tools=tools, components=components, release=release
    )


def locked_with(index: int, **change: Any) -> Lock:  # noqa: ANN401
    packages = list(LOCK.packages)
    packages[index] = dataclasses.replace(packages[index], **change)
    return dataclasses.replace(LOCK, packages=tuple(packages))


def changed(one: Plan, two: Plan) -> set[str]:
    """Names of the stages whose keys differ; of the menu, whether anything else than the build id does."""

    def keys(of: Plan) -> dict[str, object]:
        found: dict[str, object] = {stage.name: stage.key for stage in of.stages}
        menu = of.stage("bootfiles").why
        return found | {"bootfiles": {name: digest for name, digest in menu.items() if name != "build"}}

    a, b = keys(one), keys(two)
    return {name for name in a | b if a.get(name) != b.get(name)}
