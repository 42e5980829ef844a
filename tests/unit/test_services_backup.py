"""Backups of a stack: all services into one folder and back, and nothing touched when one does not fit."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NoReturn

import pytest

from synos_tasks import archive
from synos_tasks.errors import (
    BackupDamaged,
    ContainerLost,
    DiskFull,
    ServiceFailed,
    ServiceUnhealthy,
    SettingsError,
    SynosError,
)
from synos_tasks.services import backup as backing
from synos_tasks.services.adapters import ADAPTERS, nats, postgres, redis, summary
from synos_tasks.services.selection import Selection
from tests.unit.fake_compose import PROJECT, UIDS, FakeAdapter, Scene, scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synos_tasks.services.backup import Restored

NAMES = ["nats", "postgres", "redis"]
VOLUMES = [f"{PROJECT}_{name}" for name in UIDS]


class Held:
    """What the services hold, and what was done with it, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.adapters = {name: FakeAdapter(name, holds=3, done=self.done) for name in NAMES}
        for name, adapter in self.adapters.items():
            monkeypatch.setitem(ADAPTERS, name, adapter)

    @property
    def counts(self) -> list[int]:
        return [adapter.holds for adapter in self.adapters.values()]

    def hold(self, *counts: int) -> None:
        for adapter, count in zip(self.adapters.values(), counts, strict=True):
            adapter.holds = count


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


@pytest.fixture
def here(tmp_path: Path, held: Held) -> Scene:
    made = scene(tmp_path)
    made.runs()
    for name in VOLUMES:
        made.engine.add_volume(name)
    return made


@pytest.fixture
def mine(here: Scene, held: Held) -> Path:
    """A backup."""
    path = backing.backup(here.context, "mine")
    held.done.clear()
    here.said.clear()
    return path


def never(question: str) -> NoReturn:
    raise AssertionError(question)


def refuses(_: str) -> NoReturn:
    raise SettingsError("not confirmed")


def restore(
    here: Scene,
    name: str,
    *,
    confirm: Callable[[str], object] = len,
    safety: bool = True,
    selection: Selection = backing.ALL,
) -> Restored:
    return backing.restore(here.context, name, confirm=confirm, safety=safety, selection=selection)


def way_back(here: Scene) -> str:
    [before] = [name for name in taken(here) if name != "mine"]
    return f"`inv services.restore {before}` puts all back as it was"


def taken(here: Scene) -> list[str]:
    return sorted(one.name for one in archive.listing(backing.folder_of(here.context)))


def test_a_backup_has_every_service_and_says_what_it_holds(here: Scene, held: Held) -> None:
    path = backing.backup(here.context, "mine")
    assert path == here.settings.project.state_dir / "backups/unified/mine"
    manifest = archive.verify(path)
    assert [file.path for file in manifest.files] == [f"{name}/number" for name in NAMES]
    assert manifest.facts == {
        name: {**adapter.facts(here.context), "left_out": []} for name, adapter in held.adapters.items()
    }
    assert held.done == [f"save {name}" for name in NAMES]
    assert here.said == [
        "saving nats: 3 streams, 3 messages, 0 consumers",
        "saving postgres: 3 databases, 3 tables",
        "saving redis: 3 keys",
    ]
    assert summary("mongo", {"collections": 3}) == "mongo"  # of another project's stack


def test_a_service_that_does_not_run_is_told_before_any_is_saved(here: Scene, held: Held) -> None:
    here.runs("nats", "postgres")
    with pytest.raises(ServiceFailed, match="service redis is not running") as caught:
        backing.backup(here.context)
    assert "inv services.up" in caught.value.hint
    assert (held.done, taken(here)) == ([], [])


def test_what_services_hold_is_told_asked_about_and_saved_first(here: Scene, held: Held, mine: Path) -> None:
    held.hold(0, 1, 1234)
    questions: list[str] = []

    def confirm(question: str) -> None:
        assert held.done == []
        questions.append(question)

    told = restore(here, "mine", confirm=confirm)
    postgres_redis = "postgres holds 1 database, 1 table; redis holds 1 234 keys"
    holds = f"nats holds 0 streams, 0 messages, 0 consumers; {postgres_redis}"
    assert questions == [f"{holds}. Replace it with backup mine?"]
    assert held.done == [f"{what} {name}" for what in ("save", "load") for name in NAMES]
    assert told.before.startswith("before-restore-")
    assert held.counts == [3, 3, 3]
    restore(here, told.before, safety=False)
    assert held.counts == [0, 1, 1234]


def test_nothing_is_restored_when_it_was_not_agreed_to_or_what_is_there_cannot_be_saved(
    here: Scene, held: Held, mine: Path
) -> None:
    held.hold(1, 1, 1)
    with pytest.raises(SettingsError, match="not confirmed"):
        restore(here, "mine", confirm=refuses)
    assert held.done == []
    held.adapters["redis"].fails_to_save = DiskFull("no space left")
    with pytest.raises(DiskFull):
        restore(here, "mine")
    assert "load nats" not in held.done
    assert (held.counts, taken(here)) == ([1, 1, 1], ["mine"])


def test_only_of_a_stack_that_the_restore_made_it_is_known_that_it_holds_nothing(
    here: Scene, held: Held, mine: Path
) -> None:
    held.hold(0, 0, 0)  # as far as it is counted
    with pytest.raises(SettingsError, match="not confirmed"):
        restore(here, "mine", confirm=refuses)
    assert restore(here, "mine").before
    here.remove()
    here.engine.objects["volume"].clear()
    assert restore(here, "mine", confirm=never).before == ""
    assert held.counts == [3, 3, 3]


def test_what_was_verified_is_restored_though_the_backup_is_swapped_meanwhile(
    here: Scene, held: Held, mine: Path
) -> None:
    def swaps(_: str) -> None:
        for name in NAMES:
            (mine / name / "number").write_text("666")
        mine.rename(mine.with_name("verified"))
        shutil.copytree(mine.with_name("verified"), mine)

    held.hold(1, 1, 1)
    restore(here, "mine", confirm=swaps)
    assert held.counts == [3, 3, 3]
    assert not list(mine.parent.glob(".*"))  # the copy is gone


def number(draft: archive.Draft, service: str, count: int) -> None:
    with draft.below(service).file("number") as out:
        out.write(str(count).encode())


def foreign(mine: Path) -> None:
    shutil.rmtree(mine)
    with archive.create(
        mine.parent, "mine", {"mongo": {"version": "1"}, "nats-box": {"version": "1"}}
    ) as draft:
        number(draft, "redis", 1)


def misshapen(mine: Path) -> None:
    """Lay a backup whose checksums are right, and which lacks what its adapter needs."""
    facts = archive.manifest_of(mine).facts
    shutil.rmtree(mine)
    with archive.create(mine.parent, "mine", facts) as draft:
        number(draft, "redis", 1)


@pytest.mark.parametrize(
    ("harm", "error", "text"),
    [
        (lambda mine: (mine / "redis/number").write_text("4"), BackupDamaged, "its SHA-256 differs"),
        (lambda mine: (mine / "redis/number").unlink(), BackupDamaged, "redis/number: is missing"),
        (lambda mine: mine.rename(mine.parent / "mien"), SettingsError, "did you mean 'mien'?"),
        (foreign, SettingsError, "has no service mongo, nats-box"),
        (misshapen, BackupDamaged, "nats: number is missing"),
    ],
    ids=["damaged", "incomplete", "unknown", "foreign", "misshapen"],
)
def test_what_is_damaged_or_does_not_fit_is_refused_before_anything_is_touched(
    here: Scene, held: Held, mine: Path, harm: Callable[[Path], object], error: type[SynosError], text: str
) -> None:
    harm(mine)
    here.remove()
    with pytest.raises(error) as caught:
        restore(here, "mine", confirm=never)
    assert text in str(caught.value.lines())
    assert (here.compose.asked, held.done) == ([], [])


def test_a_backup_of_one_service_leaves_the_others_alone(here: Scene, held: Held) -> None:
    facts = {"redis": held.adapters["redis"].facts(here.context)}
    with archive.create(backing.folder_of(here.context), "one", facts) as draft:
        number(draft, "redis", 7)
    restore(here, "one", safety=False)
    assert held.counts == [3, 3, 7]


@pytest.mark.parametrize(
    ("service", "has", "saved", "refused"),
    [
        ("redis", "7.0.15", "8.0.0", True),
        ("postgres", "17.5", "17.9", False),
        ("postgres", "17.5", "18.0", True),
        ("nats", "2.10.27", "2.10.99", False),
        ("nats", "2.10.27", "2.11.0", True),
        ("nats", "2.10.27", "3.0.0-beta.1", True),
    ],
)
def test_a_backup_of_a_newer_version_is_refused_before_any_service_is_loaded(
    here: Scene, held: Held, service: str, has: str, saved: str, refused: bool
) -> None:
    adapter = held.adapters[service]
    adapter.VERSION_PARTS = {"nats": nats, "postgres": postgres, "redis": redis}[service].VERSION_PARTS
    adapter.version = saved
    backing.backup(here.context, "mine")
    adapter.version = has
    held.done.clear()
    if not refused:
        restore(here, "mine")
        return
    with pytest.raises(SettingsError, match=f"is of {service} {saved}, which {has} may not"):
        restore(here, "mine", confirm=never)
    assert held.done == []


@pytest.mark.parametrize(
    "error",
    [ServiceFailed("docker compose failed", where="pg_restore", why="bad"), ContainerLost("gone", why="bad")],
)
def test_a_service_that_cannot_be_restored_is_told_with_what_was_and_the_way_back(
    here: Scene, held: Held, error: SynosError, mine: Path
) -> None:
    held.adapters["postgres"].fails_to_load = error
    with pytest.raises(ServiceFailed, match="postgres could not be restored") as caught:
        restore(here, "mine")
    assert (caught.value.where, caught.value.why) == (error.where, "bad")
    assert caught.value.hint == f"restored before: nats; {way_back(here)}"
    assert held.done[-1] == "load postgres"
    with pytest.raises(ServiceFailed, match="postgres could not be restored") as caught:
        restore(here, "mine", safety=False)
    assert caught.value.hint == "restored before: nats; run it again"


def test_services_that_do_not_get_healthy_with_what_was_restored_are_told_with_the_way_back(
    here: Scene, held: Held, mine: Path
) -> None:
    def ill(words: tuple[str, ...]) -> None:
        if "load redis" in held.done:
            for name in NAMES:
                here.container(name, health="unhealthy")

    here.compose.acts["up --detach"] = ill
    with pytest.raises(ServiceUnhealthy) as caught:
        restore(here, "mine")
    assert "left as it is: nats is unhealthy" in caught.value.hint
    assert caught.value.hint.endswith(way_back(here))


def test_ctrl_c_in_the_middle_says_what_was_restored_and_the_way_back(
    here: Scene, held: Held, mine: Path
) -> None:
    held.adapters["postgres"].fails_to_load = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        restore(here, "mine")
    assert here.said[-1] == f"restored: nats, and maybe postgres; {way_back(here)}"


# ---- what is chosen, and what is lacking


def chosen(only: str = "", skip: str = "") -> Selection:
    return Selection.parse(only, skip)


@pytest.mark.parametrize(
    ("only", "skip", "saved"),
    [("redis", "", ["redis"]), ("", "redis, nats", ["postgres"]), ("redis,nats", "nats", ["redis"])],
)
def test_a_backup_has_the_chosen_services_though_another_does_not_run(
    here: Scene, held: Held, only: str, skip: str, saved: list[str]
) -> None:
    here.runs(*saved)
    path = backing.backup(here.context, "some", selection=chosen(only, skip))
    assert list(archive.manifest_of(path).facts) == saved


def test_a_database_that_is_not_chosen_is_named_as_left_out(here: Scene, held: Held) -> None:
    for selection in (chosen(skip="postgres/1"), chosen(only="postgres/0,postgres/2")):
        facts = archive.manifest_of(backing.backup(here.context, selection=selection)).facts["postgres"]
        assert list(facts["databases"]) == ["0", "2"]
        assert archive.lost(facts) == ["database 1: not chosen"]
        assert backing.incomplete({"postgres": facts}) is None


@pytest.mark.parametrize(
    ("only", "skip", "text"),
    [
        ("redsi", "", "redsi"),
        ("postgres/9", "", "postgres/9"),
        ("", "redis/db3", "redis/db3"),
        ("redis", "redis", "leave no service"),
    ],
)
def test_a_choice_of_what_is_not_there_is_wrong_use(
    here: Scene, held: Held, only: str, skip: str, text: str
) -> None:
    with pytest.raises(SettingsError, match=text):
        backing.backup(here.context, selection=chosen(only, skip))
    assert taken(here) == []


def test_a_restore_replaces_what_is_chosen_alone(here: Scene, held: Held, mine: Path) -> None:
    held.hold(7, 8, 9)
    restore(here, "mine", selection=chosen("redis"))
    assert held.counts == [7, 8, 3]


def test_what_could_not_be_restored_is_told_and_the_rest_is(here: Scene, held: Held, mine: Path) -> None:
    held.hold(7, 8, 9)
    held.adapters["postgres"].leaves = ["database 'a' is as it was: no such function"]
    assert restore(here, "mine").failed == held.adapters["postgres"].leaves
    assert held.counts == [3, 3, 3]


def test_nothing_is_replaced_of_which_the_backup_before_lacks_something(
    here: Scene, held: Held, mine: Path
) -> None:
    held.adapters["postgres"].loses = ["of elsewhere"]
    assert restore(here, "mine").before
    held.done.clear()
    held.adapters["postgres"].loses = ["1"]
    with pytest.raises(ServiceFailed, match="the backup is incomplete") as caught:
        restore(here, "mine")
    assert "postgres: database 1: broken" in caught.value.why
    assert "load nats" not in held.done


def test_a_damaged_service_blocks_no_restore_that_needs_nothing_of_it(
    here: Scene, held: Held, mine: Path
) -> None:
    def ill(_: tuple[str, ...]) -> None:
        for name in NAMES:
            here.container(
                name, health="unhealthy" if name == "redis" and "load redis" not in held.done else "healthy"
            )

    here.compose.acts["up --detach"] = ill
    here.container("redis", health="unhealthy")
    restore(here, "mine", selection=chosen("postgres"))
    with pytest.raises(ServiceUnhealthy) as caught:
        restore(here, "mine", selection=chosen("redis"))
    assert "--no-backup" in caught.value.hint
    held.done.clear()
    restore(here, "mine", selection=chosen("redis"), safety=False)
    assert held.done == ["load redis"]


# ---- down


@pytest.fixture
def full(here: Scene) -> Scene:
    """All run, and have data."""
    here.runs()
    for name in VOLUMES:
        here.engine.add_volume(name)
    return here


def test_nothing_goes_when_no_backup_could_be_taken(full: Scene, held: Held) -> None:
    held.adapters["redis"].fails_to_save = DiskFull("no space is left", where="/x", why="5 bytes are free")
    with pytest.raises(ServiceFailed, match="so nothing was removed") as caught:
        backing.down(full.context, volumes=True, confirm=len)
    assert (caught.value.where, caught.value.why) == ("/x", "5 bytes are free")
    assert "--no-backup" in caught.value.hint
    assert full.compose.asked == []


def test_a_volume_that_is_in_use_elsewhere_is_not_said_to_be_gone(full: Scene) -> None:
    full.compose.acts["down"] = lambda _: full.engine.remove_volume(VOLUMES[0])
    stopped = backing.down(full.context, volumes=True, confirm=len, safety=False)
    assert stopped.volumes == [VOLUMES[0]]


def test_volumes_go_only_after_a_backup_that_has_all_of_them(full: Scene, held: Held) -> None:
    held.adapters["postgres"].loses = ["1"]
    with pytest.raises(ServiceFailed, match="so nothing was removed") as caught:
        backing.down(full.context, volumes=True, confirm=len)
    assert "database 1: broken" in caught.value.why
    assert full.compose.asked == []
    backing.down(full.context, volumes=True, confirm=len, selection=chosen("redis"))
    assert [one for one in VOLUMES if full.engine.volume(one)] == [
        one for one in VOLUMES if "redis" not in one
    ]
    assert sorted(full.containers()) == ["nats", "postgres"]


def test_volumes_of_a_service_that_nothing_saves_stay(
    full: Scene, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ADAPTERS, "redis")
    with pytest.raises(ServiceFailed, match="so nothing was removed") as caught:
        backing.down(full.context, volumes=True, confirm=len)
    assert "no adapter" in caught.value.why
    backing.down(full.context, volumes=True, confirm=len, safety=False)


def test_a_database_that_is_given_up_is_in_no_backup_and_goes(full: Scene, held: Held) -> None:
    stopped = backing.down(full.context, volumes=True, confirm=len, selection=chosen(skip="postgres/1"))
    assert stopped.volumes == VOLUMES
    facts = archive.manifest_of(backing.folder_of(full.context) / stopped.backup.rpartition("/")[2]).facts
    assert archive.lost(facts["postgres"]) == ["database 1: not chosen"]
