"""What goes and what stays: each rule, and what holds for whatever there is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.maint.prune import ORDER, Limits, decide
from tests.unit.fake_inventory import DAY, NOW, resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.maint.resources import Resource

KINDS = tuple(kind for kind in ORDER if kind not in {"iso", "file", "cache mount", "running container"})
"""ISOs have a rule of their own, and a prune plans no files."""
DEFAULT = Limits(older_than=14 * DAY, keep_last=3)
ALL = dataclasses.replace(DEFAULT, include_rebuildable=True, older_than=0, keep_last=1)
"""As --all is without other options."""


def why(thing: Resource, limits: Limits = DEFAULT) -> str:
    """Say why a thing stays; '' where it goes."""
    return "".join(one.reason for one in decide([thing], limits, NOW).kept)


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("cache", "cache"),
        ("store", "store"),
        *((kind, "include_rebuildable") for kind in ("cache volume", "dev container")),
    ],
)
def test_what_goes_only_when_it_is_asked_for(kind: str, option: str) -> None:
    name = {"include_rebuildable": "all"}.get(option, option)
    assert why(resource("x", kind=kind)) == f"removed with --{name} only"
    for other in ("cache", "store", "volumes", "include_rebuildable"):
        asked = Limits(older_than=0, keep_last=1, **{other: True})
        assert (why(resource("x", kind=kind), asked) == "") == (other in {option, "include_rebuildable"})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_by_a_kill_goes_at_any_age_and_the_rest_when_it_is_old(kind: str) -> None:
    limits = Limits(older_than=14 * DAY, keep_last=1, cache=True, store=True, volumes=True)
    new = resource("x", kind=kind, used=NOW - DAY, backup="fresh")
    reason = why(new, limits)
    if kind in {"build container", "scratch volume", "network", "data volume"}:
        assert reason == ""
    elif kind in {"cache volume", "dev container"}:
        assert reason == "removed with --all only"
    else:
        assert reason == "only 24 hours old"
        assert why(dataclasses.replace(new, used=NOW - 14 * DAY), limits) == ""
        assert why(dataclasses.replace(new, used=NOW - 14 * DAY + 1), limits) == "only 14 days old"
    assert why(new, dataclasses.replace(ALL, volumes=True)) == ""


def test_all_is_not_data_and_keeps_what_other_options_keep() -> None:
    data = resource("x", kind="data volume", backup="fresh")
    assert why(data, ALL) == "holds data: removed with --volumes only"
    limits = dataclasses.replace(ALL, older_than=DAY, keep_last=2)
    assert why(resource("x", used=NOW - 3600), limits) == "only 60 minutes old"
    kept = [one.name for one in decide(images(2, 3, 4), limits, NOW).kept]
    assert kept == ["synos-boot:3", "synos-boot:2"]


def images(*ages: int) -> list[Resource]:
    return [resource(f"synos-boot:{age}", group="synos-boot", used=NOW - age * DAY) for age in ages]


def test_the_newest_counts_though_it_is_held_for_another_reason() -> None:
    new, old = images(1, 50)
    decided = decide([dataclasses.replace(new, pinned="what the Dockerfiles give now"), old], ALL, NOW)
    assert decided.removals == (old,)


@pytest.mark.parametrize(("keep", "gone"), [(0, []), (1, [4, 3, 2]), (3, [4]), (9, [])])
def test_old_isos_go_beyond_the_newest_of_each_profile_and_zero_keeps_all(keep: int, gone: list[int]) -> None:
    isos = [resource(str(age), kind="iso", group="standard", used=NOW - age * DAY) for age in (1, 2, 3, 4)]
    isos += [resource("9", kind="iso", group="minimal", used=NOW - 9 * DAY)]
    for base in (Limits(older_than=0, keep_last=1), ALL):
        limits = dataclasses.replace(base, keep_isos=keep)
        assert [one.id for one in decide(isos, limits, NOW).removals] == list(map(str, gone))
    young = Limits(older_than=3.5 * DAY, keep_last=1, keep_isos=keep)
    assert [one.id for one in decide(isos, young, NOW).removals] == [str(age) for age in gone if age == 4]


# Whatever there is

AGES = st.sampled_from([-DAY, 0, 599, 600, 601, DAY, 14 * DAY - 1, 14 * DAY, 100 * DAY])


@st.composite
def a_lot(draw: st.DrawFn) -> list[Resource]:
    """Resources of all kinds; what a thing has above it comes before it, or is nobody's."""
    things: list[Resource] = []
    for number in range(draw(st.integers(0, 12))):
        names = st.sampled_from([*(one.id for one in things), "another's"])
        things.append(
            resource(
                str(number),
                kind=draw(st.sampled_from(ORDER)),
                bytes=draw(st.integers(0, 1000)),
                used=NOW - draw(AGES),
                pinned=draw(st.sampled_from(["", "", "", "it is running"])),
                group=draw(st.sampled_from(["", "g", "h"])),
                backup=draw(st.sampled_from(["", "fresh"])),
                needed_by=tuple(draw(st.lists(names, max_size=2))) if draw(st.booleans()) else (),
            )
        )
    return draw(st.permutations(things))


LIMITS = st.builds(
    Limits,
    older_than=st.sampled_from([0, DAY, 14 * DAY]),
    young=st.sampled_from([0, 600]),
    keep_last=st.integers(-1, 4),
    keep_isos=st.integers(0, 3),
    cache=st.booleans(),
    store=st.booleans(),
    volumes=st.booleans(),
    include_rebuildable=st.booleans(),
    factory_reset=st.booleans(),
)


def whatever(test: Callable[[list[Resource], Limits], None]) -> Callable[[], None]:
    """Try a property with any resources and limits."""
    return settings(max_examples=60)(given(a_lot(), LIMITS)(test))


@whatever
def test_every_thing_goes_or_stays_and_has_a_reason_to_stay(things: list[Resource], limits: Limits) -> None:
    decided = decide(things, limits, NOW)
    gone, kept = ([one.id for one in part] for part in (decided.removals, decided.kept))
    assert sorted([*gone, *kept]) == sorted(one.id for one in things)
    assert all(one.reason for one in decided.kept)
    kinds = [one.kind for one in decided.removals]
    assert kinds == sorted(kinds, key=ORDER.index)


@whatever
def test_what_is_held_never_goes_nor_what_something_that_stays_needs(
    things: list[Resource], limits: Limits
) -> None:
    gone = {one.id for one in decide(things, limits, NOW).removals}
    for one in things:
        assert not (one.pinned and one.id in gone)
        assert one.id not in gone or gone.issuperset(one.needed_by)


@whatever
def test_but_for_a_reset_data_goes_only_with_a_fresh_backup_and_nothing_that_is_young(
    things: list[Resource], limits: Limits
) -> None:
    limits = dataclasses.replace(limits, factory_reset=False)
    for one in decide(things, limits, NOW).removals:
        assert NOW - one.used >= limits.young or one.kind == "build container"  # its command is gone
        if one.kind == "data volume":
            assert one.backup
            assert limits.volumes


@whatever
def test_but_for_a_reset_the_newest_of_each_group_stays(things: list[Resource], limits: Limits) -> None:
    decided = decide(things, dataclasses.replace(limits, factory_reset=False), NOW)
    kept = {one.id for one in decided.kept}
    for kind, group in {(one.kind, one.group) for one in things if one.group}:
        alike = [one for one in things if (one.kind, one.group) == (kind, group)]
        newest = max(one.used for one in alike)
        assert any(one.used == newest and one.id in kept for one in alike)


@settings(max_examples=60)
@given(
    a_lot(), LIMITS, st.sampled_from(["cache", "store", "volumes", "include_rebuildable", "factory_reset"])
)
def test_who_asks_for_more_gets_no_less(things: list[Resource], limits: Limits, option: str) -> None:
    fewer = {one.id for one in decide(things, dataclasses.replace(limits, **{option: False}), NOW).removals}
    more = {one.id for one in decide(things, dataclasses.replace(limits, **{option: True}), NOW).removals}
    assert fewer <= more


@whatever
def test_fewer_go_where_they_must_be_older_or_more_are_to_be_kept(
    things: list[Resource], limits: Limits
) -> None:
    gone = {one.id for one in decide(things, limits, NOW).removals}
    for stricter in (
        dataclasses.replace(limits, older_than=limits.older_than + DAY),
        dataclasses.replace(limits, keep_last=limits.keep_last + 1),
        dataclasses.replace(limits, young=limits.young + 60),
    ):
        assert gone >= {one.id for one in decide(things, stricter, NOW).removals}


@whatever
def test_the_order_in_which_things_are_told_decides_nothing(things: list[Resource], limits: Limits) -> None:
    one, two = decide(things, limits, NOW), decide(things[::-1], limits, NOW)
    assert one.removals == two.removals
    assert set(one.kept) == set(two.kept)


@whatever
def test_what_a_plan_leaves_is_left_by_the_next_but_for_the_newest(
    things: list[Resource], limits: Limits
) -> None:
    """Carried out once, the same plan has nothing more to do."""
    limits = dataclasses.replace(limits, keep_last=max(1, limits.keep_last))
    kept = decide(things, limits, NOW).kept
    assert decide(kept, limits, NOW).removals == ()


ITEMS = st.lists(st.tuples(st.integers(0, 100), st.sampled_from(["", "a", "b"])), max_size=12)


@given(ITEMS, st.integers(0, 100), st.integers(1, 4))
def test_what_expires_is_old_enough_and_not_among_the_newest(
    items: list[tuple[int, str]], older: int, keep: int
) -> None:
    every = [resource(str(n), group=group, used=NOW - age) for n, (age, group) in enumerate(items)]
    decided = decide(every, Limits(older_than=older, young=0, keep_last=keep), NOW)
    assert [one.used for one in decided.removals] == sorted(one.used for one in decided.removals)
    assert all(NOW - one.used >= older for one in decided.removals)
    for group in ("a", "b"):
        kept = sorted(NOW - one.used for one in decided.kept if one.group == group)
        newest = sorted(NOW - one.used for one in every if one.group == group)[:keep]
        assert kept[:keep] == newest
        assert all(age < older for age in kept[keep:])
