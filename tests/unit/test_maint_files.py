"""Unfinished files: whole under their names or not there, whoever else is at it, and nobody else's are touched."""

from __future__ import annotations

import fcntl
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.maint.files import PARTIAL, partial, sweep, write_durably

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESSES, TIMES = 6, 150


def test_what_is_not_renamed_is_gone(tmp_path: Path) -> None:
    with partial(tmp_path) as (path, stream):
        stream.write(b"x")
        assert path.name.startswith(PARTIAL)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_user_names_is_not_swept(tmp_path: Path) -> None:
    for name in (f"{PARTIAL}killed", ".partial-firefox-download"):
        (tmp_path / name).write_text("half")
    write_durably(tmp_path / "file", "all")
    assert {path.name for path in tmp_path.iterdir()} == {
        "file", f"{PARTIAL}killed", ".partial-firefox-download",
    }  # fmt: skip


def test_a_sweep_takes_what_killed_commands_of_ours_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"{PARTIAL}killed").write_text("half")
    (tmp_path / ".partial-firefox-download").write_text("a stranger's")
    (tmp_path / "precious").write_text("data")
    (tmp_path / f"{PARTIAL}folder").mkdir()
    (tmp_path / f"{PARTIAL}link").symlink_to("precious")
    (tmp_path / f"{PARTIAL}nowhere").symlink_to("none")
    os.mkfifo(tmp_path / f"{PARTIAL}fifo")  # opening it to read would wait for a writer
    kept = {path.name for path in tmp_path.iterdir()} - {f"{PARTIAL}killed"}
    with partial(tmp_path) as (path, _):
        sweep(tmp_path)
        assert {one.name for one in tmp_path.iterdir()} == {*kept, path.name}


def test_one_that_goes_while_it_is_looked_at_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "glob", lambda folder, _: [folder / f"{PARTIAL}gone"])
    sweep(tmp_path)


def test_one_that_was_swept_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    swept: list[int] = []

    def late(descriptor: int, how: int) -> None:
        if not swept:
            swept.append(descriptor)
            for path in tmp_path.iterdir():
                path.unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    write_durably(tmp_path / "file", "all")
    assert (tmp_path / "file").read_text() == "all"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(swept[0])


def in_processes(work: Callable[[int], None]) -> list[int]:
    """Do the work in several processes at once; gives their exit codes."""
    children = []
    for number in range(PROCESSES):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(number)
                code = 0
            except BaseException:  # noqa: BLE001  (a fork of pytest must not go on as one)
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@pytest.mark.allow_process(reason="a race needs two")
def test_many_at_once_take_nothing_from_each_other(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for time in range(TIMES):
            sweep(tmp_path)
            with partial(tmp_path) as (path, stream):
                stream.write(b"all")
                stream.flush()
                path.rename(tmp_path / f"{number}-{time}")

    assert in_processes(write) == [0] * PROCESSES
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    wanted = {f"{number}-{time}" for number in range(PROCESSES) for time in range(TIMES)}
    assert found == dict.fromkeys(wanted, b"all")
