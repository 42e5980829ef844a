"""A plan is carried out as it was made: one resource after the other, by its exact id, and no refusal stops the rest."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, get_args

import pytest

from synos_tasks.errors import EngineUnavailable
from synos_tasks.images import ledger
from synos_tasks.locks import exclusive, try_exclusive
from synos_tasks.maint.prune import Limits, Plan, apply, decide
from synos_tasks.maint.resources import Kind, isos
from synos_tasks.settings import Settings
from tests.iso_sets import lay_iso
from tests.unit.fake_inventory import NOW, OLD, OURS, altered, ident, image, inventory, resource, volume
from tests.unit.fake_world import World, context_of

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.maint.resources import Context, Resource

EVERYTHING = Limits(older_than=0, keep_last=1, keep_isos=1, volumes=True, include_rebuildable=True)
ENGINE_KINDS = [kind for kind in get_args(Kind) if kind not in {"store", "iso"}]
NAMES = {"image": "ours:1", "base image": "base:1"}


@pytest.fixture
def world() -> World:
    volumes = [volume(f"a {kind} volume") for kind in ("scratch", "cache", "data")]
    return World(images=[image("image", "ours:1"), image("base image", "base:1")], volumes=volumes)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def context(tmp_path: Path, world: World, said: list[str]) -> Context:
    return context_of(Settings(root=tmp_path, project_id=OURS), world, say=said.append)


def planned(*found: Resource) -> Plan:
    """Remove all of it, in the order of a plan."""
    made = decide(found, EVERYTHING, NOW)
    assert not made.kept
    return made


def of_kind(kind: Kind) -> Resource:
    if kind not in NAMES:
        return resource(f"a {kind}", kind=kind, backup="fresh")
    return resource(f"a {kind}", kind=kind, id=ident(kind), names=(NAMES[kind],))


def asked_for(one: Resource) -> str:
    """Return by which id or name the engine is asked to remove a resource."""
    return one.names[0] if one.names else one.id


def is_locked(context: Context) -> bool:
    context.settings.state_dir.mkdir(exist_ok=True)
    with try_exclusive(context.settings.state_dir / "image.lock") as free:
        return not free


def test_each_kind_is_removed_as_what_it_is_and_never_by_force(context: Context, world: World) -> None:
    plan = planned(*map(of_kind, ENGINE_KINDS), of_kind("store"))
    outside = [one for one in plan.removals if one.kind != "store"]
    assert list(apply(context, plan)) == [(one, "") for one in outside]
    kinds = {"cache": "record"}
    assert world.asked == [(kinds.get(one.kind, one.kind.split()[-1]), asked_for(one)) for one in outside]
    assert world.forced == []


@pytest.mark.parametrize("kind", [kind for kind in ENGINE_KINDS if kind != "cache"])
def test_a_refusal_is_reported_and_stops_nothing(context: Context, world: World, kind: Kind) -> None:
    world.refused[asked_for(of_kind(kind))] = "conflict: a container is using it"
    outcome = {one.kind: trouble for one, trouble in apply(context, planned(*map(of_kind, ENGINE_KINDS)))}
    assert outcome.pop(kind) == "conflict: a container is using it"
    assert set(outcome.values()) == {""}
    assert len(world.asked) == len(ENGINE_KINDS)


def test_records_that_did_not_go_are_reported(context: Context, world: World) -> None:
    world.refused["b"] = "in use"
    outcome = list(apply(context, planned(*(resource(name, kind="cache") for name in "abc"))))
    assert [(one.id, bool(trouble)) for one, trouble in outcome] == [("a", False), ("b", True), ("c", False)]


def test_an_empty_plan_asks_nothing(context: Context, world: World) -> None:
    assert list(apply(context, Plan(kept=((resource("x"), "pinned"),)))) == []
    assert world.asked == []


def test_the_lock_of_images_is_held_for_what_a_build_may_use_and_for_nothing_else(
    context: Context, world: World
) -> None:
    seen: dict[str, bool] = {}
    world.on_ask = lambda _kind, name: seen.update({name: is_locked(context)})
    list(apply(context, planned(*map(of_kind, ENGINE_KINDS))))
    locked: list[Kind] = ["image", "base image", "cache"]
    assert {name for name, held in seen.items() if held} == {asked_for(of_kind(kind)) for kind in locked}
    assert not is_locked(context)


def test_the_lock_is_released_whatever_happens(context: Context, world: World) -> None:
    def fails(*_: object) -> None:
        raise EngineUnavailable("no Docker Engine answers")

    world.on_ask = fails
    with pytest.raises(EngineUnavailable):
        list(apply(context, planned(of_kind("image"))))
    assert not is_locked(context)


def test_an_image_that_is_being_built_is_waited_for_and_that_is_said(
    context: Context, world: World, said: list[str]
) -> None:
    context.settings.state_dir.mkdir()
    plan = planned(resource("c", kind="container"), of_kind("image"))
    pruning = threading.Thread(target=lambda: list(apply(context, plan)))
    with exclusive(context.settings.state_dir / "image.lock"):
        pruning.start()
        pruning.join(0.05)
        assert pruning.is_alive()
        assert world.asked == [("container", "c")]
        assert said == ["waiting for an image that is being built"]
    pruning.join(10)
    assert world.asked == [("container", "c"), ("image", "ours:1")]


def test_what_is_removed_is_forgotten_and_what_was_refused_is_not(context: Context, world: World) -> None:
    state = context.settings.state_dir
    for kind in ("image", "base image", "another"):
        ledger.remember(state, ident=ident(kind), tag="synos-boot:1", seconds=5)
    world.refused["base:1"] = "conflict"
    list(apply(context, planned(of_kind("image"), of_kind("base image"))))
    assert set(ledger.read(state).images) == {ident("base image"), ident("another")}


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
    assert all(not trouble for _, trouble in apply(context, planned(*left)))
    assert sorted(name for _, name in world.asked) == sorted(map(asked_for, every))


def test_nothing_is_removed_before_it_is_its_turn(context: Context, world: World) -> None:
    outcome = apply(context, planned(resource("a", kind="container"), resource("b", kind="container")))
    assert world.asked == []
    next(outcome)
    assert world.asked == [("container", "a")]


# What changed since the plan was made


def test_a_volume_that_was_made_anew_meanwhile_stays(context: Context, world: World) -> None:
    one = resource("a data volume", kind="data volume", backup="fresh", used=OLD - 1)
    assert [why for _, why in apply(context, planned(one))] == ["another volume has its name by now"]
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
    ],
)
def test_from_an_image_only_our_names_are_taken_as_far_as_it_has_them(
    context: Context,
    world: World,
    have: tuple[str, ...],
    ours: tuple[str, ...],
    asked: list[str],
    trouble: str,
) -> None:
    world.inventory = inventory(images=[altered(image("image"), tags=have)])
    outcome = list(apply(context, planned(resource("x", id=ident("image"), names=ours))))
    assert [why for _, why in outcome] == [trouble]
    assert [name for _, name in world.asked] == asked


def test_an_image_that_is_gone_is_gone_and_each_name_that_is_refused_is_reported(
    context: Context, world: World
) -> None:
    assert [why for _, why in apply(context, planned(resource("gone", names=("a:1",))))] == [""]
    world.inventory = inventory(images=[image("image", "a:1", "b:1", "c:1")])
    world.refused = {"a:1": "first", "c:1": "third"}
    one = resource("x", id=ident("image"), names=("a:1", "b:1", "c:1"))
    assert [why for _, why in apply(context, planned(one))] == ["first; third"]


def test_an_iso_goes_with_its_files_unless_it_changed(context: Context) -> None:
    output = context.settings.output_dir
    paths = [lay_iso(output, "minimal", f"{number}" * 12, OLD + number, report=True) for number in range(3)]
    (output / "mine.iso").write_text("not one of ours")
    plan = decide(list(isos(output)), dataclasses.replace(EVERYTHING, keep_isos=1), NOW)
    paths[1].write_bytes(b"rewritten")
    assert [why for _, why in apply(context, plan)] == ["", "it changed meanwhile"]
    assert not list(output.glob(f"{paths[0].name}*"))
    assert {path.name for path in output.glob("*.iso")} == {paths[1].name, paths[2].name, "mine.iso"}
    assert [one.name for one in isos(output)] == [paths[2].name]
