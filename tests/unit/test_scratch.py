"""Folders for what is not finished; tests of how builds share them are with those of publishing."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from synos_tasks.iso.scratch import remove, scratch, sweep, sync

PREFIX = "new-"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_goes_when_one_is_interrupted(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), scratch(tmp_path, PREFIX) as folder:
        (folder / "deep/er").mkdir(parents=True)
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = names(Path("/proc/self/fd"))
    with suppress(RuntimeError), scratch(tmp_path, PREFIX) as folder:
        sweep(tmp_path, PREFIX)
        sync(folder)
        raise RuntimeError
    assert names(Path("/proc/self/fd")) == before


def test_sweeping_takes_what_has_the_prefix_alone(tmp_path: Path) -> None:
    for name in (f"{PREFIX}a", "new", f"x{PREFIX}", f".{PREFIX}"):
        (tmp_path / name).mkdir()
    (tmp_path / "new" / f"{PREFIX}b").touch()
    sweep(tmp_path, PREFIX)
    assert names(tmp_path) == sorted(["new", f"x{PREFIX}", f".{PREFIX}"])
    assert names(tmp_path / "new") == [f"{PREFIX}b"]


def test_sweeping_lets_all_be_while_somebody_has_a_folder(tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}killed"
    with scratch(tmp_path, PREFIX):
        left.mkdir()
        sweep(tmp_path, PREFIX)
        with scratch(tmp_path, PREFIX):
            assert left.is_dir()
        assert left.is_dir()
    sweep(tmp_path, PREFIX)
    assert names(tmp_path) == []


def test_a_folder_is_not_given_while_somebody_sweeps(tmp_path: Path) -> None:
    given = threading.Event()

    def ask() -> None:
        with scratch(tmp_path, PREFIX):
            given.set()

    thread = threading.Thread(target=ask, daemon=True)
    sweeper = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(sweeper, fcntl.LOCK_EX)
    thread.start()
    assert not given.wait(0.1)
    assert names(tmp_path) == []
    os.close(sweeper)
    assert given.wait(5)
    thread.join(5)


@pytest.mark.parametrize("kind", ["file", "folder", "link to a folder", "link to nothing", "nothing"])
def test_removing_takes_the_thing_itself(tmp_path: Path, kind: str) -> None:
    path, kept = tmp_path / "thing", tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    if kind == "file":
        path.touch()
    elif kind == "folder":
        path.mkdir()
        (path / "link").symlink_to(kept)
    elif kind != "nothing":
        path.symlink_to(kept if kind == "link to a folder" else tmp_path / "nowhere")
    remove(path)
    assert names(tmp_path) == ["kept"]
    assert names(kept) == ["file"]
