"""What invoke.yaml keeps, seen to after a build: what goes, what never does, and what it may take."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine.inventory import Inventory
from synos_tasks.images import ledger
from synos_tasks.maint import policy
from synos_tasks.maint.session import Session
from synos_tasks.settings import MaintSettings, Settings
from tests.iso_sets import lay_iso
from tests.unit.fake_inventory import NOW, OLD, our_image
from tests.unit.fakes import FakeEngine
from tests.unit.projects import project

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.engine.inventory import Image


class Removal:
    """Takes what it is told to."""

    def __init__(self) -> None:
        self.images: list[tuple[str, ...]] = []

    def container(self, ident: str, *, running: bool = False, volumes: bool = False) -> str:
        raise AssertionError(ident)

    def image(self, ident: str, names: Sequence[str]) -> str:
        self.images.append(tuple(names))
        return ""

    def volume(self, name: str, created: float) -> str:
        raise AssertionError(name)

    def network(self, ident: str) -> str:
        raise AssertionError(ident)

    def records(self, idents: Sequence[str]) -> list[str]:
        raise AssertionError(idents)


@pytest.fixture
def removal() -> Removal:
    return Removal()


@pytest.fixture
def session(tmp_path: Path, removal: Removal) -> Session:
    """A clone whose engine has four images of one kind, each older than the next."""
    settings = dataclasses.replace(project(tmp_path), project_id="synos-0123456789")
    return session_with(settings, removal, images=[built(settings, n) for n in range(4)])


def built(settings: Settings, number: int) -> Image:
    tag = f"synos-builder:{number:012x}"
    marks = {
        "io.synos.project": settings.project_id,
        "io.synos.role": "build",
        "io.synos.image": tag,
    }
    return our_image(f"image {number}", tag, labels=marks, created=OLD + number, layers=(f"{number}",))


def session_with(settings: Settings, removal: Removal, images: list[Image]) -> Session:
    taken: list[int] = []

    def take() -> Inventory:
        taken.append(1)
        return Inventory(images=tuple(images), root_dir="/nowhere")

    session = Session(
        settings=settings,
        say=pytest.fail,
        engine=FakeEngine(),
        removal=removal,
        take=take,
        ended=lambda _: 0.0,
        now=lambda: NOW,
    )
    object.__setattr__(session, "taken", taken)
    return session


def keeping(session: Session, **kept: int) -> Session:
    settings = dataclasses.replace(session.settings, maint=dataclasses.replace(MaintSettings(), **kept))
    return dataclasses.replace(session, settings=settings)


def test_the_newest_images_of_each_kind_stay(session: Session, removal: Removal) -> None:
    applied = policy.apply_all(keeping(session, images_keep=2))
    assert removal.images == [("synos-builder:000000000000",), ("synos-builder:000000000001",)]
    assert applied.lines == ("2 images beyond the newest 2 of each kind are gone",)
    assert applied.in_time


def test_the_engine_is_asked_again_only_when_an_image_was_built(session: Session, removal: Removal) -> None:
    policy.apply_all(keeping(session, images_keep=2))
    removal.images.clear()
    policy.apply_all(keeping(session, images_keep=1))
    assert removal.images == []
    ledger.remember(session.settings.state_dir, ident="sha256:new", tag="synos-builder:new")
    policy.apply_all(keeping(session, images_keep=1))
    assert len(removal.images) == 3


@pytest.mark.parametrize("limit", ["images_keep", "isos_keep"])
def test_zero_keeps_all(session: Session, removal: Removal, limit: str) -> None:
    for number in range(3):
        lay_iso(session.settings.output_dir, "minimal", f"{number:012x}", NOW - number)
    applied = policy.apply_all(keeping(session, **{"images_keep": 9, "isos_keep": 9, limit: 0}))
    assert applied.lines == ()
    assert removal.images == []
    assert len(list(session.settings.output_dir.glob("*.iso"))) == 3


def test_old_isos_go_with_all_that_belongs_to_them_and_a_linked_one_stays(session: Session) -> None:
    output = session.settings.output_dir
    isos = [lay_iso(output, "minimal", f"{number:012x}", NOW - 1000 * (4 - number)) for number in range(4)]
    other = lay_iso(output, "desktop", "0" * 12, NOW - 9999)
    (output / "synos-minimal.iso").symlink_to(isos[0].name)
    (output / "mine.iso").write_text("not one of ours")
    policy.apply_all(keeping(session, isos_keep=2))
    left = {path.name for path in output.glob("*.iso")}
    assert left == {isos[0].name, isos[2].name, isos[3].name, other.name, "synos-minimal.iso", "mine.iso"}
    assert not list(output.glob(f"{isos[1].name}*"))


def test_an_iso_that_is_not_whole_is_not_taken(session: Session) -> None:
    output = session.settings.output_dir
    old, _ = (lay_iso(output, "minimal", f"{number:012x}", NOW - 10 + number) for number in range(2))
    old.write_bytes(b"somebody worked on it")
    policy.apply_all(keeping(session, isos_keep=1))
    assert old.exists()


def test_old_logs_go(session: Session) -> None:
    folder = session.settings.state_dir / "logs"
    folder.mkdir(parents=True)
    for name, age in (("old.log", 40), ("new.log", 3)):
        (folder / name).write_text("said")
        os.utime(folder / name, (NOW - age * 86400, NOW - age * 86400))
    applied = policy.apply_all(session)
    assert not (folder / "old.log").exists()
    assert any(folder.glob("new.log*"))
    assert "removed 1 logs older than 30 days" in applied.lines


def test_nothing_is_seen_to_without_a_budget(session: Session, removal: Removal) -> None:
    for number in range(3):
        lay_iso(session.settings.output_dir, "minimal", f"{number:012x}", NOW - number)
    applied = policy.apply_all(keeping(session, budget_seconds=0, isos_keep=1, images_keep=1))
    assert (applied.lines, applied.in_time) == ((), False)
    assert len(list(session.settings.output_dir.glob("*.iso"))) == 3
    assert removal.images == []


def test_it_ends_when_its_time_is_up_and_the_next_goes_on(
    session: Session, removal: Removal, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("synos_tasks.maint.policy.time.monotonic", lambda: float(next(clock)))
    first = policy.apply_all(keeping(session, images_keep=1, budget_seconds=5))
    assert not first.in_time
    assert len(removal.images) < 3
    monkeypatch.undo()
    policy.apply_all(keeping(session, images_keep=1))
    assert {names[0] for names in removal.images} == {f"synos-builder:{n:012x}" for n in range(3)}
