"""Verbs that go into a service, and --dry of every verb: it says what would be done, and changes nothing."""

from __future__ import annotations

import copy
import json
import sys
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import ServiceFailed, SettingsError
from synos_tasks.services import tasks as services
from tests.unit.projects import tree
from tests.unit.service_verbs import Verbs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.service_verbs import Shown

pytestmark = pytest.mark.usefixtures("keep_signals")

EXEC = ("exec", "--no-TTY")
CLI = ("sh", "/etc/synos/cli")
BOX = ("run", "--rm", "--no-deps", "--no-TTY", "nats-box")


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Shown) -> Verbs:
    made = Verbs(tmp_path, monkeypatch)
    made.started()
    capfd.readouterr()
    return made


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("services.exec", "redis"), (*EXEC, "redis", "sh")),
        (("services.exec", "redis", "--command", "ls '/a b'"), (*EXEC, "redis", "ls", "/a b")),
        (("services.exec", "redis", "--", "ls", "/a b", ""), (*EXEC, "redis", "ls", "/a b", "")),
        (("services.exec", "redis", "--", "a", "--", "-b"), (*EXEC, "redis", "a", "--", "-b")),
        (("services.psql",), (*EXEC, "postgres", *CLI)),
        (
            ("services.psql", "--", "-c", "SELECT 'it''s', \"x\""),
            (*EXEC, "postgres", *CLI, "-c", "SELECT 'it''s', \"x\""),
        ),
        (
            ("services.psql", "--superuser", "--command", "-c 'SELECT 1'"),
            (*EXEC, "postgres", *CLI, "--superuser", "-c", "SELECT 1"),
        ),
        (("services.redis-cli", "--", "SET", "k", "a  b"), (*EXEC, "redis", *CLI, "SET", "k", "a  b")),
        (
            ("services.redis-cli", "--command", "SET k", "--", "$HOME *"),
            (*EXEC, "redis", *CLI, "SET", "k", "$HOME *"),
        ),
        (("services.nats", "--", "pub", "x", "it's"), (*BOX, "pub", "x", "it's")),
        (("services.nats", "--command", "stream ls"), (*BOX, "stream", "ls")),
        (
            ("services.logs", "--only", "redis", "--tail", "7", "--since", "10m", "--follow"),
            ("logs", "--tail=7", "--follow", "--since=10m", "redis"),
        ),
        (("services.logs",), ("logs", "--tail=100", "nats", "postgres", "redis")),
    ],
    ids=" ".join,
)
def test_words_reach_the_service_as_they_were_typed(
    running: Verbs, words: tuple[str, ...], command: tuple[str, ...]
) -> None:
    assert running.run(*words) == 0
    assert running.here.compose.streams == [command]


@pytest.mark.parametrize("verb", [("services.exec", "redis"), ("services.psql",), ("services.nats",)])
def test_the_exit_code_is_that_of_the_command(running: Verbs, verb: tuple[str, ...]) -> None:
    running.here.compose.code = 3
    assert running.run(*verb, "--", "false") == 3


def test_at_a_terminal_the_command_has_one(running: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert running.run("services.psql") == 0
    assert running.here.compose.streams == [("exec", "postgres", *CLI)]


@pytest.mark.parametrize(
    "words", [("services.exec", "redis"), ("services.redis-cli",), ("services.nats",), ("services.psql",)]
)
def test_a_service_that_does_not_run_is_told(running: Verbs, capfd: Shown, words: tuple[str, ...]) -> None:
    running.here.remove()
    assert running.run(*words, "--", "x") == ServiceFailed.exit_code
    assert "is not running" in capfd.readouterr().err
    assert running.here.compose.streams == []


def test_a_service_that_there_is_not_is_answered_with_a_suggestion(running: Verbs, capfd: Shown) -> None:
    for dry in ((), ("--dry",)):
        assert running.run(*dry, "services.exec", "postgers") == SettingsError.exit_code
        assert "did you mean 'postgres'?" in capfd.readouterr().err


def test_a_line_with_half_a_quote_is_a_mistake_in_an_option(running: Verbs, capfd: Shown) -> None:
    assert running.run("services.psql", "--command", "-c 'SELECT") == SettingsError.exit_code
    assert "put them after --" in capfd.readouterr().err
    assert running.here.compose.streams == []


LOOKS = {"logs", "status", "backups", "config"}
"""Verbs that only look, and do so with --dry too."""
CHANGES = [
    (("services.up",), "would start nats, postgres, redis of stack unified"),
    (("services.up", "--only", "redis"), "would start redis of stack unified"),
    (("services.down",), "would stop stack unified, and remove no data"),
    (("services.down", "--volumes", "--yes"), "synos-test-unified_postgres"),
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


def test_every_verb_is_tried_dry() -> None:
    tried = {words[0].removeprefix("services.") for words, _ in CHANGES}
    assert tried | LOOKS == set(services.namespace.task_names)


@pytest.mark.parametrize(("words", "said"), CHANGES, ids=lambda value: " ".join(value)[:40])
def test_dry_says_what_would_be_done_and_changes_nothing(
    running: Verbs, capfd: Shown, words: tuple[str, ...], said: str
) -> None:
    root = running.here.settings.root
    before, objects = tree(root), copy.deepcopy(running.here.engine.objects)
    assert running.run("--dry", *words) == 0
    shown = capfd.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert tree(root) == before
    compose, engine = running.here.compose, running.here.engine
    assert (compose.asked, compose.streams) == ([], [])
    assert (engine.built, engine.objects) == ([], objects)
    assert running.done == []


@pytest.mark.parametrize(
    "words",
    [
        words
        for words, _ in CHANGES
        if words[0].partition(".")[2] not in {"exec", "psql", "redis-cli", "nats"}
    ],
    ids=" ".join,
)
def test_dry_gives_one_object_as_well(running: Verbs, capfd: Shown, words: tuple[str, ...]) -> None:
    assert running.run("--dry", *words, "--json") == 0
    assert json.loads(capfd.readouterr().out)["schema"] == f"synos.{words[0]}/1"


@pytest.mark.parametrize("words", [("services.logs",), ("services.status",), ("services.backups",)])
def test_dry_of_what_only_looks_looks(running: Verbs, words: tuple[str, ...]) -> None:
    before = tree(running.here.settings.root)
    assert running.run("--dry", *words) == 0
    assert tree(running.here.settings.root) == before
    assert running.here.compose.asked == []


def test_dry_tells_what_would_be_healed_and_leaves_out_what_is_on_its_way(
    running: Verbs, capfd: Shown
) -> None:
    running.here.container("nats", health="starting")
    running.here.container("redis", health="unhealthy")
    assert running.run("--dry", "services.heal", "--json") == 0
    shown = capfd.readouterr()
    assert shown.err == "would recreate: redis\n"
    assert json.loads(shown.out)["services"] == ["redis"]


def test_dry_of_a_client_needs_no_running_service(running: Verbs, capfd: Shown) -> None:
    running.here.remove()
    for words in (("services.nats", "--", "stream", "ls"), ("services.psql",)):
        assert running.run("--dry", *words) == 0
        assert capfd.readouterr().err.startswith("would docker compose ")
