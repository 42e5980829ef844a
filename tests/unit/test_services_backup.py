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
from synos_tasks.services import health
from synos_tasks.services.adapters import ADAPTERS, nats, postgres, redis, summary
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
    monkeypatch.setattr(health, "POLL", 0.001)
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
    here: Scene, name: str, *, confirm: Callable[[str], object] = len, safety: bool = True
) -> Restored:
    return backing.restore(here.context, name, confirm=confirm, safety=safety)


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
    assert manifest.facts == {name: adapter.facts(here.context) for name, adapter in held.adapters.items()}
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
    assert questions == [f"{holds}. Replace all of it with backup mine?"]
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
