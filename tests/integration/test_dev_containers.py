"""Development containers on the real engine: made by the official CLI and through Docker, and worked in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import remove_labelled
from tests.debug_adapter import DebugAdapter, stop_at
from tests.dev_clones import (
    dev_clone,
    editor_file,
    filled,
    in_container,
    inside,
    inspected,
    made_by,
    remove_dev_containers,
)
from tests.services_clones import take_down

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.integration

HELLO = Path(__file__).parent / "hello"
NAMES = ("python", "c", "rust", "full")
MAKERS = ("official", "docker")
LANGUAGES = {
    "python": ("Python",),
    "c": ("C",),
    "rust": ("Rust",),
    "full": ("Python", "C", "Rust"),
}
FILES = {"Python": "hello.py", "C": "hello.c", "Rust": "hello.rs"}
BREAKPOINTS = {"Python": 2, "C": 5, "Rust": 3}
ADAPTERS = {"debugpy": ("python", "-m", "debugpy.adapter"), "lldb-dap": ("/usr/local/bin/lldb-dap",)}
TOOLS = {
    "python": ("inv", "uv", "ruff", "mypy", "docker"),
    "c": ("clang", "clangd", "ccache", "cmake", "gdb", "lldb"),
    "rust": ("rust-analyzer", "cargo", "rustfmt", "sccache", "gdb", "lldb"),
}
RIGHTS = [
    f"tests/unit/test_{name}.py" for name in ("dev_config", "locks", "publish", "scratch", "services_secrets")
]
"""Modules of unit tests that owners, modes and locks of files matter to: these may differ in a container."""
NATS = """
import asyncio, os, nats
async def main():
    password = open(os.environ["NATS_PASSWORD_FILE"]).read().strip()
    async with await nats.connect(os.environ["NATS_URL"], user=os.environ["NATS_USER"], password=password) as client:
        await client.flush()
        print("NATS answers")
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def project(
    service_images: None, official_cli: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clone]:
    """A clone of the project with development containers of its own."""
    clone = dev_clone(tmp_path_factory.mktemp("dev"), services=True)
    yield clone
    remove_dev_containers(clone)
    take_down(clone)
    remove_labelled(clone.settings.project.id)


MADE = [
    # `full` has what these two have
    pytest.param(
        (maker, name), marks=pytest.mark.long if maker == "official" and name in {"c", "rust"} else ()
    )
    for name in NAMES
    for maker in MAKERS
]


@pytest.fixture(scope="module", params=MADE, ids="-".join)
def container(project: Clone, request: pytest.FixtureRequest) -> Iterator[Answer]:
    """Each development container, made each way from the public command."""
    maker, name = request.param
    made_by(project, maker)
    project.inv("dev.down", "--name", name)
    answer = project.inv("dev.up", "--name", name)
    assert answer.json["by"] == maker
    yield answer
    project.inv("dev.down", "--name", name)


def hello(project: Clone, language: str) -> Path:
    """Lay the language's hello world into the project."""
    folder = project.root / "scratch"
    folder.mkdir(exist_ok=True)
    file = folder / FILES[language]
    file.write_text((HELLO / file.name).read_text())
    return file


def configured(project: Clone, label: str, file: Path) -> dict[str, Any]:
    """Give a launch configuration, after what VS Code runs before it."""
    [configuration] = [one for one in editor_file("launch.json")["configurations"] if one["name"] == label]
    found: dict[str, Any] = filled(configuration, project, file)
    return {**found, "console": "internalConsole"}  # no terminal here


def run_task(project: Clone, name: str, label: str, file: Path) -> None:
    """Run a task as VS Code would, in the container."""
    [found] = [task for task in editor_file("tasks.json")["tasks"] if task["label"] == label]
    task = filled(found, project, file)
    argv = [task["command"], *task.get("args", [])]
    if task["type"] == "shell":
        argv = ["bash", "-c", f"cd {task['options']['cwd']} && {task['command']}"]
    inside(project, name, *argv)


def stopped(container: Answer, configuration: dict[str, Any], file: Path, line: int) -> dict[str, str]:
    """Debug in a container until the breakpoint; gives the variables there."""
    argv = ["docker", "exec", "--interactive", "--user=dev", container.json["container"]]
    with DebugAdapter([*argv, *ADAPTERS[configuration["type"]]]) as adapter:
        return stop_at(adapter, configuration, str(file), line)


def line_of(file: Path, text: str) -> int:
    """Number of the line that has a text."""
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


def test_hello_world_compiles_and_a_breakpoint_stops(project: Clone, container: Answer) -> None:
    name = container.json["name"]
    for language in LANGUAGES[name]:
        file = hello(project, language)
        configuration = configured(project, f"{language}: this file", file)
        if "preLaunchTask" in configuration:
            run_task(project, name, configuration["preLaunchTask"], file)
        program = ["python", str(file)] if language == "Python" else [str(file.with_suffix(""))]
        assert inside(project, name, *program) == f"hello from {language}: 42\n"
        assert stopped(container, configuration, file, BREAKPOINTS[language])["answer"] == "42"


def test_the_other_launch_configurations_stop_too(project: Clone, container: Answer) -> None:
    name = container.json["name"]
    if container.json["by"] != "docker":
        return  # the other container is of the same image, and a breakpoint has stopped in it
    scratch = project.root / "scratch/test_scratch.py"
    scratch.parent.mkdir(exist_ok=True)
    scratch.write_text("def test_it() -> None:\n    answer = 42\n    assert answer\n")
    cases = {
        "Python: tests in this file": ("python", scratch, "assert answer"),
        "inv: a verb": ("python", project.root / "synos_tasks/namespace.py", "Collection.from_module"),
        "C: synos-welcome": (
            "c",
            project.root / "docker/build/components/synos-welcome/src/main.c",
            "bool done",
        ),
        "Rust: synos-agent": (
            "rust",
            project.root / "docker/build/components/synos-agent/src/main.rs",
            "cli::run",
        ),
    }
    for label, (where, file, text) in cases.items():
        if name != where:
            continue
        configuration = configured(project, label, file)
        if "preLaunchTask" in configuration:
            run_task(project, name, configuration["preLaunchTask"], file)
        if label == "inv: a verb":
            configuration["args"] = ["--list"]  # what the person is asked for
        stopped(container, configuration, file, line_of(file, text))


def test_it_has_no_rights_and_no_socket(container: Answer) -> None:
    found = inspected(container.json["container"])
    host = found["HostConfig"]
    assert not host["Privileged"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert not host["Devices"]
    assert host["PidMode"] == ""
    assert host["NetworkMode"] != "host"
    assert not [mount for mount in found["Mounts"] if "docker.sock" in mount.get("Source", "")]
    assert host["PidsLimit"] == 4096


def test_the_official_cli_finds_it_too(project: Clone, container: Answer) -> None:
    name = container.json["name"]
    config = f"--config={project.root}/.devcontainer/{name}/devcontainer.json"
    done = subprocess.run(
        [
            "devcontainer",
            "exec",
            f"--workspace-folder={project.root}",
            config,
            "printenv",
            "SYNOS_DEV_CONTAINER",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, name), done.stderr


def test_a_second_up_has_nothing_to_do(project: Clone, container: Answer) -> None:
    again = project.inv("dev.up", "--name", container.json["name"])
    assert (again.json["by"], again.json["container"]) == ("running", container.json["container"])


def test_tools_of_the_language_are_there(project: Clone, container: Answer) -> None:
    name = container.json["name"]
    wanted = [tool for one, tools in TOOLS.items() if name in {one, "full"} for tool in tools]
    for tool in wanted:
        assert inside(project, name, "bash", "-lc", f"{tool} --version")


@pytest.mark.parametrize(
    "which",
    [pytest.param(RIGHTS, id="rights"), pytest.param(["tests/unit"], id="all", marks=pytest.mark.long)],
)
def test_the_projects_unit_tests_pass(project: Clone, container: Answer, which: list[str]) -> None:
    if (container.json["name"], container.json["by"]) != ("python", "docker"):
        return  # the other container is of the same image
    printed = inside(project, "python", "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *which)
    assert " passed" in printed.splitlines()[-1]


def test_services_answer(project: Clone, container: Answer) -> None:
    if container.json["name"] != "full":
        return
    assert inside(project, "full", "psql", "-Atc", "SELECT 40 + 2").strip() == "42"
    assert inside(project, "full", "redis-cli", "PING").strip() == "PONG"
    assert inside(project, "full", "python", "-", stdin=NATS).strip() == "NATS answers"
    project.inv("services.secrets-rotate")
    assert inside(project, "full", "psql", "-Atc", "SELECT 40 + 2").strip() == "42"
    assert inside(project, "full", "redis-cli", "PING").strip() == "PONG"
    assert inside(project, "full", "python", "-", stdin=NATS).strip() == "NATS answers"


def test_an_iso_is_not_made_there(project: Clone, container: Answer) -> None:
    name = container.json["name"]
    for argv in (["inv", "build.iso"], ["./scripts/synos", "build.iso"], ["mksquashfs", "a", "b"]):
        done = in_container(project, name, *argv)
        assert done.returncode == 28
        assert f"development container {name}" in done.stderr
        assert "./scripts/synos build.iso" in done.stderr
