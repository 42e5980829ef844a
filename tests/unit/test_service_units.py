"""Units that systemd reads as they were meant, whatever the project's path is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from synos_tasks.errors import SettingsError
from synos_tasks.services import units

ROOT, INV = Path("/home/me/synos"), Path("/home/me/synos/.venv/bin/inv")
SYSTEM = """\
# Written by `inv services.enable`; edits are lost when it runs again.
[Unit]
Description=SynOS services, stack unified
Wants=docker.service network-online.target
After=docker.service network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory=/home/me/synos
ExecStart="/home/me/synos/.venv/bin/inv" services.up --stack unified
ExecStop="/home/me/synos/.venv/bin/inv" services.down --stack unified
# images may have to be built
TimeoutStartSec=15min
# databases write all they hold before they end
TimeoutStopSec=5min

[Install]
WantedBy=multi-user.target
"""
# what a file system can have in a name, and systemd in a unit
PATHS = st.lists(
    st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/"), min_size=1), min_size=1
).map(lambda parts: Path("/", *parts))


def value(text: str, key: str) -> str:
    """What the line of a setting has, as systemd takes it: without blanks at its end."""
    found = [line for line in text.split("\n") if line.startswith(f"{key}=")]
    assert len(found) == 1
    return found[0].partition("=")[2].rstrip(" \t\r")


def command_path(words: str) -> str:
    """The path of the command that systemd starts, by itself or through a shell."""
    shell = """/bin/sh -c 'exec "$$0" "$$@"' """
    if not words.startswith(shell):
        path = unescape(words)
        assert not set("\"'\\") & set(path)  # systemd does not start such a file
        return path
    path = unescape(words.removeprefix(shell))
    assert re.fullmatch(r"([^$]|\$\$)*", path)
    return path.replace("$$", "$")


def unescape(word: str) -> str:
    """Undo systemd.syntax(7): quotes, C escapes; then specifiers."""
    assert (word[0], word[-1]) == ('"', '"')
    inner = word[1:-1]
    assert re.fullmatch(r'([^"\\]|\\["\\])*', inner)
    return specifiers(re.sub(r'\\(["\\])', r"\1", inner))


def specifiers(text: str) -> str:
    assert re.fullmatch(r"([^%]|%%)*", text)
    return text.replace("%%", "%")


def refused(path: Path) -> bool:
    return any(
        0x7F <= ord(c) < 0xA0 or 0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE for c in str(path)
    )


def test_a_unit_of_the_system() -> None:
    assert units.unit_text(ROOT, "unified", INV, None) == SYSTEM
    assert units.unit_text(ROOT, "unified", INV, "root") == SYSTEM


def test_a_unit_of_a_user() -> None:
    text = units.unit_text(ROOT, "unified", INV, "me")
    assert value(text, "WantedBy") == "default.target"
    assert value(text, "After") == "docker.service"
    assert value(text, "Restart") == "on-failure"
    assert "network-online" not in text


def test_down_keeps_the_data() -> None:
    assert value(SYSTEM, "ExecStop").endswith("services.down --stack unified")


def test_a_dollar_sign_is_doubled_where_variables_are_filled_in() -> None:
    assert units.command(Path("/$A/inv")) == '"/$A/inv"'
    assert units.command(Path("/it's $A/inv")) == """/bin/sh -c 'exec "$$0" "$$@"' "/it's $$A/inv\""""


@given(PATHS, st.sampled_from([None, "me"]))
def test_systemd_reads_the_paths_that_were_meant(path: Path, user: str | None) -> None:
    assume(".." not in path.parts and not refused(path))
    text = units.unit_text(path, "s", path / "inv", user)
    for key, verb in (("ExecStart", "services.up"), ("ExecStop", "services.down")):
        command, tail, rest = value(text, key).rpartition(f" {verb} --stack s")
        assert (tail, rest) == (f" {verb} --stack s", "")
        assert command_path(command) == str(path / "inv")
    folder = value(text, "WorkingDirectory")
    assert not folder.endswith("\\")
    assert Path(specifiers(folder)) == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/a\nb", "control"), ("/a\x7fb", "control"), ("/a\x85b", "control"), ("/a\x1b[0m", "control"), ("/a\tb", "control"),
        ("/a\udcff", "UTF-8"), ("/a\ufffe", "UTF-8"), ("/a\U0001ffff", "UTF-8"), ("/a\ufdd0", "UTF-8"),
        ("a/b", "absolute"), ("/a/../b", "absolute"),
    ],
)  # fmt: skip
def test_paths_that_systemd_cannot_have_are_refused(path: str, why: str) -> None:
    for root, inv in ((Path(path), INV), (ROOT, Path(path))):
        with pytest.raises(SettingsError) as caught:
            units.unit_text(root, "s", inv, None)
        assert why in caught.value.why
        assert caught.value.where.isprintable()


def test_the_name_tells_clone_and_stack() -> None:
    assert units.unit_name("synos-0123456789", "unified") == "synos-0123456789-unified.service"


@pytest.mark.parametrize("stack", ["", "a b", "a\n", "-a", ".a", "a/b", "a@b", "a;b", "%h", "ä", "a" * 65])
def test_stacks_that_no_unit_can_have(stack: str) -> None:
    with pytest.raises(SettingsError):
        units.unit_name("synos-1", stack)
    with pytest.raises(SettingsError):
        units.unit_text(ROOT, stack, INV, None)


@pytest.mark.allow_process(reason="systemd itself says how it reads a unit")
@pytest.mark.parametrize(
    "folder", ["plain", 'a "b" c', "100%h $HOME $$ ${HOME}", "it's \\n", "ends\\", "ends ", ";é"]
)
@pytest.mark.parametrize("user", [None, "me"])
def test_systemd_has_nothing_against_it(tmp_path: Path, folder: str, user: str | None) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze here")
    root = tmp_path / folder
    root.mkdir()
    inv = root / "inv"
    inv.write_text("#!/bin/sh\n")
    inv.chmod(0o755)
    unit = tmp_path / "synos-test.service"
    unit.write_text(units.unit_text(root, "unified", inv, user))
    argv = [tool, "verify", "--man=no", "--generators=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    # it also says what other units of this machine have: only ours matters
    complaints = [line for line in done.stderr.splitlines() if unit.name in line or str(root) in line]
    assert complaints == [], done.stderr
