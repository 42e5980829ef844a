"""What `inv` does around each verb: JSON, errors and exit codes, questions, tasks that follow."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invoke.collection import Collection
from invoke.exceptions import Exit

from scripts.repository import quality
from scripts.repository import tasks as repository
from synos_tasks import cli, collection, console, errors
from synos_tasks.cli import Command, after_dashes, verb
from synos_tasks.host import Check
from synos_tasks.maint import retention
from synos_tasks.maint.tasks import clean_after_build
from synos_tasks.root import tasks as root
from tests.build_helpers import ROOT
from tests.unit.verbs import inv

if TYPE_CHECKING:
    from synos_tasks.maint.resources import Context

pytestmark = pytest.mark.usefixtures("keep_signals", "empty_folder")

CaptureFixture = pytest.CaptureFixture[str]
FAILURE = errors.MirrorUnreachable("no answer", where="http://mirror", why="timed\nout", hint="try later")


@verb("room.good")
def good(command: Command, name: str = "me") -> None:
    """Say hello."""
    command.result({"name": name, "cpus": command.settings.build.cpus, "dry": command.dry})


@verb("room.bad")
def bad(command: Command) -> None:
    """Fail in a way we know."""
    raise FAILURE


@verb("crash", json=False)
def crash(command: Command) -> None:
    """Fail in a way we do not."""
    raise ZeroDivisionError("a bug")


@verb("stop", json=False)
def stop(command: Command) -> None:
    """End as SIGTERM ends it."""
    os.kill(os.getpid(), signal.SIGTERM)


@verb("room.make")
def make(command: Command, fail: bool = False) -> None:
    """Make something, which another task follows."""
    if fail:
        raise FAILURE
    command.result({"made": True})


def run(*words: str, settings: dict[str, Any] | None = None) -> int:
    """Run verbs as `inv` does; give the exit code."""
    room = Collection("room", good, bad, make)
    namespace = Collection(room, crash, stop, root.doctor, repository.test, repository.lint, repository.docs)
    namespace.configure({"synos": settings or {}, cli.PROJECT_ROOT: str(Path.cwd())})
    return inv(namespace, *words)


def test_json_is_one_object_with_its_schema(capfd: CaptureFixture) -> None:
    assert run("room.good", "--json", "--name", "you") == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {"schema": "synos.room.good/1", "name": "you", "cpus": 4, "dry": False}
    assert run("--dry", "room.good", "--json") == 0
    assert json.loads(capfd.readouterr().out)["dry"] is True
    assert run("room.good") == 0
    assert capfd.readouterr().out == ""


def test_an_error_is_four_parts_and_its_exit_code(capfd: CaptureFixture) -> None:
    assert run("room.bad") == 31
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "error: no answer", "where: http://mirror", "why: timed", "  out", "hint: try later",
    ]  # fmt: skip
    assert run("room.bad", "--json") == 31
    assert json.loads(capfd.readouterr().out)["error"] == FAILURE.to_json()


def test_a_bug_is_a_sentence_and_the_traceback_is_in_a_file(tmp_path: Path, capfd: CaptureFixture) -> None:
    assert run("crash") == 1
    shown = capfd.readouterr().err
    assert "error: unexpected: ZeroDivisionError: a bug" in shown
    assert "Traceback" not in shown
    assert "ZeroDivisionError" in (tmp_path / ".synos" / "logs" / "crash.log").read_text()


def test_sigterm_is_an_interruption(capfd: CaptureFixture) -> None:
    assert run("stop") == 130
    assert "interrupted" in capfd.readouterr().err


def doctor_finds(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> None:
    monkeypatch.setattr("synos_tasks.root.doctor.examine", lambda *_: list(checks))


GOOD_CHECK = Check(name="memory", status="ok", detail="8000 MB")
BAD_CHECK = Check(name="/dev", status="fail", detail="[null] is missing", hint="restart")


def test_doctor_draws_a_table_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capfd: CaptureFixture) -> None:
    monkeypatch.setattr("synos_tasks.console.is_plain", lambda *_: False)
    monkeypatch.setenv("COLUMNS", "200")
    doctor_finds(monkeypatch, BAD_CHECK)
    assert run("doctor") == 41
    assert "[null] is missing" in capfd.readouterr().out


@pytest.mark.parametrize(("lint_code", "pytest_code"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_test_runs_all_and_says_nothing_after_pytest(
    lint_code: int, pytest_code: int, monkeypatch: pytest.MonkeyPatch, capfd: CaptureFixture
) -> None:
    def quietly(_step: quality.Step, _root: Path) -> quality.Outcome:
        return quality.Outcome(code=lint_code, output="complaints\n", seconds=0.1)

    def openly(_step: quality.Step, _root: Path) -> int:
        print("closing line", file=sys.stderr)
        return pytest_code

    monkeypatch.setattr(quality, "run_quietly", quietly)
    monkeypatch.setattr(quality, "run_openly", openly)
    assert run("test") == (42 if lint_code or pytest_code else 0)
    shown = capfd.readouterr().err
    assert shown.endswith("closing line\n")
    assert ("error: failed: ruff check, ruff format, mypy, imports, generated files\n" in shown) == lint_code


@pytest.mark.parametrize(
    ("inside", "docker_host", "kind"),
    [
        ("", "", "EngineUnavailable"),
        ("python", "", "WrongSystem"),
        ("python", "unix:///run/docker.sock", "EngineUnavailable"),  # it was given one
    ],
)
def test_in_a_development_container_a_missing_engine_is_the_hosts(
    inside: str, docker_host: str, kind: str, monkeypatch: pytest.MonkeyPatch, capfd: CaptureFixture
) -> None:
    monkeypatch.setenv("SYNOS_DEV_CONTAINER", inside)
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    failure = mock.Mock(side_effect=errors.EngineUnavailable("no Docker Engine answers"))
    monkeypatch.setattr("synos_tasks.root.doctor.examine", failure)
    assert run("doctor", "--json") == getattr(errors, kind).exit_code
    error = json.loads(capfd.readouterr().out)["error"]
    assert error["kind"] == kind
    if kind == "WrongSystem":
        assert error["where"] == "development container python"
        assert error["hint"] == "on the host: ./scripts/synos doctor"


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ([], 0),
        ([GOOD_CHECK, Check(name="x", status="warn", detail="a bit")], 0),
        ([BAD_CHECK, GOOD_CHECK, Check(name="y", status="fail", detail="no", hint="restart")], 41),
    ],
)
def test_a_report_fails_where_a_check_does(
    checks: list[Check], code: int, monkeypatch: pytest.MonkeyPatch, capfd: CaptureFixture
) -> None:
    doctor_finds(monkeypatch, *checks)
    assert run("doctor") == code
    shown = capfd.readouterr()
    assert shown.err.count("hint: restart\n") == (1 if code else 0)  # once, though two checks have it
    assert ("memory" in shown.out) == (GOOD_CHECK in checks)
    assert run("doctor", "--json") == code
    told = json.loads(capfd.readouterr().out)
    assert [check["name"] for check in told["checks"]] == [check.name for check in checks]
    assert all({"name", "status", "detail", "hint"} == set(check) for check in told["checks"])
    assert ("error" in told) == bool(code)
    assert not code or told["error"]["kind"] == "DoctorFound"


def followed(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> list[Path]:
    """Have the cleanup follow `room.make`; it notes that it ran, and fails where an error is given."""
    ran: list[Path] = []

    def apply_all(context: Context) -> tuple[list[str], bool]:
        ran.append(context.settings.project.root)
        if error is not None:
            raise error
        return [], True

    monkeypatch.setattr(retention, "apply_all", apply_all)
    monkeypatch.setattr(make, "post", [clean_after_build])
    return ran


@pytest.mark.parametrize(
    ("words", "runs"),
    [(["room.make", "--json"], 1), (["room.make", "--fail"], 0), (["--dry", "room.make"], 0)],
)
def test_a_task_follows_a_verb_that_has_succeeded_and_done_something(
    words: list[str], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = followed(monkeypatch)
    run(*words)
    assert len(ran) == runs


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            errors.EngineUnavailable("no engine", why="it is gone"),
            "warning: cleanup after the build: no engine: it is gone",
        ),
        (ZeroDivisionError("a bug"), "warning: cleanup after the build: ZeroDivisionError: a bug"),
        (KeyboardInterrupt(), "the cleanup was interrupted; the build is done"),
    ],
)
def test_what_goes_wrong_afterwards_does_not_undo_what_is_done(
    error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch, capfd: CaptureFixture
) -> None:
    followed(monkeypatch, error)
    assert run("room.make", "--json") == 0
    shown = capfd.readouterr()
    assert said in shown.err
    assert json.loads(shown.out)["made"] is True


def test_a_verb_that_only_shows_what_it_would_do_writes_nothing(tmp_path: Path) -> None:
    assert run("--dry", "room.good") == 0
    assert list(tmp_path.iterdir()) == []
    assert run("room.good") == 0
    assert [path.name for path in (tmp_path / ".synos").iterdir()] == ["id"]


class Terminal(io.StringIO):
    """Somebody sits there, or nobody does."""

    def __init__(self, text: str = "", *, there: bool = True) -> None:
        super().__init__(text)
        self.there = there

    def isatty(self) -> bool:
        return self.there


def ask(monkeypatch: pytest.MonkeyPatch, answer: str, *, stdin: bool = True, stderr: bool = True) -> Terminal:
    shown = Terminal(there=stderr)
    monkeypatch.setattr(sys, "stdin", Terminal(answer, there=stdin))
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


@pytest.mark.parametrize(
    "answer", ["y\n", "Y\n", "yes\n", " YES \n", "y", "", "\n", "n\n", "yep\n", "ye s\n", "\ny\n"]
)
def test_only_yes_agrees(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    shown = ask(monkeypatch, answer)
    is_yes = answer in {"y\n", "Y\n", "yes\n", " YES \n", "y"}
    with nullcontext() if is_yes else pytest.raises(errors.SettingsError, match="not confirmed"):
        console.confirm("Remove it?", yes=False)
    assert shown.getvalue() == "Remove it? [y/N] "


@pytest.mark.parametrize(("stdin", "stderr"), [(False, True), (True, False), (False, False)])
def test_without_a_terminal_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch, stdin: bool, stderr: bool
) -> None:
    shown = ask(monkeypatch, "y\n", stdin=stdin, stderr=stderr)
    with pytest.raises(errors.SettingsError) as caught:
        console.confirm("Remove it?", yes=False)
    assert ("--yes" in caught.value.hint, shown.getvalue()) == (True, "")


@given(st.lists(st.text().filter(lambda word: word != "--")), st.lists(st.text()))
def test_words_after_dashes_are_handed_on_as_they_are(before: list[str], after: list[str]) -> None:
    assert after_dashes([*before, "--", *after]) == after
    assert after_dashes(before) == []


def test_only_sorts_defaults_to_everything_and_refuses_what_it_does_not_know() -> None:
    assert quality.parse_only("") == ("lint", "unit", "integration", "e2e")
    assert quality.parse_only("e2e, unit") == ("unit", "e2e")
    with pytest.raises(errors.SettingsError, match="'units'"):
        quality.parse_only("unit,units")


@pytest.mark.parametrize(
    ("verb_name", "option", "text", "hint"),
    [
        ("maint.prune", "older-than", "14", "an age, as 30m, 12h, 14d or 2w"),
        ("maint.prune", "keep-last", "few", "a whole number, as 30"),
        ("maint.logs", "days", "1.5", "a whole number, as 30"),
        ("services.backups", "max-age", "soon", "an age, as 30m"),
        ("services.env", "format", "dotnev", "did you mean 'dotenv'?"),
        ("build.boot", "firmware", "x", "there are: bios, uefi, secure-boot"),
        ("build.run", "media", "floppy", "there are: cdrom, usb"),
        ("build.shell", "suite", "tirxie", "did you mean 'trixie'?"),
        ("build.component", "suite", "noble", "noble is a suite of Ubuntu"),
        ("build.components", "suite", "stable", "write trixie"),
        ("dev.up", "docker", "yes", "there are: rootless, socket"),
        ("dev.rebuild", "docker", "yes", "there are: rootless, socket"),
    ],
)
def test_a_value_of_the_wrong_kind_is_wrong_use_before_the_verb_starts(
    verb_name: str, option: str, text: str, hint: str
) -> None:
    [context] = [one for one in collection(ROOT).to_contexts() if one.name == verb_name]
    with pytest.raises(Exit) as ended:
        context.flags[f"--{option}"].set_value(text)
    assert ended.value.code == 2
    error, told = str(ended.value.message).splitlines()
    assert error == f"error: --{option} of {verb_name} is {text!r}"
    assert hint in told
