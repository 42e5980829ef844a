"""Making a container without the official CLI, its lifecycle, and what comes before it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from synos_tasks.dev import host, lifecycle, making, official, shell, starting, volumes
from synos_tasks.dev import prepare as preparing
from synos_tasks.dev.prepare import prepare
from synos_tasks.dev.variables import devcontainer_id
from synos_tasks.engine.running import Inside, exec_argv
from synos_tasks.errors import DevContainerMissing, HookFailed, HostUnfit, SettingsError
from synos_tasks.images.base import BOOKWORM
from tests.unit.fake_dev import Scene, container, scene


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    return scene(tmp_path)


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """git is a process, and an engine elsewhere is refused."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(host, "identity", lambda _root: "")


def test_the_command_is_that_of_the_official_cli(here: Scene) -> None:
    config = here.config(containerEnv={"A": "b c"}, capAdd=["SYS_PTRACE"])
    argv = making.run_argv("synos-1", config, "an-image", ["--extra"])
    root = here.session.settings.root
    assert argv[:4] == ["docker", "run", "--detach", "--pull=never"]
    for word in (
        f"--mount=type=bind,source={root},target={root}",
        f"--mount=type=volume,source=synos-{devcontainer_id(config.labels)}-ccache,target=/var/cache/ccache",
        f"--label=devcontainer.local_folder={root}",
        f"--label=devcontainer.config_file={config.path}",
        "--label=io.synos.project=synos-1",
        "--cap-drop=ALL", "--init", "--cap-add=SYS_PTRACE", "--security-opt=no-new-privileges", "--env=A=b c", "--extra",
    ):  # fmt: skip
        assert word in argv
    assert argv[-5:] == ["--entrypoint=/bin/sh", "an-image", "-c", making.KEEP_RUNNING, "-"]
    own = making.run_argv("synos-1", here.config(overrideCommand=False), "an-image", [])
    assert own[-1] == "an-image"


def test_what_vs_code_is_told_is_in_a_label(here: Scene) -> None:
    config = here.config(customizations={"vscode": {"extensions": ["a.b"]}})
    [told] = json.loads(making.metadata(config))
    assert told["customizations"] == {"vscode": {"extensions": ["a.b"]}}
    assert told["remoteUser"] == "dev"
    assert "build" not in told


def test_keys_of_the_official_cli_alone_are_refused_by_name(here: Scene) -> None:
    with pytest.raises(SettingsError, match="features, gpu"):
        making.make(here.session, here.config(features={}, gpu=1), [], cached=True)


def test_a_compose_file_gets_the_labels(here: Scene) -> None:
    changes = {
        "build": None,
        "dockerComposeFile": ["a.yml", "b.yml"],
        "service": "dev",
        "runServices": ["dev"],
    }
    config = here.config("two", **changes)
    here.session.state.mkdir(parents=True)
    making.make(here.session, config, [], cached=False)
    [compose] = here.composes
    override = json.loads((here.session.state / "two.labels.yml").read_text())
    assert override["services"]["dev"]["labels"]["devcontainer.config_file"] == str(config.path)
    assert compose.file.overrides[-1] == here.session.state / "two.labels.yml"
    assert compose.file.path == config.path.parent / "a.yml"
    assert compose.ran == [("build", "--no-cache", "dev"), ("up", "--detach", "--no-build", "dev", "dev")]
    with pytest.raises(SettingsError, match="--docker is not for two"):
        starting.up(here.session, config, docker="socket")


ALL = {stage: f"echo {stage}" for stage in (*lifecycle.ONCE, lifecycle.STARTED, lifecycle.ATTACHED)}


def test_lifecycle_commands_run_once_in_order(here: Scene) -> None:
    config = here.config(**ALL)
    there = container(config.labels)
    lifecycle.run_all(here.session, config, there)
    assert here.containers.asked == list(ALL.values())
    here.containers.asked.clear()
    lifecycle.run_all(here.session, config, there)
    assert here.containers.asked == ["echo postAttachCommand"]
    here.containers.asked.clear()
    lifecycle.run_all(here.session, config, container(config.labels, started="later"))
    assert here.containers.asked == ["echo postStartCommand", "echo postAttachCommand"]


def test_what_comes_after_a_failed_command_is_not_run(here: Scene) -> None:
    config = here.config(**ALL)
    here.containers.codes["echo updateContentCommand"] = 7
    with pytest.raises(HookFailed, match="updateContentCommand failed with exit code 7"):
        lifecycle.run_all(here.session, config, container(config.labels))
    assert here.containers.asked == ["echo onCreateCommand", "echo updateContentCommand"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a b", [("", ["/bin/sh", "-c", "a b"])]),
        (["a", "b c"], [("", ["a", "b c"])]),
        ({"x": "a", "y": ["b"]}, [("x", ["/bin/sh", "-c", "a"]), ("y", ["b"])]),
        ("", []),
        ([], []),
    ],
)
def test_a_command_has_three_forms(value: Any, words: list[tuple[str, list[str]]]) -> None:  # noqa: ANN401
    assert lifecycle.commands(value) == words


def test_up_makes_it_and_a_second_time_nothing_is_to_do(here: Scene) -> None:
    config = here.config(postStartCommand="echo started")
    first = starting.up(here.session, config)
    assert (first.by, first.user, first.folder) == ("docker", "dev", str(here.session.settings.root))
    assert "echo started" in here.containers.asked
    here.containers.asked.clear()
    again = starting.up(here.session, config)
    assert (again.by, again.container) == ("running", first.container)
    assert here.containers.asked == []
    assert starting.down(here.session, config) == [first.container]
    assert starting.down(here.session, config) == []


def test_a_rebuild_that_cannot_be_leaves_the_old_one(here: Scene) -> None:
    config = here.config()
    starting.up(here.session, config)
    with pytest.raises(SettingsError):
        starting.rebuild(here.session, config, docker="yes")
    assert len(here.containers.there) == 1
    assert starting.rebuild(here.session, config).by == "docker"


@pytest.mark.parametrize(("told", "major"), [("v20.20.2\n", 20), ("", 0), ("v8", 8)])
def test_the_version_of_node_is_asked_for(monkeypatch: pytest.MonkeyPatch, told: str, major: int) -> None:
    done = subprocess.CompletedProcess(["node"], 0, told, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert official.node_major() == major


def test_one_that_has_ended_is_started(here: Scene) -> None:
    config = here.config()
    here.containers.there = [container(config.labels, state="exited")]
    assert starting.up(here.session, config).by == "docker"
    assert ("start", "1" * 64) in here.containers.asked


def test_scripts_synos_is_left_what_it_needs(here: Scene) -> None:
    config = here.config(remoteEnv={"A": "b c"})
    starting.up(here.session, config)
    lines = (here.session.state / "one.shell").read_text().splitlines()
    assert lines == [
        "1" * 64,
        str(config.path),
        "--user=dev",
        f"--workdir={here.session.settings.root}",
        "--env=A=b c",
    ]
    starting.down(here.session, config)
    assert not list(here.session.state.glob("*.shell"))


def test_a_shell_needs_a_container_that_runs(here: Scene) -> None:
    config = here.config()
    with pytest.raises(DevContainerMissing) as caught:
        shell.run(here.session, config, ["true"])
    assert caught.value.hint == "inv dev.up --name one"
    starting.up(here.session, config)
    here.containers.codes["false"] = 1
    assert shell.run(here.session, config, ["false"]) == 1
    assert here.containers.asked[-1] == ("attached", config.inside, ["false"])


@pytest.mark.parametrize(
    ("docker", "kind"), [("yes", SettingsError), ("rootless", HostUnfit), ("socket", HostUnfit)]
)
def test_a_socket_that_is_not_there(
    here: Scene, monkeypatch: pytest.MonkeyPatch, docker: str, kind: type[Exception]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(here.session.settings.root))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    with pytest.raises(kind):
        starting.up(here.session, here.config(), docker=docker)
    assert here.containers.there == []


def test_an_engine_elsewhere_has_not_the_projects_folder(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2376")
    with pytest.raises(HostUnfit, match="on another machine"):
        starting.up(here.session, here.config())


def test_the_rootless_engines_socket_is_mounted(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    root = here.session.settings.root
    (root / "docker.sock").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(root))
    options = starting.socket_options(here.session, here.config(), "rootless")
    assert options[0] == f"--mount=type=bind,source={root}/docker.sock,target=/run/docker.sock"
    assert here.said == []
    late = here.config()
    here.containers.there = [container(late.labels)]
    with pytest.raises(DevContainerMissing, match="without an engine's socket"):
        starting.up(here.session, late, docker="rootless")


def test_the_official_cli_is_used_where_it_is_and_named_where_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {"devcontainer": "/bin/devcontainer"}
    monkeypatch.setattr(shutil, "which", paths.get)
    assert official.ensure(scene(tmp_path, cli="auto").session) == Path("/bin/devcontainer")
    assert official.ensure(scene(tmp_path, cli="docker").session) is None
    paths.clear()
    assert official.ensure(scene(tmp_path, cli="auto").session) is None
    with pytest.raises(HostUnfit, match="no @devcontainers/cli"):
        official.ensure(scene(tmp_path, cli="official").session)


@pytest.mark.parametrize("broken", ["fails", "hangs"])
def test_npm_that_does_not_install_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if broken == "hangs":
            raise subprocess.TimeoutExpired(argv, 120)
        return subprocess.CompletedProcess(argv, 1, "", "npm error network\nnpm error no answer")

    here = scene(tmp_path, cli="auto")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name != "devcontainer" else None)
    monkeypatch.setattr(official, "node_major", lambda: 20)
    monkeypatch.setattr(subprocess, "run", run)
    assert official.ensure(here.session) is None
    assert here.said[-1].endswith("going on without it")
    assert ("no answer" if broken == "fails" else "more than 120 s") in here.said[-1]


def test_the_official_clis_outcome_is_its_last_line() -> None:
    assert official.outcome(["x", '{"a": 1}', '{"outcome":"error","message":"why"}', ""])["message"] == "why"
    assert official.outcome(["nothing", "[1]"]) == {}


def test_of_the_official_clis_words_steps_and_commands_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    lines = [
        "[2026-01-01T00:00:00.0Z] Start: Run: docker buildx build\n",
        "#1 [internal] load build definition\n",
        "#2 [python 1/2] RUN apt-get update && apt-get install x\n",
        "#2 [python 1/2] RUN apt-get update && apt-get install x\n",
        "#2 DONE 1.0s\n",
        "[2026-01-01T00:00:00.0Z] \x1b[1mRunning the postCreateCommand from devcontainer.json...\n",
        "what the command prints\n",
    ]
    with (tmp_path / "log").open("w") as kept:
        official.tell(lines, kept, said.append)
    assert said[0] == "  [python 1/2] RUN apt-get update"
    assert "Running the postCreateCommand" in said[1]
    assert said[2:] == ["what the command prints"]
    assert (tmp_path / "log").read_text() == "".join(lines)


def test_everything_is_prepared_once(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    based: list[str] = []
    monkeypatch.setattr(
        preparing, "ensure_base", lambda _settings, _engine, base, _say: based.append(base.tag)
    )
    monkeypatch.setattr(host, "ids", lambda: (1000, 1000))
    config = here.config()
    prepare(here.session, config)
    project, ident = here.session.settings.project_id, devcontainer_id(config.labels)
    assert based == [BOOKWORM.tag]
    assert (here.session.state / "host/owner").read_text() == "1000 1000\n"
    assert here.containers.asked == [
        ("give", f"{project}-ccache", (1000, 1000)),
        ("alias", f"synos-{ident}-ccache", f"{project}-ccache"),
    ]
    here.containers.asked.clear()
    here.engine.volumes[f"synos-{ident}-ccache"] = {"io.synos.project": project}
    prepare(here.session, config)
    assert here.containers.asked == []


def test_what_is_joined_to_services_needs_them(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "ensure_base", lambda *_: None)
    changes = {
        "build": None,
        "mounts": None,
        "dockerComposeFile": ["../../.synos/dev/full.yml"],
        "service": "dev",
    }
    config = here.config("full", **changes)
    with pytest.raises(DevContainerMissing) as caught:
        prepare(here.session, config)
    assert caught.value.hint == "inv services.up"
    network = f"{here.session.settings.project_id}-unified_data"
    here.containers.networks.add(network)
    prepare(here.session, config)
    model = json.loads((here.session.state / "full.yml").read_text())
    assert model["networks"]["data"] == {"name": network, "external": True}
    root = str(here.session.settings.root)
    project, secrets, *_ = model["services"]["dev"]["volumes"]
    assert project == {"type": "bind", "source": root, "target": root}
    assert secrets["source"] == f"{root}/.synos/services/unified/secrets"
    assert secrets["read_only"] is True


def test_the_owner_is_the_caller_or_for_root_whoever_has_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path.stat()
    assert host.owner(tmp_path, (1234, 5), rootless=False) == (1234, 5)
    assert host.owner(tmp_path, (0, 0), rootless=False) == (mine.st_uid, mine.st_gid)
    assert host.owner(tmp_path, (1234, 5), rootless=True) == (0, 0)


def test_the_hosts_trust_is_read_from_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "pem").write_text("certificates")
    assert host.certificates({"SSL_CERT_FILE": str(tmp_path / "pem")}, tmp_path / "no") == "certificates"
    assert host.certificates({}, tmp_path / "pem") == "certificates"
    assert host.certificates({}, tmp_path / "no") == ""


def test_files_are_written_only_where_they_differ(tmp_path: Path) -> None:
    assert host.write(tmp_path, {"a": "1", "b": "2"}) == ["a", "b"]
    assert host.write(tmp_path, {"a": "1", "b": "3"}) == ["b"]


def test_who_is_not_the_builders_user_has_caches_apart() -> None:
    sources = [f"synos-ID-{kind}" for kind in ("ccache", "uv", "history", "other")] + ["somebodys-ccache"]
    found = {volume.name: volume.behind for volume in volumes.plan("p", sources, "ID", 1000)}
    assert found == {"synos-ID-ccache": "p-ccache", "synos-ID-uv": "p-uv", "synos-ID-history": ""}
    assert [volume.behind for volume in volumes.plan("p", sources, "ID", 7)] == ["p-ccache-7", "p-uv-7", ""]


def test_the_command_that_goes_into_a_container() -> None:
    inside = Inside(user="dev", folder="/a b", environment={"A": "b c"})
    argv = exec_argv("x", inside, ["true"], terminal=True, interactive=True)
    assert argv == [
        "docker", "exec", "--interactive", "--tty", "--user=dev", "--workdir=/a b", "--env=A=b c", "x", "true",
    ]  # fmt: skip
