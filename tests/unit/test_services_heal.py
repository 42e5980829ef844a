"""`services.heal`: what is damaged is named, copied, and only then changed; the other services are not touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from synos_tasks.errors import BackupDamaged, ServiceFailed, ServiceUnhealthy, SettingsError
from synos_tasks.services import backup as backing
from synos_tasks.services import damage
from synos_tasks.services import heal as healing
from synos_tasks.services.adapters import ADAPTERS
from tests.unit.fake_compose import NAMES, PROJECT, UIDS, FakeAdapter, Scene, scene

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.services.heal import Healed

DAMAGE = b"/data/x.aof\tis readable up to byte 3 of 9\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = scene(tmp_path)
    for name in ADAPTERS:
        monkeypatch.setitem(ADAPTERS, name, FakeAdapter(name, holds=2))
    made.runs()
    for name in UIDS:
        made.engine.add_volume(f"{PROJECT}_{name}")
    backing.backup(made.context, "mine")
    made.forget()
    return made


def yes(_question: str) -> None: ...


def heal(here: Scene, only: str = "", *, repair: bool = False) -> list[Healed]:
    return healing.heal(here.context, here.context.stack.chosen(only), yes, repair=repair)


def changes(here: Scene) -> list[tuple[str, ...]]:
    """The commands but for those that only look."""
    return [words for words in here.compose.asked if not {"running", "check"} & set(words)]


@pytest.mark.parametrize("running", [(), ("redis",), NAMES])
def test_what_is_healthy_or_was_never_started_is_left_alone(here: Scene, running: tuple[str, ...]) -> None:
    here.remove()
    here.engine.objects["volume"].clear()
    for name in running:
        here.container(name)
    assert heal(here) == []
    assert changes(here) == []
    assert len(here.compose.asked) == len(running)


def test_damage_is_named_and_nothing_is_changed(here: Scene) -> None:
    here.compose.printed["exec --no-TTY redis"] = DAMAGE
    with pytest.raises(ServiceUnhealthy, match="the data of redis is damaged") as caught:
        heal(here)
    assert caught.value.why == "redis: /data/x.aof is readable up to byte 3 of 9"
    for way in ("--repair", "--from-backup latest"):
        assert f"inv services.heal --only redis {way}" in caught.value.hint
    assert changes(here) == []


def test_data_is_copied_before_it_is_repaired_and_only_that_service_is_stopped(here: Scene) -> None:
    here.container("redis", state="restarting", health="", restarts=9)
    here.compose.printed["chown"] = DAMAGE
    here.compose.printed["/etc/synos/repair"] = b"6 bytes cut off\n"
    here.compose.printed["belongs to uid"] = DAMAGE
    [done] = heal(here, repair=True)
    assert (done.service, done.lost, done.after) == ("redis", ["6 bytes cut off"], "2 keys")
    assert f"of volume {PROJECT}_redis" in done.kept
    stop, keep, repair, start = (
        next(number for number, words in enumerate(here.compose.asked) if part in words)
        for part in ("stop", "cp", "/etc/synos/repair", "--detach")
    )
    assert stop < keep < repair < start
    assert here.compose.given[repair] == DAMAGE
    assert not [words for words in changes(here) if "nats" in words or "postgres" in words]


def test_without_consent_nothing_is_changed(here: Scene) -> None:
    def no(_question: str) -> NoReturn:
        raise SettingsError("not confirmed")

    here.compose.printed["exec --no-TTY redis"] = DAMAGE
    with pytest.raises(SettingsError):
        healing.heal(here.context, here.context.stack.long_running, no, repair=True)
    with pytest.raises(SettingsError):
        healing.from_backup(here.context, here.context.stack["redis"], "mine", no)
    assert changes(here) == []


def test_what_postgresql_cannot_repair_is_refused_before_it_is_stopped_or_copied(here: Scene) -> None:
    here.compose.printed["exec --no-TTY postgres"] = b"/x/17/base/1/2\thas 1 pages with a wrong checksum\n"
    with pytest.raises(ServiceFailed, match="cannot be repaired") as caught:
        heal(here, repair=True)
    assert "--only postgres --from-backup latest" in caught.value.hint
    assert changes(here) == []


def test_a_repair_that_fails_says_where_the_copy_is_and_lets_the_service_run(here: Scene) -> None:
    here.compose.printed["nats-box check"] = b"/data/s/meta.inf\thas another checksum than meta.sum\n"
    here.compose.fails["nats_check.py"] = ServiceFailed("docker compose failed", why="only a backup has it")
    with pytest.raises(ServiceFailed, match="the data of nats cannot be repaired") as caught:
        heal(here, repair=True)
    assert "only a backup has it" in caught.value.why
    assert f"of volume {PROJECT}_nats" in caught.value.where
    assert here.compose.did("up --detach nats")


def test_a_backup_is_restored_into_one_service_whose_old_data_is_moved_aside(here: Scene) -> None:
    here.container("redis", state="restarting", health="", restarts=9)
    done = healing.from_backup(here.context, here.context.stack["redis"], healing.LATEST, yes)
    assert (done.done, done.after) == ("restored from mine", "2 keys")
    assert [words for words in changes(here) if "mv" in words]
    assert not [words for words in changes(here) if "nats" in words or "postgres" in words]


@pytest.mark.parametrize(
    ("name", "error"), [("damaged", BackupDamaged), ("none", SettingsError), ("half", SettingsError)]
)
def test_a_backup_that_cannot_be_restored_is_refused_before_anything_is_touched(
    here: Scene, name: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    backing.backup(here.context, "damaged")
    (backing.folder_of(here.context) / "damaged/redis/number").write_text("9")
    with monkeypatch.context() as patch:
        patch.delitem(ADAPTERS, "redis")
        backing.backup(here.context, "half")
    here.forget()
    with pytest.raises(error):
        healing.from_backup(here.context, here.context.stack["redis"], name, yes)
    assert here.compose.asked == []


def test_each_of_several_damaged_services_has_a_command_that_takes_it() -> None:
    hint = damage.hint([damage.Damage(service=name, file="x", why="y") for name in ("nats", "redis")])
    for name in ("nats", "redis"):
        assert f"inv services.heal --only {name} --from-backup latest" in hint
    assert "--only nats,redis --repair" in hint
