"""`inv maint.disk`: nothing is counted twice, nothing is left out, and what is told to be free can go."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from invoke.config import Config
from invoke.context import Context as Invoked

from synos_tasks.engine.labels import image_labels, labels
from synos_tasks.images import ledger
from synos_tasks.iso.eviction import Stored
from synos_tasks.maint import tasks, view
from synos_tasks.maint.resources import NAMES, build_seconds
from tests.iso_sets import lay_iso
from tests.unit.fake_inventory import (
    BUILDER,
    DAY,
    NOW,
    OLD,
    OURS,
    THEIRS,
    container,
    image,
    inventory,
    our_base,
    our_image,
    record,
    volume,
)
from tests.unit.fake_world import World, context_of
from tests.unit.projects import project, tree

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.maint.resources import Context
    from synos_tasks.maint.view import Row
    from synos_tasks.settings import Settings

pytestmark = pytest.mark.usefixtures("keep_signals")
DOCKERFILE = """\
FROM debian AS runtime
RUN --mount=type=cache,id=synos-apt,target=/var/cache/apt apt-get update
"""
STEP = "mount / from exec /bin/sh -c apt-get update"
MOUNT = 'cached mount /var/cache/apt from exec /bin/sh -c apt-get update with id "/synos-apt"'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = dataclasses.replace(project(tmp_path), project_id=OURS)
    (tmp_path / "docker/build/Dockerfile").write_text(DOCKERFILE)
    return made


@pytest.fixture
def world() -> World:
    """Have nothing; images take what each has of its own, and together 100 more."""
    return World()


@pytest.fixture
def context(settings: Settings, world: World) -> Context:
    return context_of(settings, world)


def has(world: World, **parts: Any) -> None:  # noqa: ANN401
    world.inventory = inventory(**parts)


def stored(monkeypatch: pytest.MonkeyPatch, context: Context, *kept: Stored) -> None:
    """Let the store have these entries, and an image that reads it."""
    monkeypatch.setattr("synos_tasks.builder.list_store", lambda *_: list(kept))
    monkeypatch.setattr(type(context.docker), "image_id", lambda *_: "sha256:builder")
    monkeypatch.setattr(type(context.docker), "volume", lambda *_: volume(f"{OURS}-store"))


def kept(stage: str, key: str, size: int, age: float, **given: Any) -> Stored:  # noqa: ANN401
    told = {"kind": "stage", "in_use": False, **given}
    return Stored(stage=stage, key=key * 64, bytes=size, created=OLD, last_used=NOW - age, **told)


def rows(context: Context) -> dict[str, Row]:
    found = view.usage(context)
    assert len({row.name for row in found.rows}) == len(found.rows)
    return {row.name: row for row in found.rows}


def test_each_kind_is_a_row_and_what_others_have_is_the_rest(context: Context, world: World) -> None:
    theirs = image("theirs", "theirs:1", labels=labels(THEIRS, "build"))
    has(
        world,
        images=(our_image(), theirs),
        sizes={"theirs:1": 7, "theirs": 3},
        containers=(container(f"{OURS}-build-1", labels=labels(OURS, "build")), container("theirs", theirs)),
        volumes=(
            volume(f"{OURS}-ccache", role="cache"),
            volume(f"{OURS}-data"),
            volume("theirs", THEIRS),
        ),
        records=(
            record("base", "from local ", bytes=2),
            record("step", STEP, "base"),
            record("mount", MOUNT, type="exec.cachemount", bytes=60),
            record("theirs", "mount / from exec /bin/sh -c theirs", "base", bytes=4),
        ),
        layers=40 + 100 + 7 + 500,
    )
    found = rows(context)
    assert {name: (row.count, row.bytes) for name, row in found.items()} == {
        "images": (1, 140),
        "leftover builders": (1, 10),
        "compilers' and other caches": (1, 1000),
        "volumes with data": (1, 1000),
        "build cache": (1, 5),
        "build cache mounts": (1, 60),
    }
    told = view.usage(context)
    assert told.bytes == sum(row.bytes for row in told.rows)
    # the layers of others, their container, volume and records
    assert told.others_bytes == 507 + 3 + 3 + 2 + 4


def test_a_second_name_of_a_volume_takes_nothing_more(context: Context, world: World) -> None:
    one = volume("theirs", THEIRS)
    has(
        world,
        volumes=(
            one,
            volume(f"{OURS}-alias", device=str(one.mountpoint)),
            volume("alias", THEIRS, device=str(one.mountpoint)),
        ),
    )
    told = view.usage(context)
    assert (told.bytes, told.others_bytes) == (0, 1000)


def test_the_store_is_counted_once_though_it_lies_in_a_volume(
    context: Context, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = (volume(f"{OURS}-store", role="cache"), volume(f"{OURS}-ccache", role="cache"))
    has(world, volumes=caches, sizes={f"{OURS}-ccache": 30})
    stored(monkeypatch, context, kept("base", "a", 600, DAY), kept("overlay", "b", 390, 2 * DAY))
    told = view.usage(context)
    assert {row.name: row.bytes for row in told.rows} == {
        NAMES["cache volume"]: 30 + 10,  # what is in none of the store's entries
        NAMES["store"]: 990,
    }
    assert told.others_bytes == 0


def test_what_can_go_is_what_all_would_take(context: Context, world: World) -> None:
    newer = our_image(
        "new", "synos-builder:n", labels=image_labels(OURS, "build", "synos-builder:n"), created=NOW
    )
    has(
        world,
        images=(our_image(), newer, our_base()),
        sizes={"synos-builder:n": 11, f"{OURS}-ended": 4, f"{OURS}-used": 1, f"{OURS}-free": 20},
        containers=(
            container(
                f"{OURS}-nats", labels=labels(OURS, "services"), state="running", volumes=(f"{OURS}-used",)
            ),
            container(f"{OURS}-ended", labels=labels(OURS, "services")),
        ),
        volumes=(
            volume(f"{OURS}-used", role="cache"),
            volume(f"{OURS}-free", role="cache"),
            volume(f"{OURS}-data"),
        ),
    )
    free = {name: row.free_bytes for name, row in rows(context).items() if row.free_bytes}
    # the base image is needed by the newest image, and the data is in no backup
    assert free == {"images": 40, "containers that ended": 4, "compilers' and other caches": 20}


def test_what_images_cost_is_what_the_longest_of_each_kind_took(context: Context, world: World) -> None:
    state = context.settings.state_dir
    for ident, tag, seconds in (
        ("1", "synos-builder:a", 60),
        ("2", "synos-builder:b", 9),
        ("3", "synos-boot:a", 5),
    ):
        ledger.remember(state, ident=ident, tag=tag, seconds=seconds)
    has(world, images=(our_image(),))
    assert rows(context)["images"].seconds == 65.0


def test_isos_logs_backups_and_exports_are_told_of(context: Context) -> None:
    settings = context.settings
    iso = lay_iso(settings.output_dir, "minimal", "0" * 12, NOW, content=b"x" * 50_000)
    lay_iso(settings.output_dir, "other", "1" * 12, NOW, content=b"x" * 50_000)
    (settings.output_dir / "synos-minimal.iso").symlink_to(iso.name)
    (settings.output_dir / "mine.iso").write_bytes(b"x" * 90_000)
    for name in ("logs/a.log", "logs/b/c.log", "backups/unified/one/dump", "volumes/x.tar.zst"):
        path = settings.state_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 5000)
    (settings.state_dir / "history.json").write_text(
        '{"minimal": {"base": 14.5, "iso": 1}, "unbuilt": {"base": 9}}'
    )
    found = rows(context)
    assert {name: row.count for name, row in found.items()} == {
        "ISOs": 2, "logs": 2, "backups of services": 1, "exported volumes": 1,
    }  # fmt: skip
    assert 100_000 <= found["ISOs"].bytes < 190_000
    assert found["ISOs"].seconds == 15.5
    assert 10_000 <= found["logs"].bytes < 20_000


def test_to_look_changes_nothing(context: Context, world: World, settings: Settings) -> None:
    has(world, images=(our_image(),), volumes=(volume(f"{OURS}-data"),))
    before = tree(settings.root)
    view.usage(context)
    assert world.asked == []
    assert world.looked == 1
    assert tree(settings.root) == before


def test_the_verb_tells_people_and_scripts_the_same(
    context: Context, world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    has(world, images=(our_image(),), sizes={BUILDER: 4_000_000}, layers=9_000_100)
    monkeypatch.setattr(tasks, "context_of", lambda _: context)
    monkeypatch.setattr("synos_tasks.settings.load", lambda *_, **__: context.settings)
    monkeypatch.setenv("NO_COLOR", "1")
    tasks.disk(Invoked(Config(overrides={"run": {"dry": False}})), json=True)
    told = json.loads(capfd.readouterr().out)
    assert told.pop("schema") == "synos.maint.disk/1"
    assert set(told) == {"rows", "bytes", "free_bytes", "others_bytes"}
    assert (told["bytes"], told["others_bytes"]) == (4_000_100, 5_000_000)
    assert [row["name"] for row in told["rows"]] == ["images"]
    tasks.disk(Invoked(Config(overrides={"run": {"dry": False}})))
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "images" in shown.err
    assert "never touched: 5.0 MB" in shown.err
    assert BUILDER not in shown.err


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"x": 1}', '{"x": {"base": "long"}}', '{"x": {"base": null}}']
)
def test_a_history_that_is_damaged_is_none(context: Context, text: str) -> None:
    context.settings.state_dir.mkdir()
    (context.settings.state_dir / "history.json").write_text(text)
    assert build_seconds(context.settings) == {}
