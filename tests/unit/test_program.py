"""What happens before, around and between verbs: wrong use, configuration files, chains, streams, folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from synos_tasks import cli, collection
from synos_tasks.program import Inv

ROOT = Path(__file__).resolve().parents[2]
Shown = pytest.CaptureFixture[str]
TASKS = """\
import os, subprocess, sys
from pathlib import Path
from invoke.collection import Collection
from synos_tasks.cli import PROJECT_ROOT, verb, one_of, lines_or_all, since_when

@verb("say", words=True)
def say(command):
    command.show("".join(f"{word}\\n" for word in command.rest or ["hello"]) * 1)
    command.result({"cpus": command.settings.build.cpus})

@verb("end", json=False, positional=["code"])
def end(command, code: int):
    sys.exit(int(code))

@verb("read", json=False, stdin=True)
def read(command):
    print(subprocess.run(["cat"], capture_output=True, text=True).stdout, end="", flush=True)

@verb("deaf", json=False)
def deaf(command):
    print(repr(subprocess.run(["cat"], capture_output=True, text=True).stdout), flush=True)

@verb("shell", json=False, pipe=True, words=True)
def shell(command):
    print(subprocess.run(["cat"], capture_output=True, text=True).stdout, end="", flush=True)

@verb("write", json=False)
def write(command, to: str = "a"):
    Path(to).resolve().write_text("")

@verb("much", json=False)
def much(command):
    for number in range(100_000):
        command.show(str(number))

@verb("tell", json=False)
def tell(command):
    from synos_tasks import console
    for number in range(1000):
        console.say("progress")
    Path("told").write_text("")

@verb("typed", types={"kind": one_of("bios", "uefi"), "tail": lines_or_all, "since": since_when})
def typed(command, count: int = 3, kind: str = "", tail: str = "all", since: str = ""):
    command.result({"count": count})

ns = Collection(say, end, read, shell, deaf, write, much, tell, typed)
ns.configure({PROJECT_ROOT: str(Path(__file__).parent)})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_signals: None) -> Path:
    """A project with a few verbs, and a home without files."""
    home, project = tmp_path / "home", tmp_path / "a project"
    home.mkdir()
    project.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(project)
    (project / "tasks.py").write_text(TASKS)
    return project


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run a command line in this process; return the exit code."""
    monkeypatch.setattr(sys, "argv", ["inv", *words])
    sys.modules.pop("tasks", None)
    try:
        Inv().run()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


WRONG = [
    (["sayy"], "there is no verb 'sayy'", "did you mean 'say'?"),
    (["--help", "sayy"], "there is no verb 'sayy'", "did you mean 'say'?"),
    (["nothing-like-it"], "there is no verb 'nothing-like-it'", "inv --list shows all verbs"),
    (["typed", "x"], "typed takes no argument 'x', and no verb is called so", "inv --help typed"),
    (["typed", "--cuont", "3"], "typed has no option --cuont", "did you mean '--count'?"),
    (["typed", "-z"], "typed has no option -z", "inv --help typed shows those that there are"),
    (["-D", "x", "say"], "an option of inv needs a whole number, not 'x'", "inv --help"),
    (["--lisst"], "inv has no option --lisst", "did you mean '--list'?"),
    (
        ["read", "--command", "x"],
        "read has no option --command",
        "words for read go after --: inv read -- --command …",
    ),
    (["end"], "end needs CODE", "inv end CODE"),
    (["end", "--cod", "1"], "end has no option --cod", "did you mean '--code'?"),
    (["write", "--to"], "--to of write needs a value", "inv --help write"),
    (["typed", "--", "x"], "typed takes no words after --", "inv --help typed"),
    (["typed", "--count", "3x"], "--count of typed is '3x'", "a whole number, as 30"),
    (["typed", "--count=-3"], "--count of typed is '-3'", "a whole number, as 30"),
    (["typed", "--kind", "ueif"], "--kind of typed is 'ueif'", "did you mean 'uefi'?"),
    (["typed", "--tail", "abc"], "--tail of typed is 'abc'", "a number of lines, or all"),
    (
        ["typed", "--since", "1x"],
        "--since of typed is '1x'",
        "a duration, as 10m or 2h, or a date, as 2026-01-31",
    ),
    (["say", "typed", "--count", "x"], "--count of typed is 'x'", "a whole number"),
    (["--list", "x"], "Sub-collection 'x' not found", "inv --help"),
]


@pytest.mark.parametrize(("words", "what", "hint"), WRONG, ids=lambda value: " ".join(value)[:40])
def test_wrong_use_is_exit_2_with_what_was_meant_before_anything_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Shown, words: list[str], what: str, hint: str
) -> None:
    assert run(monkeypatch, *words) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    error, told = shown.err.splitlines()
    assert error == f"error: {what}"
    assert told.startswith(f"hint: {hint}")
    if words[0].startswith("-") or words == ["write", "--to"]:
        return
    at = words.index("--") if "--" in words else len(words)
    assert run(monkeypatch, *words[:at], "--json", *words[at:]) == 2
    found = json.loads(capfd.readouterr().out)["error"]
    assert (found["kind"], found["exit_code"]) == ("WrongUse", 2)
    assert words == ["end"] or found["error"] == what


@pytest.mark.parametrize("good", ["", "10m", "1h30m", "2026-01-31", "2026-01-31T12:00:00Z", "1769860800"])
def test_what_is_since_when(good: str) -> None:
    assert cli.since_when(good) == ""


@pytest.mark.allow_process(reason="Invoke's own program reads sys.argv and ends the process")
def test_types_are_checked_by_plain_invoke_too(folder: Path) -> None:
    done = process("-m", "invoke", "typed", "--count", "abc", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --count of typed is 'abc'\nhint: ")


FILES = {
    "tab": ("synos:\n\tname: x\n", 2, "cannot start any token"),
    "list": ("- a\n- b\n", 1, "is a list"),
    "text": ("synos\n", 1, "is a str"),
    "half": ("synos:\n  build: {cpus: 4\n", 3, "expected"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", ["invoke.yaml", "../home/.invoke.yaml"])
def test_a_broken_configuration_file_is_told_with_its_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Shown, name: str, place: str
) -> None:
    text, line, why = FILES[name]
    (folder / place).write_text(text)
    assert run(monkeypatch, "say", "--json") == 12
    shown = capfd.readouterr()
    error = json.loads(shown.out)["error"]
    assert error["kind"] == "SettingsError"
    assert error["where"].endswith(f"{Path(place).name}:{line}")
    assert why in error["error"] + error.get("why", "")
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        ("synos: {build: 5}\n", {}, "synos.build is 5, not a section with names"),
        ("synos: 5\n", {}, "synos is 5, not a section with names"),
        ("run: 5\n", {}, "a setting is a mapping in one place, and a value in another"),
        ("synos: {1: 2}\n", {}, "the settings' names are no variables"),
        ("synos:\n  build:\n    cpus: four\n", {}, "synos.build.cpus is 'four', not a whole number"),
        (
            "synos: {build: {cpus: 4}}\n",
            {"INVOKE_SYNOS_BUILD_CPUS": ""},
            "variable INVOKE_SYNOS_BUILD_CPUS is ''",
        ),
        (
            "synos: {build: {cpus: 4}}\n",
            {"INVOKE_SYNOS_BUILD_CPUS": "x"},
            "variable INVOKE_SYNOS_BUILD_CPUS is 'x'",
        ),
    ],
)
def test_a_setting_of_another_shape_is_told(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Shown,
    text: str,
    variables: dict[str, str],
    said: str,
) -> None:
    (folder / "invoke.yaml").write_text(text)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run(monkeypatch, "say", "--json") == 12
    error = json.loads(capfd.readouterr().out)["error"]
    assert error["error"] == said
    if "four" in text:
        assert error["where"].endswith("invoke.yaml:3")


def test_a_tasks_file_that_python_cannot_load_is_told_with_its_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Shown
) -> None:
    for text in ("import os\nimport nonsense_that_is_not\n", "import os\ndef (:\n"):
        (folder / "tasks.py").write_text(text)
        assert run(monkeypatch, "say") == 1
        assert f"where: {folder}/tasks.py:2\n" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "printed", "left"),
    [
        (["end", "0", "say"], 0, "hello", ""),
        (["say", "end", "3", "typed", "say"], 3, "hello", "not run, as end failed: typed"),
        (["end", "0", "end", "5", "end", "6", "say"], 5, "", "not run, as end failed: end, say"),
    ],
)
def test_a_chain_runs_every_verb_or_says_which_it_does_not(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Shown,
    words: list[str],
    code: int,
    printed: str,
    left: str,
) -> None:
    assert run(monkeypatch, *words) == code
    shown = capfd.readouterr()
    assert shown.out.strip() == printed
    assert left in shown.err


def test_the_list_has_groups_and_help_has_an_example(monkeypatch: pytest.MonkeyPatch, capfd: Shown) -> None:
    monkeypatch.chdir(ROOT)
    assert run(monkeypatch, "--version") == 0
    assert capfd.readouterr().out.startswith("SynOS tasks 0.")
    assert run(monkeypatch, "--list") == 0
    listed = capfd.readouterr().out
    for group in ("general", "build", "dev", "maint", "services"):
        assert f"\n{group}: " in f"\n{listed}"
    verbs = collection(ROOT).task_names
    for verb in verbs:
        assert f"  {verb}  " in listed
    for verb in ("services.psql", "services.restore", "build.diff"):
        assert run(monkeypatch, "--help", verb) == 0
        assert f"Example:\n  inv {verb} " in capfd.readouterr().out


# ---- streams and folders, which need processes of their own

processes = pytest.mark.allow_process(
    reason="streams that are closed or full, and what is at their other end"
)
INV = f"{sys.executable} -m synos_tasks"


def process(*words: str, cwd: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        input=stdin, cwd=cwd, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line.replace("inv ", f"{INV} ")],
        stdin=subprocess.DEVNULL, cwd=cwd, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@processes
@pytest.mark.parametrize(
    ("line", "code", "printed", "said"),
    [
        ("inv say <&-", 0, "hello\n\n", ""),
        ("inv say >&-", 0, "", ""),
        ("inv say 2>&-", 0, "hello\n\n", ""),
        ("inv sayy 2>&-", 2, "", ""),
        ("inv say <&- >&- 2>&-", 0, "", ""),
        ("inv say >/dev/full", 1, "", "error: standard output cannot be written\nwhy: No space left on device\n"),
        ("inv --list >/dev/full", 1, "", "error: standard output cannot be written\nwhy: No space left on device\n"),
        ("inv sayy 2>/dev/full", 2, "", ""),
        ("inv typed --count x --json >/dev/full 2>&-", 2, "", ""),
        ("inv much | head -1; exit ${PIPESTATUS[0]}", 141, "0\n", ""),
        ("inv much typed | head -1; exit ${PIPESTATUS[0]}", 141, "0\n", ""),
        ("inv --help | true; exit ${PIPESTATUS[0]}", None, "", ""),
        ("inv tell 2>&1 | head -1; exit ${PIPESTATUS[0]}", 0, "progress\n", ""),
        ("printf 'a\\nb\\n' | while read x; do inv deaf; done", 0, "''\n''\n", ""),
        ("printf 'a\\nb\\n' | while read x; do inv read -- $x; done", 0, "", ""),
        ("printf 'a\\nb\\n' | inv read", 0, "a\nb\n", ""),
        ("printf 'a\\nb\\n' | inv deaf read", 0, "''\na\nb\n", ""),
        ("printf 'a\\nb\\n' | inv read --stdin -- x", 0, "a\nb\n", ""),
        ("printf 'a\\nb\\n' | inv read -- -x SET", 0, "a\nb\n", ""),
        ("printf 'a\\nb\\n' | inv shell -- cat", 0, "a\nb\n", ""),
    ],
)  # fmt: skip
def test_streams(folder: Path, line: str, code: int | None, printed: str, said: str) -> None:
    done = shell(line, folder)
    assert (done.stdout, done.stderr) == (printed, said)
    assert done.returncode in ({0, 141} if code is None else {code})
    assert ("tell" in line) == (folder / "told").exists()


@processes
def test_paths_are_relative_to_the_callers_folder(folder: Path) -> None:
    below = folder / "below"
    below.mkdir()
    assert process("-m", "synos_tasks", "write", "--to", "b", cwd=below).returncode == 0
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    words = ("-m", "synos_tasks", "--search-root", str(folder), "write", "--to", "c")
    assert process(*words, cwd=elsewhere).returncode == 0
    assert [below / "b", elsewhere / "c"] == [*below.iterdir(), *elsewhere.iterdir()]
