"""The verbs of `inv services.*`: options, one JSON object each, exit codes, and words that keep their quotes."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from synos_tasks.engine import cache
from synos_tasks.engine.cache import Usage
from synos_tasks.errors import (
    BackupDamaged,
    ServiceFailed,
    ServiceUnhealthy,
    SettingsError,
    SynosError,
)
from synos_tasks.services import status as states
from synos_tasks.services import tasks as services
from tests.unit.fake_compose import NAMES, SECRETS
from tests.unit.projects import tree
from tests.unit.service_verbs import Verbs, answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.service_verbs import Shown

pytestmark = pytest.mark.usefixtures("keep_signals")


@pytest.fixture
def verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verbs:
    return Verbs(tmp_path, monkeypatch)


@pytest.fixture
def running(verbs: Verbs, capfd: Shown) -> Verbs:
    verbs.started()
    capfd.readouterr()
    return verbs


def test_up_tells_what_it_made_and_how_long_it_took(verbs: Verbs, capfd: Shown) -> None:
    assert verbs.run("services.up", "--json", "--stack", "unified") == 0
    shown = capfd.readouterr()
    told = json.loads(shown.out)
    assert told["changed"] == NAMES
    assert set(told["seconds"]) == set(NAMES)
    assert told["secrets"] == SECRETS
    assert f"secrets made: {', '.join(told['secrets'])} in {verbs.here.secrets}" in shown.err
    assert verbs.opened == ["unified"]


def test_up_that_made_secrets_had_something_to_do(running: Verbs, capfd: Shown) -> None:
    shutil.rmtree(running.here.secrets.parent)
    assert running.run("services.up", "--json") == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out)["restarted"] == NAMES
    assert "nothing to do" not in shown.err


def test_up_says_when_there_was_nothing_to_do(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.up") == 0
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "nothing to do: all were running, and healthy" in shown.err


def test_only_takes_some_services(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.up", "--only", "redis, nats", "--json") == 0
    assert set(answer(capfd, "up")["seconds"]) == {"nats", "redis"}
    assert running.run("services.restart", "--only", "redis", "--json") == 0
    assert set(answer(capfd, "restart")["seconds"]) == {"redis"}


def test_wait_timeout_is_the_seconds_to_get_healthy(running: Verbs, capfd: Shown) -> None:
    for name in NAMES:
        running.here.container(name, health="starting")
    began = time.monotonic()
    assert running.run("services.up", "--wait-timeout", "1") == ServiceUnhealthy.exit_code
    assert 1 <= time.monotonic() - began < 5
    assert "not healthy: nats, postgres, redis" in capfd.readouterr().err


def test_down_tells_what_is_gone_and_what_is_kept(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.down", "--json") == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {
        "schema": "synos.services.down/1", "containers": 3, "volumes": [], "backup": ""
    }  # fmt: skip
    assert shown.err == "3 containers removed; data kept\n"


def test_down_with_volumes_tells_where_the_backup_is(running: Verbs, capfd: Shown) -> None:
    volumes = running.here.engine.names("volume")
    assert running.run("services.down", "--volumes", "--yes", "--json") == 0
    shown = capfd.readouterr()
    told = json.loads(shown.out)
    assert sorted(told["volumes"]) == volumes
    assert "before-down-" in told["backup"]
    assert f"backup: {told['backup']}" in shown.err


def test_down_with_volumes_needs_to_be_agreed_to(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.down", "--volumes", "--json") == SettingsError.exit_code
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "SettingsError"
    assert running.here.compose.asked == []
    assert running.run("services.down", "--volumes", "--yes", "--no-backup", "--json") == 0
    assert answer(capfd, "down")["backup"] == ""


def test_status_is_a_table_or_an_object(
    running: Verbs, capfd: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.here.remove("postgres")
    running.here.container("nats", state="exited")
    redis = running.here.container("redis", ports={"6379/tcp": ("127.0.0.1", 6379)}, restarts=1)
    used = {redis: Usage(cpu_ns=0, memory=2**20, memory_limit=2**21)}
    monkeypatch.setattr(cache, "statistics", lambda _idents: used)
    assert running.run("services.status") == 0
    shown = capfd.readouterr()
    assert shown.out == ""
    title, heading, *rows = shown.err.splitlines()
    assert title == "stack unified"
    assert heading.split()[:2] == ["service", "state"]
    assert [row.split() for row in rows[:2]] == [["nats", "exited", "0"], ["postgres", "missing", "0"]]
    assert rows[2].endswith("1 of 2 MB  1         127.0.0.1:6379->6379")
    assert running.run("services.status", "--json", "--watch") == 0
    told = answer(capfd, "status")
    states = ["exited", "missing", "running"]
    assert [(one["name"], one["state"]) for one in told["services"]] == list(zip(NAMES, states, strict=True))
    assert running.opened == []  # a stack that is not resolved is looked at faster


def test_status_can_go_on_until_it_is_interrupted(
    running: Verbs, capfd: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [None] * 2

    def sleep(seconds: float) -> None:
        if seconds == 1 and not left:
            raise KeyboardInterrupt
        if seconds == 1:
            left.pop()

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(states, "WINDOW", 0)
    monkeypatch.setattr(cache, "statistics", lambda _idents: {})
    assert running.run("services.status", "--watch") == 130
    assert capfd.readouterr().err.count("stack unified") == 3


def test_heal_tells_what_it_recreated(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.heal", "--json") == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out)["healed"] == []
    assert "nothing to heal" in shown.err
    running.here.container("nats", health="unhealthy")
    assert running.run("services.heal", "--json") == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out)["healed"] == ["nats"]
    assert "recreated: nats" in shown.err


def test_config_is_what_compose_resolved(running: Verbs, capfd: Shown) -> None:
    running.here.compose.printed = {"config": b"name: synos-test-unified\n"}
    assert running.run("services.config") == 0
    assert yaml.safe_load(capfd.readouterr().out) == {"name": "synos-test-unified"}
    assert running.run("services.config", "--json") == 0
    assert answer(capfd, "config") == {"stack": "unified", "model": running.here.compose.model}


def test_backup_and_the_list_of_backups(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.backup", "--name", "other", "--json") == 0
    shown = capfd.readouterr()
    told = json.loads(shown.out)
    folder = running.here.settings.state_dir / "backups/unified"
    assert (told["name"], told["path"], told["bytes"]) == ("other", str(folder / "other"), 3)
    assert set(told["holds"]) == set(NAMES)
    (folder / "other/redis/number").unlink()
    assert running.run("services.backups", "--json") == 0
    shown = capfd.readouterr()
    listed = {one["name"]: one for one in json.loads(shown.out)["backups"]}
    assert set(listed) == {"mine", "other"}
    assert listed["other"]["trouble"] == "redis/number: is missing"
    rows = shown.err.splitlines()
    assert "2 streams, 4 messages" not in shown.err
    assert any("2 streams, 2 messages, 0 consumers; 2 databases, 2 tables; 2 keys" in row for row in rows)


def test_restore_tells_the_way_back(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.restore", "mine", "--yes", "--json") == 0
    shown = capfd.readouterr()
    told = json.loads(shown.out)
    assert told["backup"].endswith("/backups/unified/mine")
    assert told["before"].startswith("before-restore-")
    assert f"what was there before: inv services.restore {told['before']}" in shown.err
    assert running.run("services.restore", "mine", "--yes", "--no-backup", "--json") == 0
    assert answer(capfd, "restore")["before"] == ""


def test_rotation_tells_which_secrets_and_where_and_never_one_of_them(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.secrets-rotate", "--only", "redis", "--json") == 0
    shown = capfd.readouterr()
    told = json.loads(shown.out)
    folder = str(running.here.secrets)
    assert (told["secrets"], told["folder"]) == (["redis_password"], folder)
    assert f"changed: redis_password in {folder}" in shown.err
    assert running.here.mounted("redis") not in shown.out + shown.err


@pytest.mark.parametrize("options", [(), ("--no-backup",)])
def test_an_upgrade_takes_a_backup_first(
    running: Verbs, capfd: Shown, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    engine = running.here.engine
    monkeypatch.setattr(engine, "pull", lambda _ref, *, timeout: timeout > 0)
    running.here.container("redis", image=engine.image_id(running.here.context.stack["redis"].image) or "")
    engine.printed = {("dpkg-query", "--show"): "libc6\t1\n"}
    assert running.run("services.upgrade", *options, "--only", "redis", "--json") == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {
        "schema": "synos.services.upgrade/1",
        "stack": "unified",
        "services": [{"service": "redis", "changed": False, "packages": []}],
    }
    assert "upgraded: none: nothing newer" in shown.err
    assert running.done == ([] if options else [f"save {name}" for name in NAMES])
    assert ("backup: " in shown.err) == (not options)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("services.up", "--only", "redsi"), SettingsError),
        (("services.status", "--stack", "unifed"), SettingsError),
        (("services.restore", "mien"), SettingsError),
        (("services.restore", "damaged"), BackupDamaged),
        (("services.backup", "--name", "mine"), SettingsError),
        (("services.backup", "--name", "../x"), SettingsError),
        (("services.restart",), ServiceFailed),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_is_an_exit_code_and_one_object(
    running: Verbs, capfd: Shown, words: tuple[str, ...], error: type[SynosError]
) -> None:
    assert running.run("services.backup", "--name", "damaged") == 0
    folder = running.here.settings.state_dir / "backups/unified/damaged"
    (folder / "redis/number").write_text("9")
    running.here.compose.fails["restart"] = ServiceFailed("docker compose failed")
    capfd.readouterr()
    before = tree(folder.parent)
    assert running.run(*words, "--json") == error.exit_code
    told: dict[str, Any] = json.loads(capfd.readouterr().out)
    assert told["error"]["kind"] == error.__name__
    assert tree(folder.parent) == before


def test_every_verb_says_what_it_does() -> None:
    assert all(services.namespace[name].__doc__ for name in services.namespace.task_names)
