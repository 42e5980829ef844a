from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from synos_tasks import archive
from synos_tasks.engine.volumes import User
from synos_tasks.errors import CacheUnusable, SettingsError
from synos_tasks.maint import copying, volumes
from tests.unit.fake_volumes import PROJECT, Ground, ground

if TYPE_CHECKING:
    from pathlib import Path

RUNS = User(name="a", state="running")
ENDED = User(name="b", state="exited")


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    return ground(tmp_path)


def test_all_of_the_project_are_listed_and_no_others(here: Ground) -> None:
    here.volumes.add("store", size=5, users=(RUNS, ENDED))
    here.volumes.add("data", size=7, role="services")
    here.volumes.add("store", project="synos-other", size=1000)
    found = volumes.listed(here.means)
    assert [(one.short, one.role, one.bytes) for one in found] == [
        ("data", "services", 7),
        ("store", "cache", 5),
    ]
    assert found[1].users == ("a (runs)", "b")
    assert found[1].created == "2027-01-15T08:00:00Z"
    assert volumes.total(found) == 12


def test_another_name_says_so_takes_nothing_and_shares_its_users(here: Ground) -> None:
    here.volumes.add("ccache", size=5)
    here.volumes.add("dev-ccache", device=f"/engine/{PROJECT}-ccache", size=5, users=(RUNS,))
    here.volumes.add("folder", device="/home/me/x", size=9)
    cache, alias, folder = volumes.listed(here.means)
    assert alias.alias_of == f"{PROJECT}-ccache"
    assert folder.alias_of == "/home/me/x"
    assert cache.users == alias.users == ("a (runs)",)
    assert volumes.total([cache, alias, folder]) == 5


def test_one_whose_place_is_not_told_has_no_users_but_its_own(here: Ground) -> None:
    """A plug-in's volume has no folder of the engine before it is mounted."""
    full = here.volumes.add("far")
    here.volumes.facts[full] = replace(here.volumes.facts[full], place="")
    here.volumes.add("store", users=(RUNS,))
    assert [one.users for one in volumes.listed(here.means)] == [(), ("a (runs)",)]
    here.volumes.facts[full] = replace(here.volumes.facts[full], users=(ENDED,))
    assert [one.users for one in volumes.listed(here.means)] == [("b",), ("a (runs)",)]


def test_sizes_that_nobody_tells_are_not_made_up(here: Ground) -> None:
    here.volumes.add("store", size=None)
    assert volumes.listed(here.means)[0].bytes is None


@pytest.mark.parametrize("name", ["store", f"{PROJECT}-store"])
def test_one_is_found_by_either_name(here: Ground, name: str) -> None:
    full = here.volumes.add("store", users=(RUNS, ENDED))
    found, users = volumes.find(here.means, name)
    assert found.name == full
    assert users == [RUNS]


def test_one_that_is_not_there_is_named_with_what_there_is(here: Ground) -> None:
    here.volumes.add("store")
    with pytest.raises(SettingsError, match="no volume 'stor'") as refused:
        volumes.find(here.means, "stor")
    assert refused.value.hint == "did you mean 'store'? there are: store"


def test_without_any_there_is_nothing_to_list(here: Ground) -> None:
    assert volumes.listed(here.means) == []
    with pytest.raises(SettingsError) as refused:
        volumes.find(here.means, "store")
    assert refused.value.hint == "this project has no volume"


def test_what_is_not_ours_is_never_touched(here: Ground) -> None:
    full = here.volumes.add("data", "a", project="synos-other")
    here.volumes.facts["mine"] = here.volumes.facts[full]
    for name in (full, "mine"):
        for act in (
            lambda name=name: volumes.inspect(here.means, name),
            lambda name=name: copying.export(here.means, name),
            lambda name=name: copying.clone(here.means, name, "new"),
        ):
            with pytest.raises(SettingsError, match="not this project's"):
                act()
    assert here.volumes.specs == []


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("new", f"{PROJECT}-new"),
        (f"{PROJECT}-new", f"{PROJECT}-new"),
        ("synos-abcdefghijkl-history", "synos-abcdefghijkl-history"),
    ],
)
def test_a_new_one_gets_the_name_of_its_project(here: Ground, given: str, full: str) -> None:
    assert volumes.new_name(here.means.settings, given) == full


@pytest.mark.parametrize("given", ["a/b", "ä", "a b", "synos-0123456789-store", "x" * 255])
def test_a_name_that_cannot_be_is_refused(here: Ground, given: str) -> None:
    with pytest.raises(SettingsError):
        volumes.new_name(here.means.settings, given)


def test_inspect_tells_all_of_one(here: Ground) -> None:
    stack = {"com.docker.compose.project": f"{PROJECT}-unified"}
    here.volumes.add("data", "a", "b", role="services", labels=stack)
    path = copying.export(here.means, "data").path
    with (
        archive.create(here.means.settings.state_dir / "backups/unified", "monday", {}) as draft,
        draft.file("x"),
    ):
        pass
    found = volumes.inspect(here.means, "data")
    assert (found.files, found.folders) == (2, 1)
    assert found.changed == "2027-01-15T08:00:00Z"
    assert found.exports == (str(path),)
    assert found.backups == ("monday",)


def test_a_container_gets_one_volume_to_read_and_nothing_else(here: Ground) -> None:
    full = here.volumes.add("data")
    volumes.inspect(here.means, "data")
    [spec] = here.volumes.specs
    assert spec.read_only_volumes == {full: "/volume"}
    assert (spec.volumes, spec.binds, spec.network, spec.logged) == ({}, (), "none", False)
    assert spec.capabilities == ("DAC_READ_SEARCH",)


def test_one_that_cannot_be_read_is_named(here: Ground) -> None:
    here.volumes.add("data")
    here.volumes.code, here.volumes.said = 1, "find: Input/output error"
    with pytest.raises(CacheUnusable, match="cannot be read") as failed:
        volumes.inspect(here.means, "data")
    assert failed.value.why == "find: Input/output error"
