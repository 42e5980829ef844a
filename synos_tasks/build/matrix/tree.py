"""What a matrix has to do, pure: the plans of its ISOs as one tree, in which a stage that several begin with stands once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from synos_tasks.iso.plan import COMPONENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from synos_tasks.iso.plan import Plan, Stage

    Prefix = tuple[str, ...]
    """Keys of layers, the lowest first: that of a hook does not cover the overlay below it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Iso:
    """One ISO of a matrix."""

    name: str
    """Of its profile, and its variant: no two of a matrix share it."""
    asked: str
    """What --profile is for this ISO: NAME or NAME@SUITE."""
    plan: Plan


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Stages that one task makes, one after the other. The last segment of an ISO makes the ISO too."""

    stages: tuple[Stage, ...]
    isos: tuple[Iso, ...]
    """Those that need it. Where they are several, the stages are layers with what these need."""
    after: Segment | None
    """What makes the stages below."""

    @property
    def makes_iso(self) -> bool:
        """Tell whether it ends with an ISO."""
        return self.stages[-1].kind == "iso"

    @property
    def plan(self) -> Plan:
        """What its task executes: also the stages below, which the store has by then."""
        plan = self.isos[0].plan
        return plan if self.makes_iso else plan.until(self.stages[-1].name)

    @property
    def name(self) -> str:
        """The ISOs that need it."""
        return ", ".join(iso.name for iso in self.isos)

    @property
    def download_bytes(self) -> int:
        """Size of the packages that its stages install: what takes longest has most."""
        layers = {stage.name for stage in self.stages}
        return sum(one.size for one in self.isos[0].plan.lock.packages if one.layer in layers)


def tree_of(isos: Sequence[Iso]) -> tuple[Segment, ...]:
    """Return the segments of a matrix, each after the one it needs.

    Components, and hooks with ``inputs``, do not depend on all layers below: several segments may name one, and the
    store's lock lets one of them make it.
    """
    users: dict[Prefix, list[int]] = defaultdict(list)
    for number, iso in enumerate(isos):
        for prefix, _ in _steps(iso, number):
            users[prefix].append(number)
    found: dict[Prefix, Segment] = {}
    for number, iso in enumerate(isos):
        after: Segment | None = None
        for sharing, group in groupby(_steps(iso, number), lambda step: users[step[0]]):
            steps = list(group)
            last, stages = steps[-1][0], tuple(stage for _, more in steps for stage in more)
            if last not in found:
                found[last] = Segment(stages=stages, isos=tuple(isos[one] for one in sharing), after=after)
            after = found[last]
    return tuple(found.values())


def _steps(iso: Iso, number: int) -> Iterator[tuple[Prefix, list[Stage]]]:
    """Yield the stages of an ISO, the lowest first, each layer with what it needs; and what tells them from others'."""
    plan = iso.plan
    below: Prefix = ()
    for layer in plan.layers:
        below = (*below, layer.key)
        with_it = {"base": "initramfs", "components": COMPONENT}.get(layer.kind)
        yield below, [*(stage for stage in plan.stages if stage.kind == with_it), layer]
    kinds = {"squashfs", "bootfiles", "iso"}
    yield (*below, str(number)), [stage for stage in plan.stages if stage.kind in kinds]
