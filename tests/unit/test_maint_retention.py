"""What invoke.yaml keeps, applied after a build: what goes, what never does, and what it may take."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.images import ledger
from synos_tasks.maint import retention
from synos_tasks.settings import MaintSettings
from tests.iso_sets import lay_iso
from tests.unit.fake_inventory import DAY, NOW, OURS, World, builder, context_of
from tests.unit.projects import project, tree

if TYPE_CHECKING:
    from synos_tasks.maint.resources import Context


@pytest.fixture
def world() -> World:
    """An engine with four images of one kind, each older than the next."""
    return World(images=map(builder, range(4)))


@pytest.fixture
def context(tmp_path: Path, world: World) -> Context:
    return context_of(project(tmp_path, OURS), world, say=pytest.fail)


def removed(world: World) -> list[str]:
    assert all(kind == "image" for kind, _ in world.asked)
    return [name for _, name in world.asked]


def keeping(context: Context, **kept: int) -> Context:
    settings = dataclasses.replace(context.settings, maint=dataclasses.replace(MaintSettings(), **kept))
    return dataclasses.replace(context, settings=settings)


def test_the_engine_is_asked_again_only_when_an_image_was_built(context: Context, world: World) -> None:
    retention.apply_all(keeping(context, images_keep=2))
    world.asked.clear()
    retention.apply_all(keeping(context, images_keep=1))
    assert world.asked == []
    ledger.remember(context.settings.project.state_dir, ident="sha256:new", tag="synos-builder:new")
    retention.apply_all(keeping(context, images_keep=1))
    assert len(world.asked) == 1


@pytest.mark.parametrize(
    "kept",
    [
        {"images_keep": 0, "isos_keep": 9},
        {"images_keep": 9, "isos_keep": 0},
        {"images_keep": 1, "isos_keep": 1, "budget_seconds": 0},
    ],
)
def test_zero_keeps_all_and_so_does_no_budget(context: Context, world: World, kept: dict[str, int]) -> None:
    for number in range(3):
        lay_iso(context.settings.output_dir, "minimal", f"{number:012x}", NOW - number)
    assert retention.apply_all(keeping(context, **kept)) == ([], "budget_seconds" not in kept)
    assert world.asked == []
    assert len(list(context.settings.output_dir.glob("*.iso"))) == 3


def test_old_isos_go_with_all_that_belongs_to_them_and_a_linked_one_stays(context: Context) -> None:
    output = context.settings.output_dir
    isos = [lay_iso(output, "minimal", f"{number:012x}", NOW - 1000 * (4 - number)) for number in range(4)]
    other = lay_iso(output, "desktop", "0" * 12, NOW - 9999)
    (output / "synos-minimal.iso").symlink_to(isos[0].name)
    (output / "mine.iso").write_text("not one of ours")
    retention.apply_all(keeping(context, isos_keep=2))
    left = {path.name for path in output.glob("*.iso")}
    assert left == {isos[0].name, isos[2].name, isos[3].name, other.name, "synos-minimal.iso", "mine.iso"}
    assert not list(output.glob(f"{isos[1].name}*"))


def test_it_ends_when_its_time_is_up_and_the_next_goes_on(
    context: Context, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("synos_tasks.maint.retention.time.monotonic", lambda: float(next(clock)))
    _, in_time = retention.apply_all(keeping(context, images_keep=1, budget_seconds=5))
    assert not in_time
    assert len(world.asked) < 3
    monkeypatch.undo()
    retention.apply_all(keeping(context, images_keep=1))
    assert set(removed(world)) == {f"synos-builder:{n:012x}" for n in range(3)}


# Logs


def lay_log(context: Context, name: str, days: float) -> Path:
    path = context.settings.project.state_dir / "logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"said\n" * 1000)
    os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    return path


def old(context: Context, days: int) -> list[str]:
    return [log.name for log in retention.old_logs(context.settings, days, NOW)]


def test_logs_older_than_so_many_days_go(context: Context) -> None:
    for name, days in (("build.log", 31), ("packed.log", 40), ("new.log", 29)):
        lay_log(context, name, days)
    assert old(context, 30) == ["packed.log", "build.log"]
    assert old(context, 0) == []
    retention.remove(context, retention.old_logs(context.settings, 30, NOW))
    assert [log.name for log in retention.logs(context.settings)] == ["new.log"]


def test_what_is_no_log_stays(context: Context, tmp_path: Path) -> None:
    (tmp_path / "outside.log").write_text("x")
    lay_log(context, "notes.txt", 4000)
    folder = context.settings.project.state_dir / "logs"
    (folder / "link.log").symlink_to(tmp_path / "outside.log")
    (folder / "folder.log").mkdir()
    before = tree(tmp_path)
    retention.remove(context, retention.old_logs(context.settings, 1, NOW))
    assert tree(tmp_path) == before
