"""The verbs of `inv dev.*`: what they print for people and scripts, what they list and check, and VS Code."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from invoke.config import Config
from invoke.context import Context

from synos_tasks.dev import containers, tasks
from synos_tasks.errors import DevContainerMissing, HostUnfit, SettingsError
from tests.unit.fake_dev import Project, project, write


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that the verbs work on, with containers `one` and `two`."""
    made = project(tmp_path, monkeypatch, name="one")
    monkeypatch.setattr(tasks, "_context", lambda _command: made.context)
    monkeypatch.setattr("synos_tasks.settings.load", lambda *_, **__: made.context.settings)
    made.config("two")
    made.config("one")
    return made


def run(task: Any, **options: Any) -> None:  # noqa: ANN401
    task(Context(Config(overrides={"run": {"dry": options.pop("dry", False)}})), **options)


def test_up_shell_rebuild_and_down(here: Project, capfd: pytest.CaptureFixture[str]) -> None:
    run(tasks.up, json=True)
    told = json.loads(capfd.readouterr().out)
    assert (told["schema"], told["name"], told["by"]) == ("synos.dev.up/1", "one", "docker")
    here.codes["--login"] = 3
    with pytest.raises(SystemExit) as ended:
        run(tasks.shell)
    assert (ended.value.code, here.commands) == (3, ["--login"])
    run(tasks.rebuild, name="two", json=True)
    capfd.readouterr()
    run(tasks.down, all=True, json=True)
    assert len(json.loads(capfd.readouterr().out)["removed"]) == 2
    run(tasks.down)
    assert "nothing to do" in capfd.readouterr().err


@pytest.mark.parametrize(
    "task", [tasks.up, tasks.rebuild, tasks.shell, tasks.code, tasks.down, tasks.prepare]
)
def test_dry_changes_nothing(here: Project, capfd: pytest.CaptureFixture[str], task: Any) -> None:  # noqa: ANN401
    run(task, dry=True)
    assert capfd.readouterr().err.startswith("would ")
    assert not here.context.state.exists()


@pytest.mark.parametrize(
    ("task", "options"),
    [(task, {"name": "tow"}) for task in (tasks.up, tasks.rebuild, tasks.down)],
)
def test_a_wrong_option_ends_with_its_code_and_changes_nothing(
    here: Project,
    capfd: pytest.CaptureFixture[str],
    task: Any,  # noqa: ANN401
    options: dict[str, str],
) -> None:
    here.add(here.config("one"))
    with pytest.raises(SystemExit) as ended:
        run(task, **options, json=True)
    assert ended.value.code == 12
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "SettingsError"
    assert (here.docker.names("container"), here.composed) == (["quirky_name"], [])


@pytest.mark.parametrize("state", ["exited", "paused", "created", "dead"])
def test_one_that_does_not_run_cannot_be_entered(here: Project, state: str) -> None:
    config = here.config()
    here.add(config, state=state)
    with pytest.raises(DevContainerMissing, match="has ended") as caught:
        containers.enter(here.context, config, [])
    assert (caught.value.hint, here.commands) == ("inv dev.up --name one", [])


def test_of_several_the_newest_is_listed_and_others_are_not_ours(
    here: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    labels = here.config().labels
    here.add(here.config(), "new", state="exited")
    here.add(here.config(), "old")
    here.add(here.config(), "another clone's", labels={**labels, "devcontainer.local_folder": "/elsewhere"})
    here.add(
        here.config(), "of a clone at the same path", labels={**labels, "io.synos.project": "synos-other"}
    )
    compose = {"com.docker.compose.project": "synos-test-dev-one", "com.docker.compose.service": "dev"}
    committed = {**labels, **compose, "io.synos.project": "synos-test", "io.synos.container": ""}
    here.add(here.config(), "of an image committed from one", labels=committed)
    here.add(here.config(), "of a file that is gone", labels={**labels, "devcontainer.config_file": "/gone"})
    one, two = containers.listed(here.context)
    assert (one.title, one.state, one.container, one.started) == ("SynOS: a test", "exited", "new", "")
    assert (two.title, two.state, two.image) == ("SynOS: a test", "absent", "")
    run(tasks.list_, json=True)
    told = json.loads(capfd.readouterr().out)
    assert [row["name"] for row in told["containers"]] == ["one", "two"]
    path = write(here.root, "broken", "{")
    with pytest.raises(SettingsError) as caught:
        containers.listed(here.context)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("folder", ["/a/b", "/a b", "/c#", "/100%20", "/why?", "/é"])
def test_the_editors_address_has_the_whole_folder(here: Project, folder: str) -> None:
    found = urlsplit(containers.editor_address(here.config(workspaceFolder=folder), "it"))
    assert unquote(found.path) == folder
    assert bytes.fromhex(found.netloc.removeprefix("attached-container+")) == b'{"containerName":"/it"}'


def test_code_starts_it_first_and_opens_vs_code(
    here: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    codes = iter([0, 1])

    def editor(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(argv)
        return subprocess.CompletedProcess(argv, next(codes), "", "no display\n")

    monkeypatch.setattr(subprocess, "run", editor)
    monkeypatch.setattr(shutil, "which", {"code-insiders": "/bin/code-insiders"}.get)
    run(tasks.code, name="two")
    [container] = here.docker.names("container")
    address = containers.editor_address(here.config("two"), container)
    assert ran == [["/bin/code-insiders", "--folder-uri", address]]
    assert capfd.readouterr().err.splitlines()[-1] == f"opened: {' '.join(ran[0])}"
    with pytest.raises(HostUnfit, match="could not be opened") as caught:
        containers.open_editor(here.config("two"), container)
    assert caught.value.why == "no display"
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(HostUnfit) as caught:
        containers.open_editor(here.config("two"), container)
    assert "Reopen in Container" in caught.value.hint
    assert address in caught.value.hint


def test_doctor_finds_what_breaks_our_promises(
    here: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    config = here.config()
    here.add(config, "good")
    here.add(config, "open", binds=["/var/run/docker.sock"])
    run(tasks.doctor, json=True)
    assert "error" not in json.loads(capfd.readouterr().out)
    here.add(config, "bad", privileged=True)
    write(here.root, "broken", "{")
    write(here.root, "grand", json.dumps({"image": "x", "features": {}}))
    checks = {check.name: check for check in containers.examine(here.context)}
    assert "containers are made with Docker alone" in checks["official CLI"].detail
    statuses = {name: checks[f"container {name}"].status for name in ("good", "open", "bad")}
    assert statuses == {"good": "ok", "open": "warn", "bad": "fail"}
    assert checks["config broken"].status == "fail"
    assert "needs the official CLI: features, image" in checks["config grand"].detail
    assert checks["config one"].detail == "can be made with Docker alone"
    with pytest.raises(SystemExit) as ended:
        run(tasks.doctor, json=True)
    assert ended.value.code == 41
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "DoctorFound"
