"""A plan is carried out as it was made: one thing after the other, by its exact id, and no refusal stops the rest."""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING, get_args

import pytest

from synos_tasks.errors import EngineUnavailable
from synos_tasks.host.locks import held
from synos_tasks.images import ledger
from synos_tasks.maint import plan as plans
from synos_tasks.maint.apply import LOCKED, apply
from synos_tasks.maint.plan import Limits, Plan
from synos_tasks.maint.session import Session
from synos_tasks.maint.things import Kind
from synos_tasks.settings import Settings
from tests.unit.fake_inventory import NOW, OURS, thing
from tests.unit.fake_removal import FakeRemoval
from tests.unit.fakes import FakeEngine

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.maint.things import Thing

ASKED_FOR = {
    "build container": "container",
    "container": "container",
    "dev container": "container",
    "scratch volume": "volume",
    "network": "network",
    "image": "image",
    "cache": "record",
    "base image": "image",
    "cache volume": "volume",
    "data volume": "volume",
}
EVERYTHING = Limits(older_than=0, keep_last=1, volumes=True, everything=True)


@pytest.fixture
def removal() -> FakeRemoval:
    return FakeRemoval()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def session(tmp_path: Path, removal: FakeRemoval, said: list[str]) -> Session:
    settings = Settings(root=tmp_path, project_id=OURS)
    return Session(settings=settings, say=said.append, engine=FakeEngine(), removal=removal)


def planned(*things: Thing) -> Plan:
    """Have all of it go, in the order of a plan."""
    made = plans.plan(things, EVERYTHING, NOW)
    assert not made.kept
    return made


def one_of_each() -> list[Thing]:
    return [thing(f"a {kind}", kind=kind, backup="fresh", names=(kind,)) for kind in get_args(Kind)]


def is_held(session: Session) -> bool:
    session.settings.state_dir.mkdir(exist_ok=True)
    descriptor = os.open(session.settings.state_dir / "image.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_each_kind_is_removed_as_what_it_is_and_the_stores_come_elsewhere(
    session: Session, removal: FakeRemoval
) -> None:
    plan = planned(*one_of_each())
    outcome = list(apply(session, plan))
    left = [one for one in plan.gone if one.kind != "store"]
    assert outcome == [(one, "") for one in left]
    assert removal.asked == [(ASKED_FOR[one.kind], one.id) for one in left]
    assert removal.stopped == []  # never what may run


def test_from_an_image_only_our_names_are_taken(session: Session, removal: FakeRemoval) -> None:
    list(apply(session, planned(thing("sha256:1", names=("a:1", "b:1")), thing("sha256:2"))))
    assert removal.names == {"sha256:1": ("a:1", "b:1"), "sha256:2": ()}


@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind not in {"store", "cache"}])
def test_a_refusal_is_told_and_stops_nothing(session: Session, removal: FakeRemoval, kind: Kind) -> None:
    removal.refused[f"a {kind}"] = "conflict: a container is using it"
    outcome = {one.id: trouble for one, trouble in apply(session, planned(*one_of_each()))}
    assert outcome.pop(f"a {kind}") == "conflict: a container is using it"
    assert set(outcome.values()) == {""}
    assert len(removal.asked) == len(ASKED_FOR)


def test_records_that_did_not_go_are_told(session: Session, removal: FakeRemoval) -> None:
    removal.refused["b"] = "in use"
    outcome = list(apply(session, planned(*(thing(name, kind="cache") for name in "abc"))))
    assert [(one.id, bool(trouble)) for one, trouble in outcome] == [("a", False), ("b", True), ("c", False)]


def test_an_empty_plan_asks_nothing(session: Session, removal: FakeRemoval) -> None:
    assert list(apply(session, Plan(gone=(), kept=((thing("x"), "held"),)))) == []
    assert removal.asked == []


def test_the_lock_of_images_is_held_for_what_a_build_may_use_and_for_nothing_else(
    session: Session, removal: FakeRemoval
) -> None:
    seen: dict[str, bool] = {}
    removal.on_ask = lambda _kind, ident: seen.update({ident: is_held(session)})
    list(apply(session, planned(*one_of_each())))
    assert {ident for ident, locked in seen.items() if locked} == {f"a {kind}" for kind in LOCKED}
    assert {"image", "base image", "cache"} <= set(LOCKED)
    assert not is_held(session)


def test_the_lock_is_given_back_whatever_happens(session: Session, removal: FakeRemoval) -> None:
    def fails(*_: object) -> None:
        raise EngineUnavailable("no Docker Engine answers")

    removal.on_ask = fails
    with pytest.raises(EngineUnavailable):
        list(apply(session, planned(thing("sha256:1"))))
    assert not is_held(session)


def test_an_image_that_is_being_built_is_waited_for_and_that_is_said(
    session: Session, removal: FakeRemoval, said: list[str]
) -> None:
    session.settings.state_dir.mkdir()
    plan = planned(thing("c", kind="container"), thing("sha256:1"))
    pruning = threading.Thread(target=lambda: list(apply(session, plan)))
    with held(session.settings.state_dir / "image.lock"):
        pruning.start()
        pruning.join(0.05)
        assert pruning.is_alive()
        assert removal.asked == [("container", "c")]
        assert said == ["waiting for an image that is being built"]
    pruning.join(10)
    assert removal.asked == [("container", "c"), ("image", "sha256:1")]


def remembered(session: Session) -> set[str]:
    return set(ledger.read(session.settings.state_dir).images)


def test_what_is_gone_is_forgotten_and_what_was_refused_is_not(
    session: Session, removal: FakeRemoval
) -> None:
    for ident in ("sha256:1", "sha256:2", "sha256:3"):
        ledger.remember(session.settings.state_dir, ident=ident, tag=f"synos-boot:{ident[-1]}", seconds=5)
    removal.refused["sha256:2"] = "conflict"
    list(apply(session, planned(thing("sha256:1"), thing("sha256:2"))))
    assert remembered(session) == {"sha256:2", "sha256:3"}


@pytest.mark.parametrize("after", range(10))
def test_cut_short_at_any_moment_the_rest_goes_the_next_time(
    session: Session, removal: FakeRemoval, after: int
) -> None:
    things = one_of_each()

    def killed(*_: object) -> None:
        if len(removal.asked) == after:
            raise KeyboardInterrupt

    removal.on_ask = killed
    with pytest.raises(KeyboardInterrupt):
        list(apply(session, planned(*things)))
    gone = [ident for _, ident in removal.asked]
    assert len(gone) == after
    assert not is_held(session)
    removal.on_ask = lambda *_: None
    left = [one for one in things if one.id not in gone]
    assert all(not trouble for _, trouble in apply(session, planned(*left)))
    assert len(removal.asked) == len({ident for _, ident in removal.asked}) == len(ASKED_FOR)


def test_nothing_is_removed_before_it_is_its_turn(session: Session, removal: FakeRemoval) -> None:
    outcome = apply(session, planned(thing("a", kind="container"), thing("b", kind="container")))
    assert removal.asked == []
    next(outcome)
    assert removal.asked == [("container", "a")]
