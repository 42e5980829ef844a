from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from invoke.collection import Collection
from invoke.program import Program

from synos_tasks import cli, errors
from synos_tasks.cli import Command, verb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("keep_signals")


@pytest.fixture(autouse=True)
def nothing_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    monkeypatch.setattr(cli, "_FOLLOWING", {})


@verb("make")
def make(command: Command, fail: bool = False, json: bool = False) -> None:
    """Make something."""
    if fail:
        raise errors.StageFailed("it failed")
    command.result({"made": True})


def run(*words: str) -> int:
    try:
        Program(namespace=Collection(make), name="inv").run(["inv", *words], exit=False)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def refuse(error: BaseException) -> Callable[[Command], None]:
    def work(_: Command) -> None:
        raise error

    return work


def test_what_follows_is_done_once_and_after_the_verb(capfd: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []
    cli.follow("make", lambda command: done.append(command.verb))
    assert run("make", "--json") == 0
    assert done == ["make"]
    assert json.loads(capfd.readouterr().out)["made"] is True


@pytest.mark.parametrize("words", [("make", "--fail"), ("--dry", "make")])
def test_nothing_follows_a_verb_that_did_nothing(words: tuple[str, ...]) -> None:
    done: list[str] = []
    cli.follow("make", lambda command: done.append(command.verb))
    run(*words)
    assert done == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.EngineUnavailable("no engine", why="it is gone"), "warning: no engine: it is gone"),
        (ZeroDivisionError("a bug"), "warning: after inv make: ZeroDivisionError: a bug"),
        (KeyboardInterrupt(), "inv make is done; what followed was interrupted"),
    ],
)
def test_what_goes_wrong_afterwards_does_not_undo_what_is_done(
    error: BaseException, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    cli.follow("make", refuse(error))
    assert run("make", "--json") == 0
    shown = capfd.readouterr()
    assert said in shown.err
    assert json.loads(shown.out)["made"] is True
