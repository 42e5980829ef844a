"""Random command lines: whatever is typed, and wherever, the answer is short, has a documented code, and is on the right stream."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synos_tasks import collection, console, errors
from synos_tasks.program import Inv
from tests.build_helpers import ROOT

CONTEXTS = {one.name: one for one in collection(ROOT).to_contexts() if one.name and "." in one.name}
CODES = {0, 1, 130, console.NOBODY_READS, *(cls.exit_code for cls in errors.error_classes())}
ODD = st.sampled_from(
    [
        "",
        "x",
        "-1",
        "abc",
        "../..",
        "/nowhere",
        "a b",
        "é\udcff",
        "10m",
        "yes",
        "--",
        "-",
        "[bold]",
        "\x1b[2J",
        "9" * 30,
    ]
)
TYPO = st.sampled_from(["drop", "twice", "swap"])


def misspelt(word: str, how: str) -> str:
    """Return a word with a usual slip of the fingers in its end."""
    last = {"drop": "", "twice": word[-1] * 2, "swap": "q"}[how]
    return word[:-1] + last


@st.composite
def one_verb(draw: st.DrawFn) -> list[str]:
    """A verb with options, right or wrong."""
    name = draw(st.sampled_from(sorted(CONTEXTS)))
    context = CONTEXTS[name]
    words = [misspelt(name, draw(TYPO)) if draw(st.integers(0, 5)) == 0 else name]
    words += (
        draw(st.lists(ODD, max_size=2)) if context.positional_args or draw(st.integers(0, 5)) == 0 else []
    )
    for flag in draw(st.lists(st.sampled_from(sorted(context.flag_names())), max_size=3, unique=True)):
        words.append(
            misspelt(flag, draw(TYPO)) if flag.startswith("--") and draw(st.integers(0, 5)) == 0 else flag
        )
        known = context.flags.get(flag)
        if (known is not None and known.takes_value) or draw(st.integers(0, 9)) == 0:
            words.append(draw(ODD))
    return words


def lines(most: int) -> st.SearchStrategy[list[str]]:
    """Command lines of some verbs."""
    core = st.sampled_from(
        [
            [],
            [],
            [],
            ["--dry"],
            ["--list"],
            ["--help"],
            ["--version"],
            ["--lst"],
            ["-D", "x"],
            ["--config", "/no"],
        ]
    )
    words = st.sampled_from([[], [], ["--", "x", "--name"], ["--"]])
    verbs = st.lists(one_verb(), min_size=0, max_size=most).map(
        lambda found: [word for one in found for word in one]
    )
    return st.tuples(core, verbs, st.sampled_from([[], ["--json"]]), words).map(
        lambda parts: [word for part in parts for word in part]
    )


@dataclass(frozen=True)
class Place:
    """Where and how a line is typed."""

    line: list[str]
    streams: str
    folder: str
    variables: dict[str, str] = field(default_factory=dict)
    stranger: bool = False


PLACES = st.builds(
    Place,
    line=lines(3),
    streams=st.sampled_from(
        [
            "",
            "",
            "",
            "<&-",
            ">&-",
            "2>&-",
            "<&- >&- 2>&-",
            ">/dev/full",
            "2>/dev/full",
            "| true",
            "2>&1 | head -1",
        ]
    ),
    folder=st.sampled_from(["project", "project/docker/build", "elsewhere", "removed", "closed"]),
    variables=st.fixed_dictionaries(
        {},
        optional={
            "LC_ALL": st.sampled_from(["C", "POSIX", "xx_XX", "C.UTF-8"]),
            "PYTHONIOENCODING": st.just("ascii"),
            "TERM": st.sampled_from(["dumb", "", "xterm"]),
            "COLUMNS": st.sampled_from(["1", "0", "x", "80"]),
            "HOME": st.sampled_from(["/nowhere", "/dev/null", "", "/root"]),
            "PATH": st.sampled_from(["", "/usr/bin:/bin"]),
            "DOCKER_HOST": st.sampled_from(["foo", "unix:///nowhere", "tcp://127.0.0.1:1"]),
            "DOCKER_CONTEXT": st.just("nope"),
            "INVOKE_SYNOS_SERVICES_NATS_PORT": st.sampled_from(["", "x", "-1", "99999", "0"]),
            "INVOKE_RUN_DRY": st.sampled_from(["", "x"]),
            "INVOKE_RUNTIME_CONFIG": st.sampled_from(["/nowhere.yaml", "/etc/passwd"]),
            "TMPDIR": st.just("/nowhere"),
            "SYNOS_DEV_CONTAINER": st.just("python"),
        },
    ),
    stranger=st.booleans(),
)


LIBRARIES = f"{ROOT}:{sysconfig.get_paths()['purelib']}"


def python_of(user: int | None) -> str | None:
    """Return a Python that a user can run, with our libraries; None where there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            argv = [python, "-c", "import invoke, python_on_whales"]
            done = subprocess.run(
                argv, user=user, env={"PYTHONPATH": LIBRARIES}, capture_output=True, check=False
            )
            if done.returncode == 0:
                return python
    return None


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of this project with a tasks.py of two lines, readable by everyone, writable by nobody else."""
    root = tmp_path_factory.mktemp("lines")
    folder = root / "project"
    for part in ("docker", ".devcontainer"):
        shutil.copytree(ROOT / part, folder / part, symlinks=True)
    shutil.copy(ROOT / "invoke.yaml", folder)
    (folder / "tasks.py").write_text("from synos_tasks import collection\nns = collection()\n")
    (root / "elsewhere").mkdir()
    (root / "closed").mkdir(mode=0o700)
    root.chmod(0o755)
    for parent in (root, *root.parents[:3]):
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):
            parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o055)
    return folder


@pytest.fixture(scope="module")
def stranger() -> str | None:
    """A Python that another user can run."""
    return python_of(65534) if os.getuid() == 0 else None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(CONTEXTS)), how=TYPO, rest=one_verb(), json_too=st.booleans())
def test_a_misspelt_verb_anywhere_in_a_line_does_nothing_and_ends_with_2(
    project: Path,
    name: str,
    how: str,
    rest: list[str],
    json_too: bool,
    keep_signals: None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = [
        *(word for word in rest if word not in {"--", ""} and not word.startswith("-")),
        misspelt(name, how),
    ]
    if words[-1] in CONTEXTS or any(CONTEXTS[word].positional_args for word in words if word in CONTEXTS):
        return
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setattr(sys, "argv", ["inv", *words, *["--json"] * json_too])
        with pytest.raises(SystemExit) as ended:
            Inv().run()
    shown = capfd.readouterr()
    assert ended.value.code == 2, shown.err
    assert [line.partition(":")[0] for line in shown.err.splitlines()] == ["error", "hint"]
    assert (shown.out != "") == json_too
    assert not json_too or json.loads(shown.out)["error"]["exit_code"] == 2


@pytest.mark.long
@pytest.mark.allow_process(
    reason="closed streams, other users and removed folders need processes of their own"
)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=PLACES)
def test_200_random_command_lines(project: Path, stranger: str | None, place: Place) -> None:
    check(project, stranger, place)


def check(project: Path, stranger: str | None, place: Place) -> None:
    """Run a command line, and look at how it ends."""
    root = project.parent
    folder = root / place.folder
    folder.mkdir(exist_ok=True, mode=0o777)
    user, python = (65534, stranger) if place.stranger and stranger else (None, sys.executable)
    words = place.line if place.folder.startswith("project") else ["--search-root", str(project), *place.line]
    words = [word.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") for word in words]
    if place.folder == "elsewhere" and place.stranger:
        words = place.line  # no project there
    run = f'cd "$0" || exit 0; {"rmdir ../removed 2>/dev/null; " if place.folder == "removed" else ""}"$@" {place.streams}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["/bin/bash", "-c", run, folder, python, "-m", "synos_tasks", *words],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": LIBRARIES, "PYTHONDONTWRITEBYTECODE": "1", "DOCKER_HOST": "unix:///nowhere", **place.variables},
        user=user,
    )  # fmt: skip
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    report = f"{words} {place}\ncode {done.returncode}\n--- out\n{out[-1500:]}\n--- err\n{err[-1500:]}"
    assert done.returncode in CODES, report
    assert "Traceback" not in out + err, report
    assert "this is a bug" not in out + err, report
    assert "Exception ignored" not in err, report
    if place.streams == "":
        if done.returncode not in {0, 130}:
            assert "error: " in err, report
        if done.returncode == 2:
            before = words[: words.index("--")] if "--" in words else words
            assert (out != "") == ("--json" in before), report
