"""The verb maint.volumes: what it takes, prints, and leaves alone under --dry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from invoke.config import Config
from invoke.context import Context

from synos_tasks.engine.labels import LABEL_MARK
from synos_tasks.maint import tasks
from synos_tasks.maint.volumes import MARK
from tests.unit.fake_volumes import PROJECT, Ground, ground
from tests.unit.projects import tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("keep_signals")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """A project with a volume, and another name of it."""
    made = ground(tmp_path, monkeypatch)
    monkeypatch.setattr(tasks, "context_of", lambda _command: made.context)
    monkeypatch.setattr("synos_tasks.settings.load", lambda *_, **__: made.context.settings)
    made.use(made.add("data", "a", "b"))
    made.add("alias", device=f"{made.docker.root_dir}/volumes/{PROJECT}-data/_data")
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
        ({"inspect": "data", "export": "data"}, "--inspect and --export cannot be combined"),
        ({"to": "x"}, "--to is only valid with --export or --clone"),
        ({"inspect": "data", "name": "x"}, "--name is only valid with --import"),
        ({"clone": "data"}, "--clone needs a name"),
        ({"clone": "none", "to": "x"}, "there is no volume 'none'"),
        ({"import_": "none"}, "there is no export none"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    here: Ground, capfd: pytest.CaptureFixture[str], options: dict[str, str], said: str
) -> None:
    assert said in refused(capfd, tasks.volumes, **options)


def test_dry_refuses_what_would_be_refused(here: Ground, capfd: pytest.CaptureFixture[str]) -> None:
    here.exports.mkdir(parents=True)
    (here.exports / f"{MARK}token").touch()
    here.labels(f"{PROJECT}-data")[LABEL_MARK] = f"{MARK}token"
    for options in ({"export": "data"}, {"clone": "data", "to": "new"}):
        assert "is not whole" in refused(capfd, tasks.volumes, dry=True, **options)


def test_dry_changes_nothing(here: Ground, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    export = told(capfd, tasks.volumes, export="data")["file"]
    before, there, count = tree(tmp_path), here.volumes, len(here.docker.runs)
    given: list[tuple[Any, dict[str, Any]]] = [
        (tasks.volumes, {"inspect": "data"}),
        (tasks.volumes, {"export": "data", "to": str(tmp_path / "x")}),
        (tasks.volumes, {"import_": export, "name": "new"}),
        (tasks.volumes, {"clone": "data", "to": "new"}),
    ]
    for task, options in given:
        told(capfd, task, dry=True, **options)
        run(task, dry=True, **options)
        assert "would" in capfd.readouterr().err
    assert (tree(tmp_path), here.volumes, len(here.docker.runs)) == (before, there, count)
