"""The verbs maint.volumes, maint.archive and maint.logs: what they take, print, and leave alone under --dry."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from invoke.collection import Collection
from invoke.config import Config
from invoke.context import Context
from invoke.program import Program

from synos_tasks import console
from synos_tasks.engine.volumes import User
from synos_tasks.maint import keeping_tasks as tasks
from synos_tasks.maint.logs import folder_of
from synos_tasks.maint.unfinished import MARK
from tests.iso_sets import lay_iso
from tests.unit.fake_volumes import NOW, PROJECT, Ground, ground
from tests.unit.projects import tree

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86400.0
OLD = "0" * 12
NAME = f"synos-mini-{OLD}"
pytestmark = pytest.mark.usefixtures("keep_signals")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """A project with a volume, two ISOs and a log."""
    made = ground(tmp_path)
    monkeypatch.setattr(tasks, "_means", lambda _command: made.means)
    monkeypatch.setattr("synos_tasks.cli.settings.load", lambda *_: made.means.settings)
    made.volumes.add("data", "a", "b", users=(User(name="app", state="running"),))
    made.volumes.add("alias", device=f"/engine/{PROJECT}-data")
    lay_iso(made.means.settings.output_dir, "mini", OLD, NOW - 90 * DAY)
    lay_iso(made.means.settings.output_dir, "mini", "1" * 12, NOW - 40 * DAY)
    folder_of(made.means.settings).mkdir(parents=True)
    log = folder_of(made.means.settings) / "20200101T000000-build-x.log"
    log.write_text("said\n")
    os.utime(log, (0, 0))
    return made


def run(task: Any, **options: Any) -> None:  # noqa: ANN401
    task(Context(Config(overrides={"run": {"dry": options.pop("dry", False)}})), **options)


def told(capfd: pytest.CaptureFixture[str], task: Any, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Run a verb with --json; one object and nothing else is on standard output."""
    capfd.readouterr()
    run(task, json=True, **options)
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def refused(capfd: pytest.CaptureFixture[str], task: Any, **options: Any) -> str:  # noqa: ANN401
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(task, **options)
    assert ended.value.code == 12
    return capfd.readouterr().err


def test_volumes_are_listed(here: Ground, capfd: pytest.CaptureFixture[str]) -> None:
    run(tasks.volumes)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == f"volumes of {PROJECT}: 0.0 MB"
    assert lines[2].split() == ["alias", "cache", "-", "2027-01-15", "app", "(runs)", "another", "name", "of",
                                f"{PROJECT}-data"]  # fmt: skip
    found = told(capfd, tasks.volumes)
    assert (found["schema"], found["bytes"]) == ("synos.maint.volumes/1", 100)
    assert [one["short"] for one in found["volumes"]] == ["alias", "data"]


def test_one_is_inspected_exported_imported_and_cloned(
    here: Ground, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    to = tmp_path / "data.tar.zst"
    assert told(capfd, tasks.volumes, export="data", to=str(to))["files"] == 2
    assert told(capfd, tasks.volumes, export="data")["file"].startswith(str(here.exports))
    found = told(capfd, tasks.volumes, inspect="data")
    assert (found["files"], len(found["exports"])) == (2, 1)
    run(tasks.volumes, inspect="data")
    assert "newest change: 2027-01-15T08:00:00Z" in capfd.readouterr().err
    assert told(capfd, tasks.volumes, import_=str(to), name="new") == {
        "schema": "synos.maint.volumes/1", "volume": f"{PROJECT}-new", "files": 2,
    }  # fmt: skip
    assert told(capfd, tasks.volumes, clone="new", to="newer")["volume"] == f"{PROJECT}-newer"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inspect": "data", "export": "data"}, "--inspect and --export are two things"),
        ({"to": "x"}, "--to says nothing here"),
        ({"inspect": "data", "name": "x"}, "--name says nothing here"),
        ({"clone": "data"}, "--clone needs a name"),
        ({"clone": "none", "to": "x"}, "there is no volume 'none'"),
        ({"import_": "none"}, "there is no export none"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    here: Ground, capfd: pytest.CaptureFixture[str], options: dict[str, str], said: str
) -> None:
    assert said in refused(capfd, tasks.volumes, **options)


def test_an_old_iso_goes_and_comes_back(here: Ground, capfd: pytest.CaptureFixture[str]) -> None:
    done = told(capfd, tasks.archive, keep_last="1", yes=True)
    assert [one["name"] for one in done["archived"]] == [NAME]
    assert told(capfd, tasks.archive, list=True)["archives"][0]["trouble"] == ""
    run(tasks.archive, list=True)
    assert NAME in capfd.readouterr().err
    assert told(capfd, tasks.archive, restore=NAME)["files"][0].endswith(f"{NAME}.iso")
    run(tasks.archive, older_than="52w")
    assert "nothing to do" in capfd.readouterr().err


def test_what_goes_is_shown_before_and_asked_about(
    here: Ground, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(here.means.settings.root)
    assert "nothing was archived: there is nobody to ask" in refused(capfd, tasks.archive, keep_last="1")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    asked: list[str] = []

    def answer(*, agrees: bool) -> None:
        def agreed(question: str) -> bool:
            asked.append(capfd.readouterr().err + question)
            return agrees

        monkeypatch.setattr(console, "agreed", agreed)

    answer(agrees=False)
    assert "the answer was no" in refused(capfd, tasks.archive, keep_last="1")
    assert f"to be archived: {NAME}.iso: 0.0 MB" in asked[0]
    assert "1 ISOs of 0.0 MB" in asked[0]
    assert "Archive them, and remove the originals?" in asked[0]
    assert tree(here.means.settings.root) == before
    answer(agrees=True)
    run(tasks.archive, keep_last="1")
    assert "archived 1 ISOs" in capfd.readouterr().err
    run(tasks.archive, keep_last="1")
    assert len(asked) == 2, "nobody is asked about nothing"


def test_what_another_command_has_archived_meanwhile_is_told(
    here: Ground, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*_: object, **__: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("synos_tasks.maint.asking.confirm", lambda *_, **__: None)
            run(tasks.archive, keep_last="1")

    monkeypatch.setattr("synos_tasks.maint.asking.confirm", other)
    run(tasks.archive, keep_last="1")
    said = capfd.readouterr().err
    assert f"left alone: {NAME}.iso: another command archived it" in said
    assert said.splitlines()[-1] == "nothing was archived"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"older_than": "soon"}, "'soon' is no age"),
        ({"keep_last": "0"}, "--keep-last 0 would keep none"),
        ({"keep_last": "-1"}, "--keep-last -1 is no number of ISOs"),
        ({"keep_last": "many"}, "--keep-last many is no number of ISOs"),
        ({"restore": NAME, "list": True}, "are two things"),
        ({"restore": NAME}, "there is no archive"),
    ],
)
def test_what_archive_cannot_do_is_named(
    here: Ground, capfd: pytest.CaptureFixture[str], options: dict[str, Any], said: str
) -> None:
    assert said in refused(capfd, tasks.archive, **options)


def test_old_logs_go(here: Ground, capfd: pytest.CaptureFixture[str]) -> None:
    assert told(capfd, tasks.logs, days="0")["removed"] == []
    assert told(capfd, tasks.logs)["removed"] == ["20200101T000000-build-x.log.gz"]


@pytest.mark.parametrize("days", ["-1", "-2", "1.5", "x", "٣", "1e3", "9" * 5000])
def test_days_that_are_no_number_remove_nothing(
    here: Ground, capfd: pytest.CaptureFixture[str], days: str
) -> None:
    before = tree(here.means.settings.root)
    assert f"--days {days} is no number of days" in refused(capfd, tasks.logs, days=days)
    assert tree(here.means.settings.root) == before


def test_what_is_typed_gets_to_the_verb_as_it_is(here: Ground, capfd: pytest.CaptureFixture[str]) -> None:
    """Invoke itself would end with a traceback where an option is to be a number and is none."""
    for words in (
        ["maint.logs", "--days", "x"],
        ["maint.logs", "--days=-1"],
        ["maint.archive", "--keep-last=x"],
    ):
        namespace = Collection()
        namespace.add_collection(Collection("maint", *tasks.VERBS), "maint")
        with pytest.raises(SystemExit) as ended:
            Program(namespace=namespace, name="inv").run(["inv", *words], exit=False)
        assert ended.value.code == 12
        assert "is no number" in capfd.readouterr().err


def test_dry_refuses_what_would_be_refused(here: Ground, capfd: pytest.CaptureFixture[str]) -> None:
    here.exports.mkdir(parents=True)
    (here.exports / f"{MARK}{PROJECT}-data").write_text("token")
    for options in ({"export": "data"}, {"clone": "data", "to": "new"}):
        assert "is not whole" in refused(capfd, tasks.volumes, dry=True, **options)


def test_dry_changes_nothing(here: Ground, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    export = told(capfd, tasks.volumes, export="data")["file"]
    told(capfd, tasks.archive, keep_last="1", yes=True)
    told(capfd, tasks.archive, restore=NAME)
    before, facts, count = tree(tmp_path), dict(here.volumes.facts), len(here.volumes.specs)
    given: list[tuple[Any, dict[str, Any]]] = [
        (tasks.volumes, {"inspect": "data"}),
        (tasks.volumes, {"export": "data", "to": str(tmp_path / "x")}),
        (tasks.volumes, {"import_": export, "name": "new"}),
        (tasks.volumes, {"clone": "data", "to": "new"}),
        (tasks.archive, {"keep_last": "1"}),
        (tasks.archive, {"restore": NAME}),
        (tasks.logs, {}),
    ]
    for task, options in given:
        told(capfd, task, dry=True, **options)
        run(task, dry=True, **options)
        assert "would" in capfd.readouterr().err
    assert (tree(tmp_path), here.volumes.facts, len(here.volumes.specs)) == (before, facts, count)
