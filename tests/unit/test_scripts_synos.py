"""The shell scripts in front of inv, run for real but only where they change nothing."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.allow_process(reason="shell scripts can only be tested by running them")

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of its own with a copy of the scripts, so that no stamp or .venv of the real one counts."""
    root = tmp_path / "a project"
    shutil.copytree(SCRIPTS, root / "scripts")
    return root


def run(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script without a terminal, with its output captured; a failure is the caller's to judge."""
    return subprocess.run(
        [script, *arguments],
        env={**os.environ, **environment},
        cwd=script.parents[2],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def executable(path: Path, text: str) -> None:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("identifier", "version", "name"),
    [
        ("plan9", "4", "Plan 9"),
        ("linuxmint", "22", "Linux Mint 22"),
        ("debian", "11", "Debian GNU/Linux 11 (bullseye)"),
        ("debian", "", "Debian GNU/Linux forky/sid"),
        ("ubuntu", "20.04", "Ubuntu 20.04.6 LTS"),
    ],
)
def test_unfit_system_is_named_and_left_alone(
    project: Path, tmp_path: Path, identifier: str, version: str, name: str
) -> None:
    before = sorted(project.rglob("*"))
    system = tmp_path / "os-release"
    result = run(project / "scripts/synos", SYNOS_OS_RELEASE=str(system))
    assert (result.returncode, str(system) in result.stderr) == (20, True)  # it is not there
    system.write_text(
        f'PRETTY_NAME="{name}"\nID={identifier}\nVERSION_ID="{version}"\nID_LIKE="ubuntu debian"\n'
    )
    result = run(project / "scripts/synos", "build.iso", SYNOS_OS_RELEASE=str(system))
    assert result.returncode == 20
    assert result.stdout == ""
    assert f"error: cannot set up on {name}\n" in result.stderr
    assert "why: " in result.stderr
    assert "hint: follow docs/manual-setup.md" in result.stderr
    assert sorted(project.rglob("*")) == before


@pytest.fixture
def ready_project(project: Path) -> Path:
    """A project that is set up as far as the script can tell, with an inv that shows what it was given."""
    executable(project / ".venv/bin/inv", '#!/bin/sh\npwd\nprintf "<%s>\\n" "$@"\n')
    executable(project / ".venv/bin/python", "")
    (project / "requirements.lock").write_text("locked\n")
    stamps = project / ".synos/setup"
    stamps.mkdir(parents=True)
    (stamps / "requirements.lock").write_text("locked\n")
    (stamps / "venv").write_text(f"{project}\n{project}/.venv/bin/python\n")
    (stamps / "engine").write_text("/bin/sh\n")
    return project


# Any value will do: an engine elsewhere is never contacted on the fast path. The unknown system turns every
# step on to the slow path into exit code 20.
ELSEWHERE = {"DOCKER_HOST": "unix:///nowhere.sock", "SYNOS_OS_RELEASE": "/nowhere"}


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ((), ["--list"]),
        (("--yes",), ["--list"]),
        (("--yes", "build.iso", "--yes"), ["build.iso", "--yes"]),
        (
            ("build.iso", "--profile", 'it\'s "odd" $HOME *', ""),
            ["build.iso", "--profile", 'it\'s "odd" $HOME *', ""],
        ),
    ],
)
def test_arguments_reach_inv_unchanged_from_the_root_also_through_a_link(
    ready_project: Path, tmp_path: Path, given: tuple[str, ...], received: list[str]
) -> None:
    link = tmp_path / "bin/below/synos"
    link.parent.mkdir(parents=True)
    link.symlink_to(ready_project / "scripts/synos")
    for script in (ready_project / "scripts/synos", link):
        result = run(script, *given, **ELSEWHERE)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines() == [str(ready_project), *(f"<{word}>" for word in received)]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("requirements.lock", "another lock\n"),
        (".synos/setup/venv", "/elsewhere\n/bin/sh\n"),
        (".synos/setup/venv", "half written"),
        (".synos/setup/engine", "/nowhere/docker\n"),
        *(
            (file, "")
            for file in (".venv/bin/inv", ".venv/bin/python", ".synos/setup/venv", ".synos/setup/engine")
        ),
    ],
)
def test_what_no_longer_fits_leaves_the_fast_path(ready_project: Path, file: str, content: str) -> None:
    (ready_project / file).write_text(content) if content else (ready_project / file).unlink()
    assert run(ready_project / "scripts/synos", "build.iso", **ELSEWHERE).returncode == 20


@pytest.mark.parametrize("words", [[], ["it's", "", "a b", '$HOME `id` \\ " * \n end', "'"]])
def test_words_survive_the_quoting_for_sg(words: list[str]) -> None:
    script = 'source "$1"; shift; sh -c "printf \'<%s>\' $(quote_for_sh "$@")"'
    parts = (SCRIPTS / "setup/main.sh").read_text()
    function = parts[parts.index("quote_for_sh() {") :]
    argv = ["bash", "-c", script, "bash", "/dev/stdin", *words]
    result = subprocess.run(argv, input=function, capture_output=True, text=True, check=True)
    assert result.stdout == "".join(f"<{word}>" for word in words or [""])


def test_old_build_script_refuses() -> None:
    result = run(SCRIPTS / "build-full-distribution.sh", "--anything")
    assert result.returncode == 22
    assert result.stdout == ""
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "why", "hint"]
    assert "./scripts/synos build.iso" in result.stderr


def test_old_safe_script_forwards(project: Path) -> None:
    executable(project / "scripts/synos", '#!/bin/sh\nprintf "<%s>\\n" "$@"\nexit 7\n')
    result = run(project / "scripts/safe-docker-build.sh", "--profile", "two words")
    assert result.returncode == 7
    assert result.stdout.splitlines() == ["<build.iso>", "<--profile>", "<two words>"]
    assert "old habits" in result.stderr


def test_a_killed_dockerd_that_nobody_waited_for_is_none(tmp_path: Path) -> None:
    lines = (SCRIPTS / "synos").read_text().splitlines()
    begin = lines.index("is_dockerd() {")
    function = "\n".join(lines[begin : lines.index("}", begin) + 1])

    def is_dockerd(pid: int) -> bool:
        argv = ["bash", "-c", f"{function}\nis_dockerd {pid}"]
        return subprocess.run(argv, check=False).returncode == 0

    assert not is_dockerd(os.getpid())
    shutil.copy("/bin/sleep", tmp_path / "dockerd")
    process = subprocess.Popen([tmp_path / "dockerd", "60"])
    try:
        deadline = time.monotonic() + 30  # the kernel gives it its name a moment after Popen returns
        while not is_dockerd(process.pid):
            assert time.monotonic() < deadline
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still there
        assert Path(f"/proc/{process.pid}/comm").read_text() == "dockerd\n"
        assert not is_dockerd(process.pid)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def docker_says(ready_project: Path, tmp_path: Path) -> Path:
    """A project that is set up, with a `docker` that writes down its arguments and ends with a code."""
    project, said = ready_project, tmp_path / "said"
    executable(
        tmp_path / "bin/docker",
        f'#!/bin/sh\nprintf "%s|" "$@" >>{said}; echo >>{said}\n[ "$1" = ps ] || exit "$CODE"\n',
    )
    executable(project / ".venv/bin/inv", '#!/bin/sh\necho "inv: $*"\n')
    (project / ".synos/setup/engine").write_text(f"{tmp_path}/bin/docker\n")
    (project / "invoke.yaml").touch()
    for folder in (".devcontainer", ".synos/dev"):
        (project / folder).mkdir()
    for name in ("default", "c"):
        text = f"abc\n{project}/invoke.yaml\n--user=dev\n--workdir=/a b\n"
        (project / f".synos/dev/{name}.shell").write_text(text)
    return said


def enter(project: Path, code: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"CODE": str(code), "DOCKER_HOST": "unix:///nowhere", "SYNOS_DEV_CONTAINER": ""}
    path = f"{project.parent}/bin:{os.environ['PATH']}"
    return run(project / "scripts/synos", "dev.shell", *arguments, PATH=path, **environment)


@pytest.mark.parametrize("arguments", [["--", "a", "b c"], ["--name", "c", "--", "a", "b c"]])
def test_a_command_in_a_development_container_needs_no_python(
    project: Path, docker_says: Path, arguments: list[str]
) -> None:
    done = enter(project, 7, *arguments)
    assert (done.returncode, done.stdout) == (7, "")
    assert docker_says.read_text() == "exec|--interactive|--user=dev|--workdir=/a b|abc|a|b c|\n"


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["--name"], ["--name", "c"], ["--"]),
        *(["--name", "other", "--", "a"], ["--name", "", "--", "a"], ["--name", "other", "--", ""]),
    ],
)
def test_all_else_of_dev_shell_is_for_inv(project: Path, docker_says: Path, arguments: list[str]) -> None:
    done = enter(project, 0, *arguments)
    assert done.stdout == f"inv: {' '.join(['dev.shell', *arguments])}\n"
    assert not docker_says.exists()


def test_a_container_that_is_gone_is_for_inv_to_tell(project: Path, docker_says: Path) -> None:
    done = enter(project, 1, "--", "a")
    assert done.stdout == "inv: dev.shell -- a\n"
    assert docker_says.read_text().splitlines()[1] == "ps|--quiet|--filter|name=^/?abc$|"


def test_a_newer_setting_or_configuration_is_for_inv(project: Path, docker_says: Path) -> None:
    own = project / "devcontainer.json"
    own.touch()
    (project / ".synos/dev/c.shell").write_text(f"abc\n{own}\n--user=dev\n")
    os.utime(own, (2**31, 2**31))
    assert enter(project, 0, "--name", "c", "--", "a").stdout == "inv: dev.shell --name c -- a\n"
    assert enter(project, 0, "--", "a").stdout == ""  # the other one's has not changed
    os.utime(project / "invoke.yaml", (2**31, 2**31))
    assert enter(project, 0, "--", "a").stdout == "inv: dev.shell -- a\n"


def test_a_command_that_ends_with_1_is_run_once(project: Path, docker_says: Path) -> None:
    executable(project.parent / "bin/docker", '#!/bin/sh\n[ "$1" != ps ] || exec echo abc\nexit 1\n')
    done = enter(project, 1, "--", "false")
    assert (done.returncode, done.stdout) == (1, "")
