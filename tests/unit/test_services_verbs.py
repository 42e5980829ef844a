"""The verbs of `inv services.*`: options, one JSON object each, exit codes, --dry, and words that keep their quotes."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from invoke.collection import Collection

from synos_tasks import archive
from synos_tasks.engine import cache
from synos_tasks.engine.cache import Usage
from synos_tasks.errors import BackupDamaged, ServiceFailed, ServiceUnhealthy, SettingsError, SynosError
from synos_tasks.services import backup as backing
from synos_tasks.services import health
from synos_tasks.services import stack as stacks
from synos_tasks.services import tasks as services
from synos_tasks.services.adapters import ADAPTERS
from tests.unit.fake_compose import NAMES, SECRETS, FakeAdapter, Scene, scene
from tests.unit.projects import tree
from tests.unit.verbs import answer, inv

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.services.stack import StackContext
    from synos_tasks.settings import Settings

pytestmark = pytest.mark.usefixtures("keep_signals")
Shown = pytest.CaptureFixture[str]


class Verbs:
    """Runs verbs, and tells what they did."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here: Scene = scene(root)
        self.opened: list[str] = []
        self.done: list[str] = []
        monkeypatch.setattr(stacks, "open_stack", self._open)
        monkeypatch.setattr("synos_tasks.engine.compose.Compose", lambda **_: self.here.context.compose)
        monkeypatch.chdir(root)
        monkeypatch.setenv("NO_COLOR", "1")
        for name in ADAPTERS:
            monkeypatch.setitem(ADAPTERS, name, FakeAdapter(name, holds=2, done=self.done))

    def _open(
        self, _settings: Settings, stack: str, _say: object, wait_timeout: int = 0, _workers: int = 0
    ) -> StackContext:
        self.opened.append(stack)
        return dataclasses.replace(self.here.context, timeout=wait_timeout or self.here.context.timeout)

    def run(self, *words: str) -> int:
        return inv(Collection(services=services.namespace), *words)

    def started(self) -> None:
        """Have all running, with their secrets, and one backup; and forget how it came to that."""
        assert self.run("services.up") == 0
        backing.backup(self.here.context, "mine")
        self.here.forget()
        self.done.clear()
        self.opened.clear()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Shown) -> Verbs:
    made = Verbs(tmp_path, monkeypatch)
    made.started()
    capfd.readouterr()
    return made


def test_up_tells_what_it_made_and_how_long_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Shown
) -> None:
    verbs = Verbs(tmp_path, monkeypatch)
    assert verbs.run("services.up", "--json", "--stack", "unified") == 0
    shown = capfd.readouterr()
    told = json.loads(shown.out)
    assert (told["changed"], told["secrets"], set(told["seconds"])) == (NAMES, SECRETS, set(NAMES))
    assert f"secrets made: {', '.join(SECRETS)} in {verbs.here.secrets}" in shown.err
    assert verbs.opened == ["unified"]
    assert verbs.run("services.up") == 0
    shown = capfd.readouterr()
    assert (shown.out, "nothing to do: all were running, and healthy" in shown.err) == ("", True)


def test_down_tells_what_is_gone_and_what_is_kept(running: Verbs, capfd: Shown) -> None:
    volumes = running.here.engine.names("volume")
    assert running.run("services.down", "--volumes", "--yes", "--json") == 0
    told = answer(capfd, "services.down")
    assert (told["containers"], sorted(told["volumes"])) == (3, volumes)
    assert "before-down-" in told["backup"]
    assert running.run("services.down") == 0
    assert capfd.readouterr().err == "0 containers removed; data kept\n"


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
    assert shown.err == ""
    title, _heading, *rows = shown.out.splitlines()
    assert title == "stack unified"
    assert [row.split() for row in rows[:2]] == [["nats", "exited", "0"], ["postgres", "missing", "0"]]
    assert " seconds " in rows[2]
    assert rows[2].endswith("1 of 2 MB  1         127.0.0.1:6379->6379")
    assert running.run("services.status", "--json", "--watch") == 0
    told = [(one["name"], one["state"]) for one in answer(capfd, "services.status")["services"]]
    assert told == list(zip(NAMES, ["exited", "missing", "running"], strict=True))
    assert running.opened == []  # a stack that is not resolved is looked at faster


def test_status_can_go_on_until_it_is_interrupted(
    running: Verbs, capfd: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [1, 2]

    def sleep(seconds: float) -> None:
        if seconds == 1 and (not left or not left.pop()):
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(health, "WINDOW", 0)
    monkeypatch.setattr(cache, "statistics", lambda _idents: {})
    assert running.run("services.status", "--watch") == 130
    assert capfd.readouterr().out.count("stack unified") == 3


def test_heal_tells_what_it_recreated(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.heal", "--json") == 0
    assert answer(capfd, "services.heal")["healed"] == []
    running.here.container("nats", health="starting")
    running.here.container("redis", health="unhealthy")
    assert running.run("--dry", "services.heal") == 0
    assert capfd.readouterr().err == "would recreate: redis\n"
    assert running.run("services.heal", "--json") == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out)["healed"] == ["redis"]
    assert "redis: recreated" in shown.err


def test_heal_and_status_name_what_is_damaged(
    running: Verbs, capfd: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "statistics", lambda _idents: {})
    running.here.compose.printed["exec --no-TTY redis"] = b"/data/x.aof\tis missing\n"
    assert running.run("services.heal", "--json") == ServiceUnhealthy.exit_code
    told = json.loads(capfd.readouterr().out)["error"]
    assert told["why"] == "redis: /data/x.aof is missing"
    assert "inv services.heal --only redis --from-backup latest" in told["hint"]
    running.here.compose.printed["--user=0:0"] = b"/data/x.aof\tis missing\n"
    running.here.container("redis", state="restarting", health="", restarts=9)
    assert running.run("services.status") == 0
    shown = capfd.readouterr().err
    assert "redis: /data/x.aof is missing\ninv services.heal --only redis" in shown
    assert running.run("services.heal", "--from-backup", "mine", "--yes") == SettingsError.exit_code
    running.here.container("redis", state="exited")
    assert running.run("services.heal", "--only", "redis", "--from-backup", "mine", "--yes") == 0
    assert running.done == ["load redis"]
    assert "  kept    folder damaged-" in capfd.readouterr().err


def test_config_is_what_compose_resolved(running: Verbs, capfd: Shown) -> None:
    running.here.compose.printed = {"config": b"name: synos-test-unified\n"}
    assert running.run("services.config") == 0
    assert yaml.safe_load(capfd.readouterr().out) == {"name": "synos-test-unified"}
    assert running.run("services.config", "--json") == 0
    assert answer(capfd, "services.config") == {"stack": "unified", "model": running.here.compose.model}


def test_backup_and_the_list_of_backups(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.backup", "--name", "other", "--json") == 0
    told = answer(capfd, "services.backup")
    folder = running.here.settings.project.state_dir / "backups/unified"
    assert (told["name"], told["path"], told["bytes"]) == ("other", str(folder / "other"), 3)
    assert set(told["holds"]) == set(NAMES)
    (folder / "other/redis/number").unlink()
    assert running.run("services.backups", "--json") == 0
    shown = capfd.readouterr()
    listed = {one["name"]: one["trouble"] for one in json.loads(shown.out)["backups"]}
    assert listed == {"mine": "", "other": "redis/number: is missing"}
    assert "2 streams, 2 messages, 0 consumers; 2 databases, 2 tables; 2 keys" in shown.err


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
NAMED = st.sampled_from(["version", "streams", "messages", "databases", "owner", "keys", "db0"])
FACTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMED, inner, max_size=4)
)


@given(st.dictionaries(st.sampled_from(["nats", "postgres", "redis", "mongo"]), FACTS, max_size=3))
@example({"nats": {}})
@example({"redis": {"version": "1", "keys": {"db0": 10**400}}})
@example(
    {
        "postgres": {
            "version": "1",
            "databases": {"a": {"owner": "o", "bytes": 1, "tables": math.inf, "rows": 1}},
        }
    }
)
@example({"mongo": {"version": "1", "deep": json.loads("[" * 200 + "]" * 200)}})
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_backup_says_it_holds_the_others_are_listed(
    running: Verbs, capfd: Shown, facts: dict[str, Any]
) -> None:
    folder = running.here.settings.project.state_dir / "backups/unified"
    path = folder / "hostile"
    shutil.rmtree(path, ignore_errors=True)
    with archive.create(folder, path.name, facts):
        pass
    assert running.run("services.backups", "--json") == 0
    listed = {one["name"]: one["trouble"] for one in answer(capfd, "services.backups")["backups"]}
    assert listed.keys() == {"mine", "hostile"}
    assert not listed["mine"]
    if listed["hostile"]:
        assert running.run("services.restore", "hostile", "--yes") == BackupDamaged.exit_code
        assert listed["hostile"].splitlines()[0] in capfd.readouterr().err


def test_rotation_tells_which_secrets_and_where_and_never_one_of_them(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.secrets-rotate", "--only", "redis", "--json") == 0
    shown = capfd.readouterr()
    told, folder = json.loads(shown.out), str(running.here.secrets)
    assert (told["secrets"], told["folder"]) == (["redis_password"], folder)
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
    unchanged = [{"service": "redis", "changed": False, "packages": []}]
    assert json.loads(shown.out)["services"] == unchanged
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
    folder = running.here.settings.project.state_dir / "backups/unified/damaged"
    (folder / "redis/number").write_text("9")
    running.here.compose.fails["restart"] = ServiceFailed("docker compose failed")
    capfd.readouterr()
    before = tree(folder.parent)
    assert running.run(*words, "--json") == error.exit_code
    told: dict[str, Any] = json.loads(capfd.readouterr().out)
    assert told["error"]["kind"] == error.__name__
    assert tree(folder.parent) == before


# ---- clients


@pytest.mark.parametrize(
    ("words", "handed"),
    [
        (("services.exec", "redis"), ("redis", "sh")),
        (("services.exec", "redis", "--", "a", "--", "/a b", ""), ("redis", "a", "--", "/a b", "")),
        (
            ("services.psql", "--superuser", "--", "-c", "SELECT 'it''s'"),
            ("--superuser", "-c", "SELECT 'it''s'"),
        ),
        (("services.redis-cli", "--", "SET", "k", "$HOME *"), ("SET", "k", "$HOME *")),
        (("services.nats", "--", "pub", "x", "it's"), ("nats-box", "pub", "x", "it's")),
        (("services.logs", "--only", "redis", "--since", "10m"), ("--since=10m", "redis")),
        (("services.logs", "--follow"), ("--follow", "nats", "postgres", "redis")),
    ],
    ids=" ".join,
)
def test_words_reach_the_service_as_they_were_typed(
    running: Verbs, words: tuple[str, ...], handed: tuple[str, ...]
) -> None:
    running.here.compose.code = 3
    assert running.run(*words) == 3  # the exit code is the command's
    [command] = running.here.compose.streams
    assert command[-len(handed) :] == handed


def test_at_a_terminal_the_command_has_one(running: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.run("services.psql") == 0
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert running.run("services.psql") == 0
    without, terminal = running.here.compose.streams
    assert ("--no-TTY" in without, "--no-TTY" in terminal) == (True, False)


@pytest.mark.parametrize(
    "words", [("services.exec", "redis"), ("services.redis-cli",), ("services.nats",), ("services.psql",)]
)
def test_a_service_that_does_not_run_is_told(running: Verbs, capfd: Shown, words: tuple[str, ...]) -> None:
    running.here.remove()
    assert running.run(*words, "--", "x") == ServiceFailed.exit_code
    assert "is not running" in capfd.readouterr().err
    assert running.here.compose.streams == []
    assert running.run("--dry", *words) == 0


def test_a_mistake_in_a_word_is_told_with_what_to_do(running: Verbs, capfd: Shown) -> None:
    assert running.run("--dry", "services.exec", "postgers") == SettingsError.exit_code
    assert "did you mean 'postgres'?" in capfd.readouterr().err


# ---- --dry


LOOKS = {"logs", "status", "backups", "config", "describe", "env"}
"""Verbs that only look, and do so with --dry too."""
ELSEWHERE = {"ray"}
"""Of another stack: see test_services_ray.py."""
CHANGES = [
    (("services.up", "--only", "redis"), "would start redis of stack unified"),
    (("services.down",), "would stop stack unified, and remove no data"),
    (("services.down", "--volumes", "--yes"), "synos-test-unified_postgres"),
    (("services.down", "--volumes", "--only=redis"), "and remove synos-test-unified_redis\n"),
    (("services.restart",), "would restart nats, postgres, redis"),
    (("services.heal",), "would recreate: nothing"),
    (("services.exec", "redis", "--", "rm", "a b"), "would docker compose exec --no-TTY redis rm 'a b'"),
    (("services.psql", "--", "-c", "DROP"), "would docker compose exec --no-TTY postgres"),
    (("services.redis-cli", "--", "FLUSHALL"), "sh /etc/synos/cli FLUSHALL"),
    (("services.nats", "--", "stream", "rm"), "nats-box stream rm"),
    (("services.backup",), "would take a backup of stack unified into "),
    (("services.restore", "mine"), "/backups/unified/mine, taken 2"),
    (("services.secrets-rotate", "--only", "redis"), "would change the secrets of redis"),
    (("services.upgrade",), "would upgrade nats, postgres, redis, one by one"),
]


def test_every_verb_is_tried_dry_and_says_what_it_does() -> None:
    tried = {words[0].removeprefix("services.") for words, _ in CHANGES}
    assert tried | LOOKS | ELSEWHERE == set(services.namespace.task_names)
    assert all(services.namespace[name].__doc__ for name in services.namespace.task_names)


@pytest.mark.parametrize(("words", "said"), CHANGES, ids=lambda value: " ".join(value)[:40])
def test_dry_says_what_would_be_done_and_changes_nothing(
    running: Verbs, capfd: Shown, words: tuple[str, ...], said: str
) -> None:
    root, compose, engine = running.here.settings.project.root, running.here.compose, running.here.engine
    before, objects = tree(root), copy.deepcopy(engine.objects)
    assert running.run("--dry", *words) == 0
    shown = capfd.readouterr()
    assert shown.out == ""
    assert said in shown.err
    if words[0] not in {"services.exec", "services.psql", "services.redis-cli", "services.nats"}:
        assert running.run("--dry", *words, "--json") == 0
        assert json.loads(capfd.readouterr().out)["schema"] == f"synos.{words[0]}/1"
    assert (tree(root), engine.objects, engine.built) == (before, objects, [])
    assert (compose.asked, compose.streams, running.done) == ([], [], [])
