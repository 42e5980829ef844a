"""A plan is carried out as it was made: one resource after the other, by its exact id, and no refusal stops the rest."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine.labels import labels
from synos_tasks.errors import OutputNotWritable, SettingsError
from synos_tasks.images import ledger
from synos_tasks.locks import exclusive, try_exclusive
from synos_tasks.maint import prune, view
from synos_tasks.maint.prune import Limits, Plan, apply, decide
from synos_tasks.maint.resources import NAMES as KINDS
from synos_tasks.maint.resources import isos
from tests.iso_sets import lay_iso
from tests.unit.fake_inventory import (
    NOW,
    OLD,
    OURS,
    THEIRS,
    World,
    altered,
    container,
    context_of,
    ident,
    image,
    inventory,
    network,
    our_image,
    resource,
    volume,
)
from tests.unit.projects import project, settings_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.maint.resources import Context, Resource

EVERYTHING = Limits(older_than=0, keep_last=1, keep_isos=1, volumes=True, include_rebuildable=True)
OTHER_KINDS = {"store", "iso", "file", "cache mount", "running container"}
ENGINE_KINDS = [kind for kind in KINDS if kind not in OTHER_KINDS]
NAMES = {"image": "ours:1"}


@pytest.fixture
def world() -> World:
    volumes = [volume(f"a {kind} volume") for kind in ("scratch", "cache", "data")]
    return World(images=[image("image", "ours:1")], volumes=volumes)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def context(tmp_path: Path, world: World, said: list[str]) -> Context:
    return context_of(settings_in(tmp_path, OURS), world, say=said.append)


def planned(*found: Resource) -> Plan:
    """Remove all of it, in the order of a plan."""
    made = decide(found, EVERYTHING, NOW)
    assert not made.kept
    return made


def of_kind(kind: str) -> Resource:
    if kind not in NAMES:
        return resource(f"a {kind}", kind=kind, backup="fresh")
    return resource(f"a {kind}", kind=kind, id=ident(kind), names=(NAMES[kind],))


def asked_for(one: Resource) -> str:
    """Return by which id or name the engine is asked to remove a resource."""
    return one.names[0] if one.names else one.id


def is_locked(context: Context) -> bool:
    context.settings.project.state_dir.mkdir(exist_ok=True)
    with try_exclusive(context.settings.project.state_dir / "image.lock") as free:
        return not free


@pytest.mark.parametrize("kind", ENGINE_KINDS)
def test_a_refusal_is_reported_and_stops_nothing(context: Context, world: World, kind: str) -> None:
    world.refused[asked_for(of_kind(kind))] = "conflict: a container is using it"
    plan = planned(*map(of_kind, ENGINE_KINDS))
    outcome = {one.kind: one.reason for one in apply(context, plan)}
    why = "a build is using it" if kind == "cache" else "conflict: a container is using it"
    assert outcome == {**dict.fromkeys(ENGINE_KINDS, ""), kind: why}
    assert [name for _, name in world.asked] == [asked_for(one) for one in plan.removals]
    assert world.forced == ["a build container"], "its command is gone"


def test_the_lock_of_images_is_held_for_what_a_build_may_use_and_for_nothing_else(
    context: Context, world: World
) -> None:
    seen: dict[str, bool] = {}
    world.on_ask = lambda _kind, name: seen.update({name: is_locked(context)})
    list(apply(context, planned(*map(of_kind, ENGINE_KINDS))))
    locked = ["image", "cache"]
    assert {name for name, held in seen.items() if held} == {asked_for(of_kind(kind)) for kind in locked}
    assert not is_locked(context)


def test_an_image_that_is_being_built_is_waited_for_and_that_is_said(
    context: Context, world: World, said: list[str]
) -> None:
    context.settings.project.state_dir.mkdir()
    plan = planned(resource("c", kind="container"), of_kind("image"))
    pruning = threading.Thread(target=lambda: list(apply(context, plan)))
    with exclusive(context.settings.project.state_dir / "image.lock"):
        pruning.start()
        pruning.join(0.05)
        assert pruning.is_alive()
        assert world.asked == [("container", "c")]
        assert said == ["waiting for an image that is being built"]
    pruning.join(10)
    assert world.asked == [("container", "c"), ("image", "ours:1")]


def test_what_is_removed_is_forgotten_and_what_was_refused_is_not(context: Context, world: World) -> None:
    state, image = context.settings.project.state_dir, of_kind("image")
    for kind in ("image", "another"):
        ledger.remember(state, ident=ident(kind), tag="synos-boot:1", seconds=5)
    world.refused[asked_for(image)] = "conflict"
    list(apply(context, planned(image)))
    assert set(ledger.read(state).images) == {ident("image"), ident("another")}
    world.refused.clear()
    list(apply(context, planned(image)))
    assert set(ledger.read(state).images) == {ident("another")}


@pytest.mark.parametrize("after", range(len(ENGINE_KINDS)))
def test_cut_short_at_any_moment_the_rest_goes_the_next_time(
    context: Context, world: World, after: int
) -> None:
    def killed(*_: object) -> None:
        if len(world.asked) == after:
            raise KeyboardInterrupt

    world.on_ask = killed
    every = list(map(of_kind, ENGINE_KINDS))
    with pytest.raises(KeyboardInterrupt):
        list(apply(context, planned(*every)))
    gone = [name for _, name in world.asked]
    assert len(gone) == after
    assert not is_locked(context)
    world.on_ask = lambda *_: None
    left = [one for one in every if asked_for(one) not in gone]
    assert not any(one.reason for one in apply(context, planned(*left)))
    assert sorted(name for _, name in world.asked) == sorted(map(asked_for, every))


# What changed since the plan was made


def test_a_volume_that_was_made_anew_meanwhile_stays(context: Context, world: World) -> None:
    one = resource("a data volume", kind="data volume", backup="fresh", used=OLD - 1)
    assert [one.reason for one in apply(context, planned(one))] == ["another volume has its name by now"]
    assert world.asked == []


@pytest.mark.parametrize(
    ("have", "ours", "asked", "trouble"),
    [
        (("a:1", "theirs:1", "b:1"), ("a:1", "b:1", "moved:1"), ["a:1", "b:1"], ""),
        # were it reported as removed, its id would be forgotten, and nameless it would be nobody's
        (("theirs:1",), ("a:1",), [], "it lost its name by now"),
        ((), ("a:1",), [], "it lost its name by now"),
        ((), (), [ident("image")], ""),
        (("theirs:1",), (), [], "it has a name by now"),
        (("a:1", "b:1", "refused:1"), ("a:1", "refused:1"), ["a:1", "refused:1"], "conflict"),
    ],
)
def test_from_an_image_only_our_names_are_taken_as_far_as_it_has_them(
    context: Context, world: World, have: Sequence[str], ours: Sequence[str], asked: list[str], trouble: str
) -> None:
    world.inventory = inventory(images=[altered(image("image"), tags=have)])
    world.refused = {"refused:1": "conflict"}
    outcome = list(apply(context, planned(resource("x", id=ident("image"), names=ours))))
    assert [one.reason for one in outcome] == [trouble]
    assert [name for _, name in world.asked] == asked


def test_an_iso_goes_with_its_files_unless_it_changed(context: Context) -> None:
    output = context.settings.output_dir
    paths = [lay_iso(output, "minimal", f"{number}" * 12, OLD + number, report=True) for number in range(3)]
    (output / "mine.iso").write_text("not one of ours")
    plan = decide(list(isos(output)), dataclasses.replace(EVERYTHING, keep_isos=1), NOW)
    paths[1].write_bytes(b"rewritten")
    assert [one.reason for one in apply(context, plan)] == ["", "it changed meanwhile"]
    assert not list(output.glob(f"{paths[0].name}*"))
    assert {path.name for path in output.glob("*.iso")} == {paths[1].name, paths[2].name, "mine.iso"}
    assert [one.name for one in isos(output)] == [paths[2].name]


# Back to the beginning

NATS = volume(f"{OURS}-unified_nats")
SERVICE = container(
    f"{OURS}-unified-nats-1", labels=labels(OURS, "services"), state="running", volumes=(NATS.name,)
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
        NATS,
        *(volume(f"{OURS}-{name}", role="cache") for name in ("store", "ccache")),
    ),
    networks=(*OTHERS.networks, network(f"{OURS}-unified_data")),
)


@pytest.fixture
def full() -> World:
    made = World()
    made.inventory = ALL
    return made


@pytest.fixture
def clone(tmp_path: Path, full: World) -> Context:
    settings = project(tmp_path, OURS)
    state = settings.project.state_dir
    for name in ("setup/venv", "backups/unified/one/x", "volumes/x.tar.zst", "dev/c.lock", "logs/a.log"):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text("x")
    iso = lay_iso(settings.output_dir, "minimal", "0" * 12, NOW)
    (settings.output_dir / "synos-minimal.iso").symlink_to(iso.name)
    (settings.output_dir / "mine.txt").write_text("mine")
    return context_of(settings, full, say=pytest.fail)


def do(clone: Context) -> list[str]:
    planned = prune.plan_reset(clone, keep_isos=False, without_backup=True)
    return view.reset_lines(prune.carry_out(clone, planned))


@pytest.mark.parametrize("state", ["running", "created", "paused"])
def test_a_build_that_runs_is_not_killed_but_what_its_killed_command_left_is(
    clone: Context, full: World, state: str
) -> None:
    runs = container(f"{OURS}-build-1", labels=labels(OURS, "build"), state=state, created=NOW)
    full.inventory = dataclasses.replace(ALL, containers=(*ALL.containers, runs))
    with clone.lease(runs.name), pytest.raises(SettingsError, match="is running"):
        prune.plan_reset(clone, keep_isos=False, without_backup=True)
    assert full.asked == []
    do(clone)
    assert runs.id in full.forced
    assert dataclasses.replace(full.inventory, usage=OTHERS.usage) == OTHERS


def test_what_came_while_the_question_was_asked_stays(clone: Context, full: World) -> None:
    plan = prune.plan_reset(clone, keep_isos=False, without_backup=True)
    late = volume(f"{OURS}-late")
    full.inventory = dataclasses.replace(ALL, volumes=(*ALL.volumes, late))
    prune.carry_out(clone, plan)
    assert late in full.inventory.volumes


def test_passwords_stay_where_the_data_does(clone: Context, full: World) -> None:
    (clone.settings.project.state_dir / "services/unified").mkdir(parents=True)
    full.refused = {NATS.name: "volume is in use"}
    said = do(clone)
    assert (clone.settings.project.state_dir / "services/unified").is_dir()
    assert any("volume is in use" in line for line in said)
    full.refused = {}
    do(clone)
    assert not (clone.settings.project.state_dir / "services").exists()
    assert prune.plan_reset(clone, keep_isos=False, without_backup=False).removals == ()


def test_what_belongs_to_another_user_is_named(clone: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synos_tasks.iso.scratch.remove", lambda _: None)
    with pytest.raises(OutputNotWritable) as caught:
        do(clone)
    assert "sudo rm -r" in caught.value.hint
