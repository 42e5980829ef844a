"""The tree of a matrix: each stage once, parents first, and on the way to an ISO all that its plan has."""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.build.matrix.tree import Iso, Segment, tree_of
from synos_tasks.iso.plan import Plan
from tests.unit.plans import BASE, COMPONENTS, FILES, LAYERS, LOCK, planned, saying
from tests.unit.test_plan import FIRST, PART_FILES


@dataclasses.dataclass(frozen=True)
class Choice:
    """What plans of a matrix differ in; its words are short where hypothesis shows them."""

    packages: int
    components: int
    host: str
    hooks: bool
    epoch: int
    release: bool

    @property
    def plan(self) -> Plan:
        profile = saying(BASE, hostname=self.host, **({} if self.hooks else {"hooks": []}))
        components = (*COMPONENTS,)[: self.components]
        profile = dataclasses.replace(profile, layers=LAYERS[: self.packages], components=components)
        return planned(profile, dataclasses.replace(LOCK, epoch=self.epoch), release=self.release)


CHOICES = st.builds(
    Choice, st.integers(1, 3), st.integers(0, 2), st.sampled_from("ab"), st.booleans(), st.integers(1, 2), st.booleans()
)  # fmt: skip
UNSHARED = {"squashfs", "bootfiles", "iso"}


def isos_of(*plans: Plan) -> list[Iso]:
    return [Iso(name=f"{index}", asked=plan.profile.name, plan=plan) for index, plan in enumerate(plans)]


def way_to(segment: Segment) -> list[Segment]:
    return [*(way_to(segment.after) if segment.after else []), segment]


def names_of(segment: Segment) -> list[str]:
    return [stage.name for stage in segment.stages]


@given(st.lists(CHOICES, min_size=1, max_size=6))
def test_each_layer_is_in_one_segment_and_the_way_to_an_iso_is_its_plan(choices: list[Choice]) -> None:
    isos = isos_of(*(choice.plan for choice in choices))
    tree = tree_of(isos)
    kept = [stage for one in tree for stage in one.stages if stage.kind not in {*UNSHARED, "component"}]
    assert len({stage.key for stage in kept}) == len(kept), "what is stored is made by one segment"
    for index, segment in enumerate(tree):
        assert segment.after is None or segment.after in tree[:index]
        assert segment.after is None or set(segment.after.isos) > set(segment.isos)
        assert segment.makes_iso == ("iso" in names_of(segment))
        assert len(segment.isos) > 1 or segment.makes_iso
    for iso in isos:
        [last] = [one for one in tree if one.makes_iso and one.isos == (iso,)]
        way = [stage for one in way_to(last) for stage in one.stages]
        assert {stage.key for stage in way} == {stage.key for stage in iso.plan.stages}
        assert len(way) == len(iso.plan.stages)
        layers = [stage for stage in way if stage.is_layer]
        assert layers == iso.plan.layers


@given(CHOICES, st.data())
def test_a_plan_until_a_layer_has_it_and_what_is_below(choice: Choice, data: st.DataObject) -> None:
    plan = choice.plan
    layer = data.draw(st.sampled_from(plan.layers))
    part = plan.until(layer.name)
    assert part.layers == plan.layers[: plan.layers.index(layer) + 1]
    assert part.components == (plan.components if "components" in part.stage_names else [])
    assert {stage.kind for stage in part.stages} & UNSHARED == set()
    assert part.stage("initramfs") == plan.stage("initramfs")
    assert (part.profile, part.lock, part.build_id, part.release) == (
        plan.profile, plan.lock, plan.build_id, plan.release
    )  # fmt: skip


def test_variants_of_a_profile_share_all_but_their_build_id() -> None:
    tree = tree_of(isos_of(planned(), planned(release=True)))
    assert [names_of(one) for one in tree] == [
        ["initramfs", "base", "packages-parent", "packages-x", "system", "overlay", "hook-x"],
        ["identity", "bootfiles", "iso"],
        ["identity", "squashfs", "bootfiles", "iso"],
    ]
    assert [one.after for one in tree] == [None, tree[0], tree[0]]


def test_profiles_share_what_they_inherit_and_suites_nothing() -> None:
    plans = [
        planned(dataclasses.replace(BASE, suite=suite, layers=LAYERS[:count]), tools=suite)
        for suite, count in product(("bookworm", "trixie"), (2, 3))
    ]
    tree = tree_of(isos_of(*plans))
    assert [names_of(one)[-1] for one in tree] == ["packages-parent", "iso", "iso"] * 2
    assert [one.after for one in tree] == [None, tree[0], tree[0], None, tree[3], tree[3]]


def test_one_iso_is_one_segment_and_none_is_no_tree() -> None:
    [only] = tree_of(isos_of(planned()))
    assert only.plan == planned()
    assert tree_of([]) == ()


def test_a_hook_above_different_overlays_is_named_by_both() -> None:
    plans = [planned(FIRST, files={**PART_FILES, "overlays/x": text}) for text in ("one", "two")]
    tree = tree_of(isos_of(*plans))
    assert names_of(tree[0])[-1] == "system"
    assert all("hook-c" in names_of(one) for one in tree[1:])


@pytest.mark.parametrize("count", [1, 2])
def test_the_same_iso_under_two_names_is_made_of_one_set_of_layers(count: int) -> None:
    tree = tree_of(isos_of(*[planned(files=FILES)] * count))
    assert [names_of(one)[-1] for one in tree] == (["iso"] if count == 1 else ["identity", "iso", "iso"])
