"""What of the store goes: what was not used for longest, never what is used or was a moment ago."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.build.iso_build import keep_of
from synos_tasks.iso.housekeeping import YOUNG_SECONDS, Kept, Limits, choose
from synos_tasks.settings import MaintSettings

NOW = 1_800_000_000.0
DAY = 86400


@st.composite
def kept(draw: st.DrawFn) -> list[Kept]:
    def one(key: int) -> Kept:
        used = NOW - draw(st.one_of(st.integers(-DAY, 2 * YOUNG_SECONDS), st.integers(0, 90 * DAY)))
        size, in_use = draw(st.integers(0, 1000)), draw(st.booleans())
        return Kept(
            draw(st.sampled_from(["stage", "package", "lists"])), "", str(key), size, used, used, in_use
        )

    return [one(key) for key in range(draw(st.integers(0, 12)))]


LIMITS = st.builds(
    Limits,
    max_bytes=st.none() | st.integers(0, 6000),
    max_age=st.none() | st.integers(0, 90 * DAY),
    young=st.sampled_from([0, YOUNG_SECONDS]),
)


def may_go(entries: list[Kept], limits: Limits) -> list[Kept]:
    return [one for one in entries if not one.in_use and NOW - one.last_used >= limits.young]


@settings(deadline=None, derandomize=True)
@given(kept(), LIMITS)
def test_nothing_goes_that_is_in_use_or_young(entries: list[Kept], limits: Limits) -> None:
    chosen = choose(entries, limits, NOW)
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(may_go(entries, limits))


@settings(deadline=None, derandomize=True)
@given(kept(), LIMITS)
def test_what_was_not_used_for_longest_goes_first(entries: list[Kept], limits: Limits) -> None:
    chosen = choose(entries, limits, NOW)
    used = [one.last_used for one in chosen]
    assert used == sorted(used)
    left = set(may_go(entries, limits)) - set(chosen)
    assert all(one.last_used >= used[-1] for one in left if used)


@settings(deadline=None, derandomize=True)
@given(kept(), LIMITS)
def test_afterwards_the_limits_are_kept_where_that_is_possible(entries: list[Kept], limits: Limits) -> None:
    chosen = choose(entries, limits, NOW)
    left = set(entries) - set(chosen)
    free = [one for one in may_go(entries, limits) if one in left]
    if limits.max_age is not None:
        assert not [one for one in free if NOW - one.last_used > limits.max_age]
    if limits.max_bytes is not None and free:
        assert sum(one.bytes for one in left) <= limits.max_bytes


@settings(deadline=None, derandomize=True)
@given(kept(), LIMITS)
def test_no_more_goes_than_must(entries: list[Kept], limits: Limits) -> None:
    chosen = choose(entries, limits, NOW)
    if not chosen:
        return
    last = chosen[-1]
    left = sum(one.bytes for one in entries) - sum(one.bytes for one in chosen[:-1])
    too_old = limits.max_age is not None and NOW - last.last_used > limits.max_age
    assert too_old or (limits.max_bytes is not None and left > limits.max_bytes)


@settings(deadline=None, derandomize=True)
@given(kept())
def test_without_limits_all_stays(entries: list[Kept]) -> None:
    assert choose(entries, Limits(), NOW) == []


@settings(deadline=None, derandomize=True)
@given(kept(), st.data())
def test_what_was_chosen_goes_and_no_more_and_not_where_it_was_used_since(
    entries: list[Kept], data: st.DataObject
) -> None:
    picked = data.draw(st.lists(st.sampled_from(entries), unique=True)) if entries else []
    since = data.draw(st.sampled_from(picked)) if picked else None
    told = {one.key: one.last_used - (1 if one == since else 0) for one in picked}
    chosen = choose(entries, Limits(chosen=told, max_age=0.0, max_bytes=0), NOW)
    assert set(chosen) == {one for one in entries if told.get(one.key) == one.last_used and not one.in_use}
    assert since not in chosen


def test_what_the_settings_say_is_what_the_container_is_told() -> None:
    told = keep_of(MaintSettings(store_max_gb=2, store_days=3, budget_seconds=4, young_minutes=5))
    assert told == {"max_bytes": 2 * 10**9, "max_age": 3 * DAY, "young": 300, "seconds": 4}
    assert keep_of(MaintSettings(store_max_gb=0)) == {**(keep_of(MaintSettings()) or {}), "max_bytes": None}
    assert keep_of(MaintSettings(store_days=0)) == {**(keep_of(MaintSettings()) or {}), "max_age": None}


@pytest.mark.parametrize(
    "maint",
    [MaintSettings(store_max_gb=0, store_days=0), MaintSettings(budget_seconds=0)],
    ids=["no limit", "no time"],
)
def test_where_nothing_is_to_go_nothing_is_looked_for(maint: MaintSettings) -> None:
    assert keep_of(maint) is None
