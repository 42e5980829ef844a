"""Back to the beginning: all that is this clone's goes, what is put aside stays, and nothing is lost unasked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine.labels import labels
from synos_tasks.errors import OutputNotWritable, SettingsError
from synos_tasks.maint import reset
from tests.iso_sets import lay_iso
from tests.unit.fake_inventory import (
    NOW,
    OURS,
    THEIRS,
    container,
    image,
    inventory,
    network,
    our_image,
    volume,
)
from tests.unit.fake_world import World, context_of
from tests.unit.projects import project

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.maint.resources import Context

SERVICE = container(
    f"{OURS}-unified-nats-1",
    labels=labels(OURS, "services"),
    state="running",
    volumes=(f"{OURS}-unified_nats",),
)
OTHERS = inventory(
    images=(image("theirs", "synos-builder:theirs"),),
    containers=(container("theirs", labels=labels(THEIRS, "services"), state="running"),),
    volumes=(volume(f"{THEIRS}-unified_nats", THEIRS),),
    networks=(network("theirs", THEIRS),),
)
ALL = inventory(
    images=(*OTHERS.images, our_image()),
    containers=(*OTHERS.containers, SERVICE),
    volumes=(
        *OTHERS.volumes,
        volume(f"{OURS}-unified_nats"),
        volume(f"{OURS}-store", role="cache"),
        volume(f"{OURS}-ccache", role="cache"),
    ),
    networks=(*OTHERS.networks, network(f"{OURS}-unified_data")),
)


@pytest.fixture
def world() -> World:
    made = World()
    made.inventory = ALL
    return made


@pytest.fixture
def context(tmp_path: Path, world: World) -> Context:
    settings = dataclasses.replace(project(tmp_path), project_id=OURS)
    state = settings.state_dir
    for name in ("setup/venv", "backups/unified/one/x", "volumes/x.tar.zst", "dev/c.lock", "logs/a.log"):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text("x")
    iso = lay_iso(settings.output_dir, "minimal", "0" * 12, NOW)
    (settings.output_dir / "synos-minimal.iso").symlink_to(iso.name)
    (settings.output_dir / "mine.txt").write_text("mine")
    return context_of(settings, world, say=pytest.fail)


def do(context: Context, *, keep_isos: bool = False) -> list[str]:
    return list(reset.carry_out(context, reset.plan(context, keep_isos=keep_isos, without_backup=True)))


def test_data_that_is_in_no_backup_is_not_lost_unasked(context: Context, world: World) -> None:
    with pytest.raises(SettingsError) as caught:
        reset.plan(context, keep_isos=False, without_backup=False)
    assert f"{OURS}-unified_nats" in caught.value.where
    assert "--without-backup" in caught.value.hint
    assert world.asked == []


def test_each_step_is_named_before_it_is_taken(context: Context, world: World) -> None:
    plan = reset.plan(context, keep_isos=False, without_backup=True)
    steps = {step.name: step.names for step in plan.steps}
    assert steps["services and development containers that run"] == (SERVICE.name,)
    assert steps["volumes with data"] == (f"{OURS}-unified_nats",)
    assert set(steps["compilers' and other caches"]) == {
        f"{OURS}-store",
        f"{OURS}-ccache",
    }
    assert {"dev", "logs", "synos-minimal.iso"} <= set(steps["files of this clone"])
    assert steps["ISOs"] == (f"synos-minimal-{'0' * 12}.iso",)
    assert world.asked == []
    assert (context.settings.state_dir / "dev/c.lock").exists()


def test_all_of_this_clone_goes_and_nothing_of_anybody_else(context: Context, world: World) -> None:
    said = do(context)
    assert dataclasses.replace(world.inventory, usage=OTHERS.usage) == OTHERS
    assert world.asked[0] == ("container", SERVICE.id)  # what runs uses the rest
    assert world.forced == [SERVICE.id]
    assert "removed: 1 services and development containers that run" in said


def test_backups_and_what_inv_runs_with_stay(context: Context) -> None:
    do(context)
    left = {path.name for path in context.settings.state_dir.iterdir() if path.suffix != ".lock"}
    assert left == {"setup", "backups", "volumes"}
    assert {path.name for path in context.settings.output_dir.iterdir()} == {"mine.txt"}


def test_isos_stay_where_that_is_asked(context: Context) -> None:
    before = sorted(context.settings.output_dir.iterdir())
    do(context, keep_isos=True)
    assert sorted(context.settings.output_dir.iterdir()) == before


@pytest.mark.parametrize("state", ["running", "created", "paused"])
def test_a_build_that_runs_is_not_killed(context: Context, world: World, state: str) -> None:
    runs = container(f"{OURS}-build-1", labels=labels(OURS, "build"), state=state)
    world.inventory = dataclasses.replace(ALL, containers=(*ALL.containers, runs))
    with pytest.raises(SettingsError, match="is running"):
        reset.plan(context, keep_isos=False, without_backup=True)
    assert world.asked == []


def test_what_came_while_the_question_was_asked_stays(context: Context, world: World) -> None:
    plan = reset.plan(context, keep_isos=False, without_backup=True)
    late = volume(f"{OURS}-late")
    world.inventory = dataclasses.replace(ALL, volumes=(*ALL.volumes, late))
    list(reset.carry_out(context, plan))
    assert late in world.inventory.volumes


def test_passwords_stay_where_the_data_does(context: Context, world: World) -> None:
    (context.settings.state_dir / "services/unified").mkdir(parents=True)
    world.refused = {f"{OURS}-unified_nats": "volume is in use"}
    said = do(context)
    assert (context.settings.state_dir / "services/unified").is_dir()
    assert any("volume is in use" in line for line in said)
    world.refused = {}
    do(context)
    assert not (context.settings.state_dir / "services").exists()


def test_a_second_time_there_is_nothing_to_do(context: Context) -> None:
    do(context)
    assert reset.plan(context, keep_isos=False, without_backup=False).steps == ()


def test_what_belongs_to_another_user_is_named(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reset, "remove", lambda _: None)
    with pytest.raises(OutputNotWritable) as caught:
        do(context)
    assert "sudo rm -r" in caught.value.hint
