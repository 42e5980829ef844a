"""The verbs of `inv dev.*`, what they list and check, and what is said in a development container."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from invoke.config import Config
from invoke.context import Context

from synos_tasks.cli import Command
from synos_tasks.dev import code, doctor, official, tasks
from synos_tasks.dev.listing import listed
from synos_tasks.engine import running
from synos_tasks.errors import EngineUnavailable, HostUnfit
from tests.unit.fake_dev import Scene, container, scene, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A project that the verbs work on, with containers `one` and `two`."""
    made = scene(tmp_path, name="one")
    monkeypatch.setattr(tasks, "_session", lambda _command: made.session)
    monkeypatch.setattr("synos_tasks.cli.settings.load", lambda *_, **__: made.session.settings)
    made.config("two")
    made.config("one")
    return made


def run(task: Any, **options: Any) -> None:  # noqa: ANN401
    task(Context(Config(overrides={"run": {"dry": options.pop("dry", False)}})), **options)


def test_up_shell_and_down(here: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    run(tasks.up, json=True)
    told = json.loads(capfd.readouterr().out)
    assert (told["schema"], told["name"], told["by"]) == ("synos.dev.up/1", "one", "docker")
    with pytest.raises(SystemExit) as ended:
        run(tasks.shell)
    assert ended.value.code == 0
    assert here.containers.asked[-1][2] == ["bash", "--login"]
    run(tasks.rebuild, name="two", json=True)
    capfd.readouterr()
    run(tasks.down, all=True, json=True)
    assert json.loads(capfd.readouterr().out)["removed"] == ["quirky_name"] * 2
    run(tasks.down)
    assert "nothing to do" in capfd.readouterr().err


@pytest.mark.parametrize(
    "task", [tasks.up, tasks.rebuild, tasks.shell, tasks.code, tasks.down, tasks.prepare]
)
def test_dry_changes_nothing(here: Scene, capfd: pytest.CaptureFixture[str], task: Any) -> None:  # noqa: ANN401
    run(task, dry=True)
    assert capfd.readouterr().err.startswith("would ")
    assert here.containers.asked == []
    assert not here.session.state.exists()


def test_all_are_listed_made_or_not(here: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    here.containers.there = [container(here.config("two").labels)]
    rows = {row.name: row for row in listed(here.session)}
    assert (rows["one"].state, rows["two"].state, rows["two"].container) == (
        "absent",
        "running",
        "quirky_name",
    )
    run(tasks.list_)
    assert "absent" in capfd.readouterr().err


def test_vs_code_is_opened_or_said_how_to(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    config = here.config("one")
    there = container(config.labels)
    ran: list[list[str]] = []

    def done(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(argv)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(subprocess, "run", done)
    monkeypatch.setattr(shutil, "which", {"code": "/bin/code"}.get)
    code.open_editor(config, there)
    attached = json.dumps({"containerName": "/quirky_name"}, separators=(",", ":")).encode().hex()
    assert ran == [
        [
            "/bin/code",
            "--folder-uri",
            f"vscode-remote://attached-container+{attached}{here.session.settings.root}",
        ]
    ]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(HostUnfit) as caught:
        code.open_editor(config, there)
    assert "Reopen in Container" in caught.value.hint
    assert attached in caught.value.hint


def test_doctor_finds_what_breaks_our_promises(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda _: "")
    monkeypatch.setattr(official, "find", lambda _: None)
    monkeypatch.setattr(official, "node_major", lambda: 0)
    labels = here.config("one").labels
    here.containers.there = [
        container(labels, name="good"),
        container(labels, name="open", sources=("/var/run/docker.sock",)),
        container(labels, name="bad", privileged=True),
    ]
    write(here.session.settings.root, "broken", "{")
    write(here.session.settings.root, "grand", json.dumps({"image": "x", "features": {}}))
    checks = {check.name: check for check in doctor.examine(here.session)}
    assert checks["container good"].status == "ok"
    assert checks["container open"].status == "warn"
    assert checks["container bad"].status == "fail"
    assert checks["config broken"].status == "fail"
    assert "needs the official CLI: features, image" in checks["config grand"].detail
    assert checks["config one"].detail == "can be made with Docker alone"


def test_without_an_engine_a_development_container_names_the_host(
    here: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object) -> None:
        raise EngineUnavailable("no Docker Engine answers")

    monkeypatch.setattr(here.containers, "find", none)
    for inside, code_ in ((None, 21), ("python", 28)):
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        monkeypatch.setenv("SYNOS_DEV_CONTAINER", inside or "")
        with pytest.raises(SystemExit) as ended:
            run(tasks.up)
        assert ended.value.code == code_
    assert "on the host: ./scripts/synos dev.up" in capfd.readouterr().err
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/docker.sock")  # it was given one, which is not there
    with pytest.raises(SystemExit) as ended:
        run(tasks.up)
    assert ended.value.code == 21


def test_containers_are_found_by_all_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    inspected = {
        "Id": "1", "Name": "/a", "Created": "c", "State": {"Status": "running", "StartedAt": "s"},
        "Config": {"Image": "i", "Labels": None}, "HostConfig": {"Privileged": False},
        "Mounts": [{"Type": "bind", "Source": "/x"}, {"Type": "volume", "Source": "/y"}],
    }  # fmt: skip
    asked: list[list[str]] = []

    def docker(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(argv)
        return subprocess.CompletedProcess(argv, 0, "1\n" if "ps" in argv else json.dumps([inspected]), "")

    monkeypatch.setattr(subprocess, "run", docker)
    [found] = running.DockerContainers().find({"a": "b", "c": "d e"})
    assert asked[0][-2:] == ["--filter=label=a=b", "--filter=label=c=d e"]
    assert (found.name, found.labels, found.sources) == ("a", {}, ("/x",))


def test_an_engine_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 1, "", "it says no")

    monkeypatch.setattr(subprocess, "run", refuses)
    with pytest.raises(EngineUnavailable) as caught:
        running.DockerContainers().create(["docker", "run"])
    assert caught.value.why == "it says no"


def test_code_starts_it_first_and_says_what_it_did(
    here: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(code, "open_editor", lambda config, container: f"code {config.name} {container.name}")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    run(tasks.code, name="two")
    assert [asked[0] for asked in here.containers.asked] == ["create"]
    assert capfd.readouterr().err.splitlines()[-1] == "opened: code two quirky_name"


def test_doctor_ends_with_its_code_where_a_check_fails(
    here: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    run(tasks.doctor, json=True)
    assert "error" not in json.loads(capfd.readouterr().out)
    here.containers.there = [container(here.config("one").labels, privileged=True)]
    with pytest.raises(SystemExit) as ended:
        run(tasks.doctor, json=True)
    assert ended.value.code == 41
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "DoctorFound"


def test_the_list_is_one_object_for_scripts(here: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    run(tasks.list_, json=True)
    told = json.loads(capfd.readouterr().out)
    assert (told["schema"], [one["name"] for one in told["containers"]]) == (
        "synos.dev.list/1",
        ["one", "two"],
    )


def test_prepare_is_for_the_one_that_is_named(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []
    monkeypatch.setattr("synos_tasks.dev.prepare.prepare", lambda _, config: prepared.append(config.name))
    run(tasks.prepare, name="two")
    run(tasks.prepare)
    assert prepared == ["two", "one"]


@pytest.mark.parametrize(
    ("task", "options"),
    [(tasks.up, {"docker": "yes"}), (tasks.rebuild, {"docker": "yes"}), (tasks.down, {"name": "tow"})],
)
def test_a_wrong_option_ends_with_its_code_and_changes_nothing(
    here: Scene,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    task: Any,  # noqa: ANN401
    options: dict[str, str],
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    here.containers.there = [container(here.config("one").labels)]
    with pytest.raises(SystemExit) as ended:
        run(task, **options, json=True)
    assert ended.value.code == 12
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "SettingsError"
    assert (len(here.containers.there), here.containers.asked) == (1, [])


def test_a_session_reaches_the_real_engine() -> None:
    command = Command("dev.up", Context(Config(overrides={"synos": {"dev": {"cli": "docker"}}})), json=False)
    session = tasks._session(command)
    assert isinstance(session.containers, running.DockerContainers)
    assert session.settings.dev.cli == "docker"
