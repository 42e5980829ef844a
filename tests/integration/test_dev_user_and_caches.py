"""Whose files come out of a development container, what outlives it, and in which order its commands run."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import docker
from tests.conftest import remove_labelled
from tests.dev_clones import dev_clone, in_container, inside, inspected, made_by, remove_dev_containers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from synos_tasks.engine.client import Docker
    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration

STAGES = (
    "initializeCommand",
    "onCreateCommand",
    "updateContentCommand",
    "postCreateCommand",
    "postStartCommand",
    "postAttachCommand",
)
PROGRAM = "int answer(void) { return 42; }\n"
AS_IN_A_SHELL = (
    "cd /project/docker/build && CCACHE_DIR=/var/cache/ccache CCACHE_COMPILERCHECK=content CCACHE_NOHASHDIR=1 "
    "ccache /usr/bin/gcc -c -o /tmp/answer.o answer.c"
)
AS_IN_AN_EDITOR = "cd docker/build && gcc -c -o /tmp/answer.o answer.c && ccache --print-stats | grep -E '^(direct|preprocessed)_cache_hit'"


@pytest.fixture
def project(tmp_path: Path, engine: Docker, official_cli: None) -> Iterator[Clone]:
    """A clone with development containers of its own."""
    clone = dev_clone(tmp_path)
    yield clone
    remove_dev_containers(clone)
    remove_labelled(clone.settings.project.id)


def give(clone: Clone, uid: int) -> None:
    """Have the project belong to a user."""
    subprocess.run(["chown", "-R", f"{uid}:{uid}", str(clone.root)], check=True)


@pytest.mark.parametrize(("uid", "maker"), [(1000, "official"), (1234, "docker"), (0, "docker")])
def test_files_made_inside_belong_to_the_user_outside(project: Clone, uid: int, maker: str) -> None:
    made_by(project, maker)
    give(project, uid)
    project.inv("dev.up")
    script = """
        mkdir -p made && echo text >made/file && id -u && whoami
        git init -q . && git -c user.name=x -c user.email=x@example.invalid commit -q --allow-empty -m first
        git log --format=%s && uv --version >/dev/null && touch ~/mine /var/cache/uv/mine
    """
    printed = inside(project, "python", "bash", "-euc", script).split()
    assert printed == [str(uid), "dev", "first"]
    for path in (project.root / "made/file", project.root / ".git/HEAD"):
        assert (path.stat().st_uid, path.stat().st_gid) == (uid, uid)
    # and the other way: what the user outside makes can be changed inside
    outside = project.root / "outside"
    outside.write_text("from outside")
    give(project, uid)
    outside.chmod(0o600)
    inside(project, "python", "sh", "-c", "echo changed >outside")
    assert outside.read_text() == "changed\n"


@pytest.mark.parametrize("maker", ["official", "docker"])
def test_lifecycle_commands_run_in_order_and_once(project: Clone, maker: str) -> None:
    made_by(project, maker)
    file = project.root / ".devcontainer/python/devcontainer.json"
    config = json.loads(file.read_text())
    for stage in STAGES:
        config[stage] = f"echo {stage} >>order"
    config["initializeCommand"] = ["sh", "-c", "./scripts/synos dev.prepare; echo initializeCommand >>order"]
    config["postCreateCommand"] = {name: f"echo postCreateCommand >>{name}" for name in ("one", "two")}
    file.write_text(json.dumps(config))
    order = project.root / "order"

    def happened() -> list[str]:
        stages = order.read_text().split()
        order.unlink()
        return stages

    first = [stage for stage in STAGES if stage != "postCreateCommand"]
    container = project.inv("dev.up").json["container"]
    assert happened() == first
    assert (project.root / "one").read_text() == (project.root / "two").read_text() == "postCreateCommand\n"
    docker("stop", "--time=1", container)
    project.inv("dev.up")
    assert happened() == ["initializeCommand", "postStartCommand", "postAttachCommand"]
    # whoever comes next, with the other tool, finds them done
    made_by(project, "docker" if maker == "official" else "official")
    docker("stop", "--time=1", container)
    project.inv("dev.up")
    assert happened() == ["initializeCommand", "postStartCommand", "postAttachCommand"]


def test_a_command_that_fails_is_named(project: Clone) -> None:
    made_by(project, "docker")
    file = project.root / ".devcontainer/python/devcontainer.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "postCreateCommand": "exit 7"}))
    answer = project.inv("dev.up", fails=True)
    assert answer.code == 33
    assert "postCreateCommand failed with exit code 7" in answer.err
    assert str(file) in answer.err


def test_caches_are_those_of_the_toolchains_shell_and_history_outlives_the_container(
    project: Clone, toolchain_image: str
) -> None:
    made_by(project, "docker")
    (project.root / "docker/build/answer.c").write_text(PROGRAM)
    (project.root / "dist").mkdir()
    give(project, 1000)
    argv = [
        sys.executable,
        "-m",
        "invoke",
        "build.shell",
        "--toolchain",
        "--suite",
        "bookworm",
        "--command",
        AS_IN_A_SHELL,
    ]
    built = subprocess.run(argv, cwd=project.root, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    assert built.returncode == 0, built.stderr.decode()
    first = inspected(project.inv("dev.up", "--name", "c").json["container"])["Id"]
    before = inside(project, "c", "sh", "-c", AS_IN_AN_EDITOR)
    assert sum(int(line.split()[1]) for line in before.splitlines()) == 1
    inside(project, "c", "sh", "-c", "echo remembered >>$HISTFILE; echo kept >/var/cache/uv/kept")
    second = inspected(project.inv("dev.rebuild", "--name", "c").json["container"])["Id"]
    assert first != second
    assert inside(project, "c", "sh", "-c", "cat $HISTFILE /var/cache/uv/kept").split() == [
        "remembered",
        "kept",
    ]
    # another development container of the project has the same caches, and a history of its own
    project.inv("dev.up", "--name", "python")
    assert inside(project, "python", "sh", "-c", "cat /var/cache/uv/kept $HISTFILE || true").split() == [
        "kept"
    ]
    gone = project.inv("dev.down", "--all").json["removed"]
    assert len(gone) == 2
    assert project.inv("dev.down", "--all").json["removed"] == []
    assert {row["state"] for row in project.inv("dev.list").json["containers"]} == {"absent"}


def test_an_engines_socket_is_there_only_when_asked_for(project: Clone) -> None:
    refused = project.inv("dev.up", "--docker", "rootless", fails=True, XDG_RUNTIME_DIR=str(project.root))
    assert refused.code == 20
    assert "--docker socket" in refused.err
    container = inspected(project.inv("dev.up").json["container"])["Id"]
    assert in_container(project, "python", "docker", "version").returncode != 0
    late = project.inv("dev.up", "--docker", "socket", fails=True)
    assert late.code == 29
    assert "inv dev.down" in late.err
    project.inv("dev.down")
    with_socket = project.inv("dev.up", "--docker", "socket")
    assert "can be root on this machine" in with_socket.err
    found = inspected(with_socket.json["container"])
    assert found["Id"] != container
    assert inside(project, "python", "docker", "ps", "--format={{.Names}}")
    assert not found["HostConfig"]["Privileged"]
    checks = {check["name"]: check for check in project.inv("dev.doctor").json["checks"]}
    assert checks[f"container {with_socket.json['container']}"]["status"] == "warn"


@pytest.mark.parametrize("maker", ["official", "docker"])
def test_a_new_container_is_one_folder(project: Clone, maker: str) -> None:
    made_by(project, maker)
    folder = project.root / ".devcontainer/tiny"
    folder.mkdir()
    config = json.loads((project.root / ".devcontainer/python/devcontainer.json").read_text())
    text = json.dumps({**config, "name": "Tiny", "postStartCommand": "echo up >started"})
    (folder / "devcontainer.json").write_text(text.replace("python", "tiny"))
    (folder / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN useradd --create-home dev\nUSER dev\n")
    project.root.chmod(0o777)
    assert project.inv("dev.up", "--name", "tiny").json["by"] == maker
    assert inside(project, "tiny", "whoami").strip() == "dev"
    assert (project.root / "started").read_text() == "up\n"
    states = {row["name"]: row["state"] for row in project.inv("dev.list").json["containers"]}
    assert (states["tiny"], states["python"]) == ("running", "absent")
    assert project.inv("dev.down", "--name", "tiny").json["removed"]


def test_bad_input_is_named(project: Clone) -> None:
    answer = project.inv("dev.up", "--name", "pyhton", fails=True)
    assert (answer.code, "did you mean 'python'?" in answer.err) == (12, True)
    missing = in_container(project, "python", "true")
    assert missing.returncode == 29
    assert "inv dev.up --name python" in missing.stderr
    argv = ["./scripts/synos", "dev.prepare", "--name", "full"]
    joined = subprocess.run(argv, cwd=project.root, capture_output=True, text=True, check=False)
    assert joined.returncode == 29
    assert "inv services.up" in joined.stderr
