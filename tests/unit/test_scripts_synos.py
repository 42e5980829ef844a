"""The shell scripts in front of inv, run for real but only where they change nothing."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from synos_tasks.engine.failures import MINIMUM

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
    (stamps / "venv").write_text(f"{project}\n{project}/.venv/bin/python\n1\n")
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
def test_arguments_reach_inv_unchanged_in_the_callers_folder_also_through_a_link(
    ready_project: Path, tmp_path: Path, given: tuple[str, ...], received: list[str]
) -> None:
    link = tmp_path / "bin/below/synos"
    link.parent.mkdir(parents=True)
    link.symlink_to(ready_project / "scripts/synos")
    for script in (ready_project / "scripts/synos", link):
        result = run(script, *given, **ELSEWHERE)
        assert (result.returncode, result.stderr) == (0, "")
        words = ["--search-root", str(ready_project), *received]
        assert result.stdout.splitlines() == [str(script.parents[2]), *(f"<{word}>" for word in words)]


def test_an_inv_of_invoke_itself_leaves_the_fast_path(ready_project: Path) -> None:
    stamp = ready_project / ".synos/setup/venv"
    stamp.write_text("\n".join(stamp.read_text().splitlines()[:2]) + "\n")
    assert run(ready_project / "scripts/synos", "build.iso", **ELSEWHERE).returncode == 20


def test_the_inv_that_is_set_up_finds_its_clone_also_through_links(
    ready_project: Path, tmp_path: Path
) -> None:
    (ready_project / "synos_tasks").mkdir()
    (ready_project / "synos_tasks/__main__.py").write_text("def main(): print(__file__)")
    (ready_project / ".venv/bin/python").unlink()
    (ready_project / ".venv/bin/python").symlink_to(sys.executable)
    script = "root=$PWD setup_dir=.synos/setup inv_version=1; source scripts/setup/python.sh; write_inv"
    subprocess.run(["bash", "-euc", script], cwd=ready_project, check=True)
    (tmp_path / "inv").symlink_to(ready_project / ".venv/bin/inv")
    (tmp_path / "other").symlink_to(ready_project)
    for inv in (ready_project / ".venv/bin/inv", tmp_path / "inv", tmp_path / "other/.venv/bin/inv"):
        done = subprocess.run([inv], cwd="/", capture_output=True, text=True, check=False)
        assert Path(done.stdout.strip()).samefile(ready_project / "synos_tasks/__main__.py"), done.stderr


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
    assert done.stdout == f"inv: --search-root {project} {' '.join(['dev.shell', *arguments])}\n"
    assert not docker_says.exists()


def test_a_container_that_is_gone_is_for_inv_to_tell(project: Path, docker_says: Path) -> None:
    done = enter(project, 1, "--", "a")
    assert done.stdout == f"inv: --search-root {project} dev.shell -- a\n"
    assert docker_says.read_text().splitlines()[1] == "ps|--quiet|--filter|name=^/?abc$|"


def test_a_newer_setting_or_configuration_is_for_inv(project: Path, docker_says: Path) -> None:
    own = project / "devcontainer.json"
    own.touch()
    (project / ".synos/dev/c.shell").write_text(f"abc\n{own}\n--user=dev\n")
    os.utime(own, (2**31, 2**31))
    assert (
        enter(project, 0, "--name", "c", "--", "a").stdout
        == f"inv: --search-root {project} dev.shell --name c -- a\n"
    )
    assert enter(project, 0, "--", "a").stdout == ""  # the other one's has not changed
    os.utime(project / "invoke.yaml", (2**31, 2**31))
    assert enter(project, 0, "--", "a").stdout == f"inv: --search-root {project} dev.shell -- a\n"


def test_a_command_that_ends_with_1_is_run_once(project: Path, docker_says: Path) -> None:
    executable(project.parent / "bin/docker", '#!/bin/sh\n[ "$1" != ps ] || exec echo abc\nexit 1\n')
    done = enter(project, 1, "--", "false")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.fixture
def setting_up(project: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run commands with the parts of setting up, which see a /etc/apt and an apt of their own, as root."""
    for folder in ("etc/apt", "apt", "state"):
        (tmp_path / folder).mkdir(parents=True)

    def run_parts(script: str, known: str = "0" * 40) -> subprocess.CompletedProcess[str]:
        packages = project / "scripts/setup/packages.sh"
        text = re.sub(
            "(?m)^readonly docker_key_fingerprint=.*",
            f"readonly docker_key_fingerprint={known}",
            packages.read_text(),
        )
        packages.write_text(text)
        before = (
            "set -euo pipefail; exit_engine=21; apt_dir=$PWD/apt setup_dir=$PWD/state apt_options=() group_missing=no\n"
            f"for part in messages packages; do source '{project}/scripts/setup/'$part.sh; done\n"
            'etc_apt=$PWD/etc/apt; as_root() { "$@"; }; fetch() { cp -- "$PWD/served" "$2"; }\n'
            "mkdir -p apt/new apt/sources.list.d apt/preferences.d\n"
        )
        environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
        argv = ["bash", "-c", before + script]
        return subprocess.run(
            argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run_parts


def gpg(home: Path, *arguments: str) -> str:
    home.mkdir(mode=0o700, exist_ok=True)
    argv = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", "", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def keys_in(home: Path, file: Path) -> list[str]:
    lines = [line.split(":") for line in gpg(home, "--with-colons", "--show-keys", str(file)).splitlines()]
    return [after[9] for line, after in itertools.pairwise(lines) if line[0] == "pub"]


@pytest.mark.skipif(shutil.which("gpg") is None, reason="without gpg this repository is never used")
def test_of_a_key_file_the_known_key_alone_is_trusted(
    setting_up: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    home = tmp_path / "keys"
    for name in ("known", "other"):
        gpg(home, "--quick-gen-key", f"{name}@example.org", "ed25519", "sign")
    known, other = (gpg(home, "--armor", "--export", name) for name in ("known", "other"))
    (tmp_path / "served").write_text(known)
    (fingerprint,) = keys_in(home, tmp_path / "served")
    trusted = tmp_path / "apt/new/keyrings/synos-docker.asc"
    for served in (known, known + other, other + known):
        (tmp_path / "served").write_text(served)
        done = setting_up("use_docker_repository", fingerprint)
        assert (done.returncode, keys_in(home, trusted)) == (0, [fingerprint]), done.stderr
        for path in ("new", "gnupg"):
            shutil.rmtree(tmp_path / "apt" / path)
    for served in (other, "no key at all", ""):
        (tmp_path / "served").write_text(served)
        done = setting_up("use_docker_repository", fingerprint)
        assert done.returncode == 1
        assert f"not {fingerprint}" in done.stderr
        assert not trusted.exists()
        shutil.rmtree(tmp_path / "apt/gnupg")


@pytest.mark.parametrize(
    "ends", ["exit 0", "exit 100", "kill -INT $(cat shell); exit 100", "kill $(cat shell); exit 0"]
)
def test_what_was_written_for_apt_is_taken_back_where_apt_fails(
    setting_up: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, ends: str
) -> None:
    etc, new = tmp_path / "etc/apt", tmp_path / "apt/new"
    texts = {
        "sources.list.d/a.sources": "old",
        "sources.list.d/same.sources": "same",
        "sources.list.d/own.list": "own",
    }
    for name, text in texts.items():
        (etc / name).parent.mkdir(exist_ok=True)
        (etc / name).write_text(text)
    wanted = {
        "sources.list.d/a.sources": "new",
        "sources.list.d/same.sources": "same",
        "keyrings/b.asc": "key",
    }
    for name, text in wanted.items():
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).write_text(text)
    executable(tmp_path / "bin/apt-get", f"#!/bin/sh\ncat {etc}/keyrings/b.asc >{tmp_path}/seen\n{ends}\n")
    done = setting_up("echo $$ >shell; packages=(docker-ce); trap take_back EXIT; apply_packages")
    after = {str(path.relative_to(etc)): path.read_text() for path in etc.rglob("*") if path.is_file()}
    assert (tmp_path / "seen").read_text() == "key"
    if ends == "exit 0":
        assert done.returncode == 0
        assert after == {**texts, **wanted}
        assert "taken back" not in done.stderr
    else:
        assert done.returncode != 0
        assert after == texts
        assert not (etc / "keyrings").exists()
        for name in ("sources.list.d/a.sources", "keyrings/b.asc"):
            assert f"taken back: {etc}/{name}\n" in done.stderr
        assert "same.sources" not in done.stderr


@pytest.mark.parametrize("own", ["", "URIs: https://download.docker.com/linux/debian\n"])
@pytest.mark.parametrize("missing", ["daemon", "mmdebstrap"])
def test_a_source_that_was_taken_back_comes_again_where_a_part_is_still_missing(
    setting_up: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, own: str, missing: str
) -> None:
    """apt may have installed some of the packages before it failed."""
    (tmp_path / "etc/apt/sources.list.d").mkdir()
    (tmp_path / "etc/apt/sources.list.d/own.sources").write_text(own)
    done = setting_up(
        "rmdir apt/*.d; dpkg-query() { printf installed; }; os_id=debian os_version=12; "
        f"use_docker_repository() {{ echo repository; }}; missing_parts=({missing}); choose_source; echo $family"
    )
    assert done.stdout.split() == [*["repository"] * (missing == "daemon" and not own), "docker"], done.stderr


def test_setup_accepts_the_engine_that_the_verbs_accept() -> None:
    least = MINIMUM["engine version"][0]
    assert f"engine_minimum={least}\n" in (SCRIPTS / "setup/engine.sh").read_text()
    assert f"| Docker Engine | {least} |" in (SCRIPTS.parent / "docs/manual-setup.md").read_text()
