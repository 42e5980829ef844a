"""Back to the beginning: all that is this clone's goes, what is put aside stays, and nothing is lost unasked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine.inventory import Inventory
from synos_tasks.engine.spec import labels
from synos_tasks.errors import OutputNotWritable, SettingsError
from synos_tasks.maint import reset
from synos_tasks.maint.session import Session
from tests.iso_sets import lay_iso
from tests.unit.fake_inventory import NOW, OURS, THEIRS, container, image, network, our_image, volume
from tests.unit.fakes import FakeEngine
from tests.unit.projects import project

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Engine:
    """Has things until they are taken out, and knows in which order that was."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory, self.gone = inventory, list[str]()
        self.refused: dict[str, str] = {}

    def take(self) -> Inventory:
        return self.inventory

    def _drop(self, kind: str, key: str, name: str) -> str:
        if name in self.refused:
            return self.refused[name]
        self.gone.append(name)
        left = tuple(one for one in getattr(self.inventory, kind) if getattr(one, key) != name)
        self.inventory = Inventory(**{**vars(self.inventory), kind: left})
        return ""

    def container(self, ident: str, *, running: bool = False, volumes: bool = False) -> str:
        assert running or all(one.state != "running" for one in self.inventory.containers if one.id == ident)
        return self._drop("containers", "id", ident)

    def image(self, ident: str, names: Sequence[str]) -> str:
        return self._drop("images", "id", ident)

    def volume(self, name: str, created: float) -> str:
        return self._drop("volumes", "name", name)

    def network(self, ident: str) -> str:
        return self._drop("networks", "id", ident)

    def records(self, idents: Sequence[str]) -> list[str]:
        self.gone += idents
        return list(idents)


SERVICE = container(
    f"{OURS}-unified-nats-1",
    labels=labels(OURS, "services"),
    state="running",
    volumes=(f"{OURS}-unified_nats",),
)
OTHERS = Inventory(
    images=(image("theirs", "synos-builder:theirs"),),
    containers=(container("theirs", labels=labels(THEIRS, "services"), state="running"),),
    volumes=(volume(f"{THEIRS}-unified_nats", THEIRS),),
    networks=(network("theirs", THEIRS),),
)
ALL = Inventory(
    images=(*OTHERS.images, our_image()),
    containers=(*OTHERS.containers, SERVICE),
    volumes=(
        *OTHERS.volumes,
        volume(f"{OURS}-unified_nats"),
        volume(f"{OURS}-store", role="cache"),
        volume(f"{OURS}-ccache", role="cache"),
    ),
    networks=(*OTHERS.networks, network(f"{OURS}-unified_data")),
    root_dir="/nowhere",
)


@pytest.fixture
def engine() -> Engine:
    return Engine(ALL)


@pytest.fixture
def session(tmp_path: Path, engine: Engine) -> Session:
    settings = dataclasses.replace(project(tmp_path), project_id=OURS)
    state = settings.state_dir
    for name in ("setup/venv", "backups/unified/one/x", "volumes/x.tar.zst", "dev/c.lock", "logs/a.log"):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text("x")
    iso = lay_iso(settings.output_dir, "minimal", "0" * 12, NOW)
    (settings.output_dir / "synos-minimal.iso").symlink_to(iso.name)
    (settings.output_dir / "mine.txt").write_text("mine")
    return Session(
        settings=settings,
        say=pytest.fail,
        engine=FakeEngine(),
        removal=engine,
        take=engine.take,
        ended=lambda _: 0.0,
        now=lambda: NOW,
    )


def do(session: Session, *, keep_isos: bool = False) -> list[str]:
    return list(reset.carry_out(session, reset.plan(session, keep_isos=keep_isos, without_backup=True)))


def test_data_that_is_in_no_backup_is_not_lost_unasked(session: Session, engine: Engine) -> None:
    with pytest.raises(SettingsError) as caught:
        reset.plan(session, keep_isos=False, without_backup=False)
    assert f"{OURS}-unified_nats" in caught.value.where
    assert "--without-backup" in caught.value.hint
    assert engine.gone == []


def test_each_step_is_named_before_it_is_taken(session: Session, engine: Engine) -> None:
    plan = reset.plan(session, keep_isos=False, without_backup=True)
    steps = {step.name: step.names for step in plan.steps}
    assert steps["services and development containers that run"] == (SERVICE.name,)
    assert steps["volumes with data"] == (f"{OURS}-unified_nats",)
    assert set(steps["the store of stages, and compilers' and other caches"]) == {
        f"{OURS}-store",
        f"{OURS}-ccache",
    }
    assert {"dev", "logs", "synos-minimal.iso"} <= set(steps["files of this clone"])
    assert engine.gone == []
    assert (session.settings.state_dir / "dev/c.lock").exists()


def test_all_of_this_clone_goes_and_nothing_of_anybody_else(session: Session, engine: Engine) -> None:
    said = do(session)
    assert Inventory(**{**vars(engine.inventory), "root_dir": ""}) == OTHERS
    assert engine.gone[0] == SERVICE.id  # what runs holds the rest
    assert f"removed: container {SERVICE.name}" in said


def test_backups_and_what_inv_runs_with_stay(session: Session) -> None:
    do(session)
    left = {path.name for path in session.settings.state_dir.iterdir() if path.suffix != ".lock"}
    assert left == {"setup", "backups", "volumes"}
    assert {path.name for path in session.settings.output_dir.iterdir()} == {"mine.txt"}


def test_isos_stay_where_that_is_asked(session: Session) -> None:
    before = sorted(session.settings.output_dir.iterdir())
    do(session, keep_isos=True)
    assert sorted(session.settings.output_dir.iterdir()) == before


@pytest.mark.parametrize("state", ["running", "created", "paused"])
def test_a_build_that_runs_is_not_killed(session: Session, engine: Engine, state: str) -> None:
    runs = container(f"{OURS}-build-1", labels=labels(OURS, "build"), state=state)
    engine.inventory = dataclasses.replace(ALL, containers=(*ALL.containers, runs))
    with pytest.raises(SettingsError, match="is running"):
        reset.plan(session, keep_isos=False, without_backup=True)
    assert engine.gone == []


def test_what_came_while_the_question_was_asked_stays(session: Session, engine: Engine) -> None:
    plan = reset.plan(session, keep_isos=False, without_backup=True)
    late = volume(f"{OURS}-late")
    engine.inventory = dataclasses.replace(ALL, volumes=(*ALL.volumes, late))
    list(reset.carry_out(session, plan))
    assert late in engine.inventory.volumes


def test_passwords_stay_where_the_data_does(session: Session, engine: Engine) -> None:
    (session.settings.state_dir / "services/unified").mkdir(parents=True)
    engine.refused = {f"{OURS}-unified_nats": "volume is in use"}
    said = do(session)
    assert (session.settings.state_dir / "services/unified").is_dir()
    assert any("volume is in use" in line for line in said)
    engine.refused = {}
    do(session)
    assert not (session.settings.state_dir / "services").exists()


def test_a_second_time_there_is_nothing_to_do(session: Session) -> None:
    do(session)
    assert reset.plan(session, keep_isos=False, without_backup=False).steps == ()


def test_what_belongs_to_another_user_is_named(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reset, "remove", lambda _: None)
    with pytest.raises(OutputNotWritable) as caught:
        do(session)
    assert "sudo rm -r" in caught.value.hint
