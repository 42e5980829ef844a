"""Folders for what is not finished; tests of how builds share them are with those of publishing."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from synos_tasks.iso.scratch import remove, scratch, sweep

PREFIX = "new-"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_goes_when_one_is_interrupted(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), scratch(tmp_path, PREFIX) as folder:
        (folder / "deep/er").mkdir(parents=True)
        raise KeyboardInterrupt
    assert names(tmp_path) == []


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


def test_a_folder_goes_however_deep_it_is() -> None:
    # no tmp_path: what a killed run left there would end every later run of pytest with a RecursionError
    place = Path(tempfile.mkdtemp())
    (place / "kept").mkdir()
    deep(place / f"{PREFIX}deep", 3000)
    with scratch(place, PREFIX) as folder:
        assert names(place) == ["kept", folder.name]
    assert names(place) == ["kept"]
    shutil.rmtree(place)


def deep(path: Path, depth: int) -> None:
    """Make nested folders, with a file and a link in each, by descriptors: their paths are too long for a call."""
    path.mkdir()
    folder = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.close(os.open("file", os.O_CREAT, dir_fd=folder))
        os.symlink("..", "link", dir_fd=folder)
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)


def test_a_folder_that_cannot_be_removed_is_said_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = tmp_path / f"{PREFIX}roots"
    (left / "folder").mkdir(parents=True)
    rmdir = os.rmdir

    def refuse(path: str, **where: Any) -> None:  # noqa: ANN401
        if str(path) == "folder" or len(str(path)) > 32:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        rmdir(path, **where)

    monkeypatch.setattr(os, "rmdir", refuse)
    for _ in range(2):
        with scratch(tmp_path, PREFIX) as folder:
            assert folder.is_dir()
        assert f"warning: {left} cannot be removed ([Errno 13]" in capsys.readouterr().err
