"""`inv maint.prune` from facts to the last line: what it plans, asks, removes and tells."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invoke.collection import Collection

from synos_tasks.cli import age, seconds_of
from synos_tasks.engine.labels import LABEL_PROJECT, image_labels, labels
from synos_tasks.errors import ContainerLost, HostUnfit, SettingsError, WrongUse
from synos_tasks.images import catalog, ledger
from synos_tasks.iso.eviction import Limits as StoreLimits
from synos_tasks.iso.eviction import Stored, choose
from synos_tasks.maint import prune, tasks, view
from synos_tasks.maint.prune import Limits
from synos_tasks.maint.resources import Resource
from tests.iso_sets import lay_iso
from tests.unit.fake_inventory import (
    BUILDER,
    DAY,
    NOW,
    OLD,
    OURS,
    THEIRS,
    World,
    builder,
    container,
    context_of,
    image,
    inventory,
    network,
    our_image,
    record,
    volume,
)
from tests.unit.projects import project
from tests.unit.verbs import answer
from tests.unit.verbs import inv as run_inv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from synos_tasks.maint.resources import Context
    from synos_tasks.settings import Settings

    Inv = Callable[..., int]

pytestmark = pytest.mark.usefixtures("keep_signals")
Shown = pytest.CaptureFixture[str]
DEFAULT = Limits(older_than=14 * DAY, keep_last=1)
DOCKERFILE = """\
FROM debian AS runtime
RUN --mount=type=cache,id=synos-apt,target=/var/cache/apt apt-get update
"""
STEP = "mount / from exec /bin/sh -c apt-get update"
MOUNT = 'cached mount /var/cache/apt from exec /bin/sh -c apt-get update with id "/synos-apt"'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = project(tmp_path, OURS)
    (tmp_path / "docker/build/Dockerfile").write_text(DOCKERFILE)
    return made


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    """Things of ours that are old, and of others that look like them; of the builders one has its command."""
    current = catalog.RECIPES["builder"].tag(settings.project)
    now = our_image("current", current, labels=image_labels(OURS, "build", current), created=OLD - 9)
    theirs = image("theirs", "synos-builder:theirs", labels=labels(THEIRS, "build"))
    made = World(
        images=(builder(1), builder(2), now, theirs),
        containers=(
            container(f"{OURS}-build-1", labels=labels(OURS, "build"), volumes=(f"{OURS}-once-4194305-a",)),
            container(f"{OURS}-runs", builder(1), labels=labels(OURS, "build"), state="running"),
            container("by-hand", now, labels={LABEL_PROJECT: OURS}),
            container("theirs", theirs, labels=labels(THEIRS, "build")),
        ),
        volumes=(
            volume(f"{OURS}-once-4194305-a", role="cache"),
            volume(f"{OURS}-ccache", role="cache"),
            volume(f"{OURS}-store", role="cache"),
            volume(f"{OURS}-data"),
            volume(f"{OURS}-data-theirs", THEIRS),
        ),
        networks=(network("mine"), network("theirs", THEIRS)),
        records=(
            record("base", "from local "),
            record("step", STEP, "base"),
            record("mount", MOUNT, type="exec.cachemount"),
            record("theirs", "mount / from exec /bin/sh -c theirs", "base"),
            record("like", STEP, "theirs"),
        ),
    )
    with context_of(settings, made).lease(f"{OURS}-runs"):
        yield made


@pytest.fixture
def context(settings: Settings, world: World) -> Context:
    return context_of(settings, world)


BY_DEFAULT = {f"{OURS}-build-1", f"{OURS}-once-4194305-a", "mine"}


def test_an_engine_elsewhere_is_not_asked(
    context: Context, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2376")
    with pytest.raises(HostUnfit, match="not on this machine"):
        prune.plan(context, DEFAULT)
    assert world.looked == 0


# The store


class FakeStore:
    """Lets all go that it is told to, but for what a build took meanwhile."""

    def __init__(self, *kept: Stored) -> None:
        self.kept = list(kept)
        self.used: set[str] = set()
        self.lost = False

    def list_store(self, *_: object) -> list[Stored]:
        return list(self.kept)

    def evict_store(self, _context: object, _image: str, limits: StoreLimits) -> None:
        if self.lost:
            raise ContainerLost("the store could not be asked", why="killed")
        gone = {one.key for one in choose(self.kept, limits, NOW)} - self.used
        self.kept[:] = [one for one in self.kept if one.key not in gone]


def kept(key: str, age: float, stage: str = "base", **given: Any) -> Stored:  # noqa: ANN401
    told = {"kind": "stage", "bytes": 100, "in_use": False, **given}
    return Stored(stage=stage, key=key * 64, created=OLD, last_used=NOW - age, **told)


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    made = FakeStore(
        kept("a", 20 * DAY),
        kept("b", DAY, "overlay"),
        kept("c", 30 * DAY, in_use=True),
        kept("d", 60),
        kept("e", 1800),
        kept("f", 40 * DAY, "", kind="package"),
    )
    monkeypatch.setattr("synos_tasks.builder.list_store", made.list_store)
    monkeypatch.setattr("synos_tasks.builder.evict_store", made.evict_store)
    return made


STORE = dataclasses.replace(DEFAULT, store=True)


def test_what_a_build_took_out_of_the_store_meanwhile_stays(context: Context, stored: FakeStore) -> None:
    planned = prune.plan(context, STORE)
    stored.used.add("a" * 64)
    pruned = prune.carry_out(context, planned)
    assert [(one.id[0], one.reason) for one in pruned.stayed] == [("a", "a build is using it")]


def test_a_store_that_cannot_be_asked_keeps_nothing_else(context: Context, stored: FakeStore) -> None:
    planned = prune.plan(context, STORE)
    stored.lost = True
    pruned = prune.carry_out(context, planned)
    assert {one.id[0]: one.reason for one in pruned.stayed} == {"a": "killed", "f": "killed"}
    assert {one.name for one in pruned.removed} == BY_DEFAULT


def test_the_reason_of_a_store_that_gives_none_is_that_it_failed(
    context: Context, stored: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = prune.plan(context, STORE)
    monkeypatch.setattr("synos_tasks.builder.evict_store", Mock(side_effect=ContainerLost("it went away")))
    pruned = prune.carry_out(context, planned)
    assert {one.reason for one in pruned.stayed} == {"it went away"}


UNREAD = "the store was not read: there is no builder image to do it; inv build.image makes one"


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ({"images": ()}, UNREAD),
        ({"volumes": ()}, "there is no store"),
        ({"images": (), "volumes": ()}, "there is no store"),
    ],
)
def test_without_a_store_or_an_image_to_read_it_with_that_is_said(
    settings: Settings, world: World, lacks: dict[str, Any], said: str
) -> None:
    world.inventory, lines = dataclasses.replace(world.inventory, **lacks), list[str]()
    context = context_of(settings, world, say=lines.append)
    assert "store" not in {one.kind for one in prune.plan(context, STORE).removals}
    assert lines == [said]
    view.usage(context)  # it would show that nothing in the store can be freed
    assert lines[1:] == [said] * (said == UNREAD)
    assert world.runs == []


@pytest.mark.parametrize(("folder", "is_known"), [("/no/such/folder", False), ("/", True)])
def test_what_was_freed_is_not_known_where_the_engines_folder_is_not_seen(
    context: Context, world: World, folder: str, is_known: bool
) -> None:
    world.root_dir = folder
    pruned = prune.carry_out(context, prune.plan(context, DEFAULT))
    assert pruned.removed
    assert (pruned.freed_bytes is not None) == is_known
    assert ("unknown" in view.reset_lines(pruned)[-1]) != is_known


# inv maint.disk


def rows(context: Context) -> dict[str, view.Row]:
    found = view.usage(context)
    assert len({row.name for row in found.rows}) == len(found.rows)
    return {row.name: row for row in found.rows}


def test_each_kind_is_a_row_and_what_others_have_is_the_rest(context: Context, world: World) -> None:
    theirs = image("theirs", "theirs:1", labels=labels(THEIRS, "build"))
    one = volume("theirs", THEIRS)
    world.inventory = inventory(
        images=(our_image(), theirs),
        sizes={"theirs:1": 7, "theirs": 3},
        containers=(container(f"{OURS}-build-1", labels=labels(OURS, "build")), container("theirs", theirs)),
        volumes=(
            volume(f"{OURS}-ccache", role="cache"), volume(f"{OURS}-data"), one,
        ),
        records=(
            record("base", "from local ", bytes=2),
            record("step", STEP, "base"),
            record("mount", MOUNT, type="exec.cachemount", bytes=60),
            record("theirs", "mount / from exec /bin/sh -c theirs", "base", bytes=4),
        ),
        layers=40 + 100 + 7 + 500,
    )  # fmt: skip
    for tag, seconds in (("synos-builder:a", 60), ("synos-builder:b", 9), ("synos-boot:a", 5)):
        ledger.remember(context.settings.project.state_dir, ident=tag, tag=tag, seconds=seconds)
    assert {name: (row.count, row.bytes, row.seconds) for name, row in rows(context).items()} == {
        "images": (1, 140, 65.0),  # the longest of each kind
        "leftover builders": (1, 10, None),
        "compilers' and other caches": (1, 1000, None),
        "volumes with data": (1, 1000, None),
        "build cache": (1, 5, 65.0),
        "build cache mounts": (1, 60, None),
    }
    # the layers of others, their container, volume and records
    assert view.usage(context).others_bytes == 507 + 3 + 3 + 2 + 4
    assert world.asked == []


def test_the_store_is_counted_once_though_it_lies_in_a_volume(
    context: Context, world: World, stored: FakeStore
) -> None:
    found = rows(context)
    assert (found["store of ISO stages"].count, found["store of ISO stages"].bytes) == (6, 600)
    assert found["compilers' and other caches"].bytes == 1000 + 400  # what is in none of the store's entries


def test_what_can_go_is_what_all_would_take(context: Context, world: World) -> None:
    free = {name: row.free_bytes for name, row in rows(context).items() if row.free_bytes}
    assert free == {"leftover builders": 10, "leftover volumes": 1000, "compilers' and other caches": 1000,
                    "build cache": 5, "build cache mounts": 5}  # fmt: skip


def test_isos_logs_backups_and_exports_are_told_of(context: Context, world: World) -> None:
    world.inventory, settings = inventory(), context.settings
    iso = lay_iso(settings.output_dir, "minimal", "0" * 12, NOW, content=b"x" * 50_000)
    (settings.output_dir / "synos-minimal.iso").symlink_to(iso.name)
    (settings.output_dir / "mine.iso").write_bytes(b"x" * 90_000)
    for name in ("logs/a.log", "logs/b/c.log", "backups/unified/one/dump", "volumes/x.tar.zst"):
        path = settings.project.state_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 5000)
    history = '{"minimal": {"base": 14.5, "iso": 1}, "unbuilt": {"base": 9}}'
    (settings.project.state_dir / "history.json").write_text(history)
    found = rows(context)
    counts = {"ISOs": 1, "logs": 2, "backups of services": 1, "exported volumes": 1}
    assert {name: row.count for name, row in found.items()} == counts
    assert 50_000 <= found["ISOs"].bytes < 90_000
    assert found["ISOs"].seconds == 15.5


# The verb


@given(st.integers(0, 999_999), st.sampled_from([("m", 60), ("h", 3600), ("d", 86400), ("w", 604_800)]))
def test_an_age_is_a_number_and_its_unit(number: int, unit: tuple[str, int]) -> None:
    letter, seconds = unit
    for text in (f"{number}{letter}", f" {number}{letter.upper()} "):
        assert (age(text), seconds_of(text)) == ("", number * seconds)


NO_AGES = st.text().filter(lambda text: not re.fullmatch(r"[0-9]{1,6}[mhdwMHDW]", text.strip()))


@given(NO_AGES | st.sampled_from(["14", "d", "-1d", "1.5h", "1d2h", "1 d", "1000000d", "٣d", "1y"]))
def test_anything_else_is_named_and_said_how(text: str) -> None:
    assert "14d" in age(text)


@pytest.fixture
def inv(monkeypatch: pytest.MonkeyPatch, settings: Settings, context: Context) -> Inv:
    """Return what runs `inv`, and returns its exit code."""
    monkeypatch.setattr(tasks, "context_of", lambda _: context)
    monkeypatch.chdir(settings.project.root)
    monkeypatch.setenv("NO_COLOR", "1")

    return partial(run_inv, Collection(maint=tasks.namespace))


def test_without_a_terminal_and_without_yes_nothing_is_removed(inv: Inv, world: World, capfd: Shown) -> None:
    assert inv("maint.prune") == SettingsError.exit_code
    shown = capfd.readouterr()
    assert "not confirmed" in shown.err
    assert f"{OURS}-build-1" in shown.out  # the plan was shown
    assert world.asked == []


def test_what_is_left_and_old_goes_and_what_is_in_use_or_of_now_stays(
    inv: Inv, world: World, capfd: Shown
) -> None:
    world.refused[f"{OURS}-once-4194305-a"] = "volume is in use"
    assert inv("maint.prune", "--yes", "--json") == 0
    told = answer(capfd, "maint.prune")
    assert set(told) == {"planned", "planned_bytes", "kept", "removed", "stayed", "freed_bytes"}
    assert {one["name"] for one in told["planned"]} == BY_DEFAULT
    assert set(told["planned"][0]) == {
        "kind", "id", "name", "bytes", "used", "held", "group", "seconds", "above", "backup", "names",
    }  # fmt: skip
    assert told["planned_bytes"] == sum(one["bytes"] for one in told["planned"]) == 1010
    assert {one["name"] for one in told["removed"]} == BY_DEFAULT - {f"{OURS}-once-4194305-a"}
    [stayed] = told["stayed"]
    assert (stayed["name"], stayed["reason"]) == (f"{OURS}-once-4194305-a", "volume is in use")
    # of the builders one runs, one is of now, and one is the newest
    reasons = {one["name"]: one["reason"] for one in told["kept"]}
    assert reasons["synos-builder:000000000001"] == f"in use by {OURS}-runs"
    assert reasons["synos-builder:000000000002"] == "the newest"
    assert reasons[f"{OURS}-store"] == "the store: its content is removed with --store"
    assert reasons[f"{OURS}-runs"] == "its command is running"
    assert all(reasons.values())
    assert f"{OURS}-data" in reasons


def test_a_reset_that_takes_the_only_password_of_off_site_copies_says_so(
    inv: Inv, settings: Settings, capfd: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settings.project.state_dir / "services/unified/secrets/offsite_password"
    path.parent.mkdir(parents=True)
    path.touch()
    removal = Resource("file", str(path), path.name, 0, 0.0)
    monkeypatch.setattr(prune, "plan_reset", lambda *_args, **_options: prune.Plan(removals=(removal,)))
    assert inv("maint.reset") == SettingsError.exit_code
    assert f"open with {path} alone" in capfd.readouterr().err


def test_where_nothing_is_to_go_nobody_is_asked(inv: Inv, world: World, capfd: Shown) -> None:
    world.inventory = inventory()
    assert inv("maint.prune", "--json") == 0
    shown = capfd.readouterr()
    assert "nothing to prune" in shown.err
    assert json.loads(shown.out)["planned"] == []


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--older-than=14x", "an age, as 30m"),
        *((f"--keep-last={number}", "a whole number") for number in ("-1", "x", "1.5", "²", "9" * 5000)),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_looked_at(
    inv: Inv, world: World, capfd: Shown, option: str, said: str
) -> None:
    assert inv("maint.prune", "--yes", option) == WrongUse.exit_code
    assert said in capfd.readouterr().err
    assert (world.looked, world.asked) == (0, [])


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        ("", Limits(older_than=14 * DAY, keep_last=3)),
        ("--all", Limits(older_than=0, keep_last=1, include_rebuildable=True)),
        (
            "--all --keep-last 2 --older-than 1d",
            Limits(older_than=DAY, keep_last=2, include_rebuildable=True),
        ),
        (
            "--older-than 2h --keep-last 5 --cache --store --volumes",
            Limits(older_than=7200, keep_last=5, cache=True, store=True, volumes=True),
        ),
    ],
)
def test_the_options_are_what_is_planned_by(
    inv: Inv, monkeypatch: pytest.MonkeyPatch, stored: FakeStore, words: str, limits: Limits
) -> None:
    plan = Mock(wraps=prune.plan)
    monkeypatch.setattr(prune, "plan", plan)
    inv("--dry", "maint.prune", *words.split())
    assert [call.args[1] for call in plan.call_args_list] == [limits]


def test_the_disk_is_told_to_people_and_scripts_alike(inv: Inv, world: World, capfd: Shown) -> None:
    world.inventory = inventory(images=(our_image(),), sizes={BUILDER: 4_000_000}, layers=9_000_100)
    assert inv("maint.disk", "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert told.pop("schema") == "synos.maint.disk/1"
    assert set(told) == {"rows", "bytes", "free_bytes", "others_bytes"}
    assert (told["bytes"], told["others_bytes"]) == (4_000_100, 5_000_000)
    assert inv("maint.disk") == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    assert "images" in shown.out
    assert "never touched: 5.0 MB" in shown.out
