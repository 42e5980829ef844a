"""`down`: containers away and data kept, or data away too, when it was agreed to and after a backup."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from synos_tasks import archive
from synos_tasks.errors import DiskFull, ServiceFailed, SettingsError
from synos_tasks.services import backup as backing
from synos_tasks.services import stopping
from synos_tasks.services.keepers import KEEPERS
from tests.unit.fake_compose import PROJECT, UIDS, Scene, scene
from tests.unit.fake_keepers import FakeKeeper

VOLUMES = [f"{PROJECT}_{name}" for name in UIDS]


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    made = scene(tmp_path)
    made.runs()
    made.engine.volumes = {name: {} for name in VOLUMES}
    return made


@pytest.fixture(autouse=True)
def keepers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEEPERS:
        monkeypatch.setitem(KEEPERS, name, FakeKeeper(name, holds=1))


def never(question: str) -> NoReturn:
    raise AssertionError(question)


def saved(here: Scene) -> list[str]:
    return [one.name for one in archive.listing(backing.folder_of(here.session))]


def test_down_removes_containers_and_keeps_the_data(here: Scene) -> None:
    told = stopping.down(here.session)
    assert (told.containers, told.volumes, told.backup) == (3, [], "")
    assert here.compose.asked == [("down",)]
    assert sorted(here.engine.volumes) == sorted(VOLUMES)


def test_down_of_what_is_down_removes_nothing(here: Scene) -> None:
    here.compose.here = []
    assert stopping.down(here.session).containers == 0


def test_volumes_go_when_it_was_agreed_to_and_after_a_backup(here: Scene) -> None:
    questions: list[str] = []

    def agreed(question: str) -> bool:
        assert saved(here) == []
        questions.append(question)
        return True

    def removes(_words: tuple[str, ...]) -> None:
        assert len(saved(here)) == 1
        here.engine.volumes.clear()

    here.compose.acts["down"] = removes
    told = stopping.down_with_volumes(here.session, agreed=agreed)
    assert told.containers == 3
    assert sorted(told.volumes) == sorted(VOLUMES)
    [name] = saved(here)
    assert name.startswith("before-down-")
    assert told.backup == str(backing.folder_of(here.session) / name)
    archive.verify(Path(told.backup))
    [question] = questions
    assert all(volume in question for volume in VOLUMES)
    assert here.compose.asked == [("down", "--volumes")]


def test_nothing_goes_when_it_was_not_agreed_to(here: Scene) -> None:
    with pytest.raises(SettingsError, match="nothing was removed") as caught:
        stopping.down_with_volumes(here.session, agreed=lambda _: False)
    assert "--yes" in caught.value.hint
    assert (here.compose.asked, saved(here)) == ([], [])


def test_without_a_backup_none_is_taken(here: Scene) -> None:
    told = stopping.down_with_volumes(here.session, agreed=lambda _: True, safety=False)
    assert (told.backup, saved(here)) == ("", [])
    assert sorted(told.volumes) == sorted(VOLUMES)


def test_where_there_are_no_volumes_nothing_is_asked_or_saved(here: Scene) -> None:
    here.engine.volumes.clear()
    told = stopping.down_with_volumes(here.session, agreed=never)
    assert (told.volumes, told.backup) == ([], "")
    assert here.compose.asked == [("down", "--volumes")]


@pytest.mark.parametrize(
    "error", [DiskFull("no space is left", where="/x", why="5 bytes are free"), ServiceFailed("x", why="y")]
)
def test_nothing_goes_when_no_backup_could_be_taken(
    here: Scene, monkeypatch: pytest.MonkeyPatch, error: DiskFull | ServiceFailed
) -> None:
    monkeypatch.setitem(KEEPERS, "redis", FakeKeeper("redis", holds=1, fails_to_save=error))
    with pytest.raises(ServiceFailed, match="so nothing was removed") as caught:
        stopping.down_with_volumes(here.session, agreed=lambda _: True)
    assert caught.value.why == error.why
    assert "--no-backup" in caught.value.hint
    assert here.compose.asked == []
    assert saved(here) == []


def test_nothing_goes_when_a_service_is_not_running_to_be_saved(here: Scene) -> None:
    here.runs("redis")
    with pytest.raises(ServiceFailed) as caught:
        stopping.down_with_volumes(here.session, agreed=lambda _: True)
    assert "service nats is not running" in caught.value.why
    assert "inv services.up" in caught.value.hint
    assert here.compose.asked == []


def test_a_volume_that_is_in_use_elsewhere_is_not_said_to_be_gone(here: Scene) -> None:
    here.compose.acts["down"] = lambda _: here.engine.volumes.pop(VOLUMES[0])
    told = stopping.down_with_volumes(here.session, agreed=lambda _: True, safety=False)
    assert told.volumes == [VOLUMES[0]]
