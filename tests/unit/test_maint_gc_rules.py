"""BuildKit's rules: read from what buildx prints, put in words, and those that we propose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.maint.gc_rules import Rule, limit_gib, parse, proposal, to_config

GIB = 2**30
OFF = """\
Name:          default
Driver:        docker

Nodes:
Name:             default
BuildKit version: v0.0.0+unknown
Labels:
 org.mobyproject.buildkit.worker.moby.host-gateway-ip: 172.17.0.1
"""
ENGINE_26 = f"""{OFF}\
GC Policy rule#0:
 All:           false
 Filters:       type==source.local,type==exec.cachemount,type==source.git.checkout
 Keep Duration: 48h0m0s
 Keep Bytes:    2.764GiB
GC Policy rule#1:
 All:           false
 Keep Duration: 1440h0m0s
 Keep Bytes:    20GiB
GC Policy rule#2:
 All:        true
 Filters:    \n Keep Bytes: 20GiB
"""
LATER = f"""{OFF}\
GC Policy rule#0:
 All:            false
 Filters:        type==source.local type==exec.cachemount type==source.git.checkout
 Keep Duration:  48h0m0s
 Max Used Space: 488.3MiB
GC Policy rule#1:
 All:            false
 Keep Duration:  1440h0m0s
 Reserved Space: 9.313GiB
 Max Used Space: 93.13GiB
 Min Free Space: 188.1GiB
GC Policy rule#2:
 All:            true
 Reserved Space: 9.313GiB
 Min Free Space: 188.1GiB
File#buildkitd.toml:
 > # written by somebody
"""


def test_an_engine_that_drops_nothing_tells_of_no_rule() -> None:
    assert parse(OFF) == []
    assert parse("") == []


def test_the_rules_of_engine_26_and_what_they_do() -> None:
    dead, old, last = parse(ENGINE_26)
    assert dead.words == "does nothing: no record is of several kinds at once, as it asks"
    assert not dead.drops_mounts
    assert old == Rule(unused_minutes=60 * 24 * 60, keep="20GiB")
    assert old.words == (
        "drops all but BuildKit's own records unused for 60 days, once the whole cache is above 20GiB"
    )
    assert last.words == "drops everything, once the whole cache is above 20GiB"
    assert old.drops_mounts
    assert last.drops_mounts


def test_the_rules_of_later_engines_and_what_they_do() -> None:
    short, old, last = parse(LATER)
    kinds = "copies of build contexts, cache mounts, git checkouts"
    assert short.words == f"drops {kinds} unused for 2 days, once the whole cache is above 488.3MiB"
    assert short.drops_mounts
    assert old.words.endswith(
        "once the whole cache is above 93.13GiB or less than 188.1GiB of the disk is free,"
        " but never below 9.313GiB"
    )
    assert last.words.endswith(
        "everything, once less than 188.1GiB of the disk is free, but never below 9.313GiB"
    )


@pytest.mark.parametrize(
    ("filters", "drops", "words"),
    [
        (("type==exec.cachemount",), True, "cache mounts"),
        (("type==regular",), False, "layers of build steps"),
        (("type==regular", "type==exec.cachemount"), True, "layers of build steps, cache mounts"),
        (("type==regular,type==exec.cachemount", "type==frontend"), False, "frontends"),
        (("type==new.kind,private",), False, "new.kind with private"),
        (("description~=x",), True, "records with description~=x"),
        (("id==a,type==exec.cachemount",), True, "cache mounts with id==a"),
    ],
)
def test_what_filters_mean(filters: tuple[str, ...], drops: bool, words: str) -> None:
    rule = Rule(filters=filters)
    assert rule.drops_mounts == drops
    assert rule.words == f"drops {words}, whatever the size of the cache"


@pytest.mark.parametrize(
    ("told", "minutes", "words"),
    [
        ("672h0m0.780455406s", 672 * 60, "28 days"),
        ("1h30m0s", 90, "90 minutes"),
        ("36h0m0s", 36 * 60, "36 hours"),
        ("172.8µs", 0, ""),
    ],
)
def test_durations(told: str, minutes: int, words: str) -> None:
    (rule,) = parse(f"GC Policy rule#0:\n All: false\n Keep Duration: {told}\n")
    assert rule.unused_minutes == minutes
    assert words in rule.words
    assert ("unused" in rule.words) == bool(minutes)


@pytest.mark.parametrize(
    ("disk", "gib"),
    [(0, 2), (15 * GIB, 2), (30 * GIB, 3), (252 * GIB, 25), (500 * GIB, 50), (8000 * GIB, 50)],
)
def test_the_limit_is_a_tenth_of_the_disk_within_bounds(disk: int, gib: int) -> None:
    assert limit_gib(disk) == gib


def test_mounts_go_after_four_weeks_or_when_layers_no_longer_help() -> None:
    rules = proposal(25)
    assert [number for number, rule in enumerate(rules) if rule.drops_mounts] == [0, 5]
    assert rules[0].unused_minutes == 28 * 24 * 60
    assert rules[5] == Rule(everything=True, keep="75GiB")


def test_what_daemon_json_takes() -> None:
    config = to_config(proposal(25))
    assert config["enabled"] is True
    assert config["policy"][0] == {
        "keepStorage": "25GiB",
        "filter": ["type=exec.cachemount", "unused-for=672h"],
    }
    assert config["policy"][4:] == [
        {"keepStorage": "50GiB", "filter": ["type=regular"]},
        {"keepStorage": "75GiB", "all": True},
    ]


@given(st.integers(2, 50))
def test_the_engine_tells_of_the_proposal_in_words_that_are_read_as_it(limit: int) -> None:
    told = ""
    for number, rule in enumerate(proposal(limit)):
        age = f" Keep Duration: {rule.unused_minutes // 60}h0m0.5s\n" if rule.unused_minutes else ""
        told += f"GC Policy rule#{number}:\n All: {str(rule.everything).lower()}\n"
        told += f" Filters: {' '.join(rule.filters)}\n{age} Keep Bytes: {rule.keep}\n"
    assert parse(told) == proposal(limit)


def test_json_says_it_too() -> None:
    told = Rule(filters=("type==regular",), keep="1GiB").to_json()
    assert told["filters"] == ["type==regular"]
    assert (told["says"], told["drops_cache_mounts"]) == (
        "drops layers of build steps, once the whole cache is above 1GiB",
        False,
    )
