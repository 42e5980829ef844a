"""Locks: alone or shared, waited for or not, on folders and on lock files that their holder removes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from synos_tasks.locks import exclusive, held, shared, try_exclusive


@pytest.fixture(params=["folder", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path if request.param == "folder" else tmp_path / "lock"


def is_free(path: Path) -> bool:
    with try_exclusive(path) as alone:
        return alone


def test_one_at_a_time_is_alone(path: Path) -> None:
    with exclusive(path, waiting=lambda: pytest.fail("nobody holds it")):
        assert not is_free(path)
    assert is_free(path)


def test_many_share_and_nobody_is_alone_meanwhile(path: Path) -> None:
    with shared(path):
        with shared(path):
            assert not is_free(path)
        assert not is_free(path)
    assert is_free(path)


def test_says_once_that_it_waits(path: Path) -> None:
    said: list[str] = []
    waits, entered = threading.Event(), threading.Event()

    def note() -> None:
        said.append("waiting")
        waits.set()

    def second() -> None:
        with exclusive(path, waiting=note):
            entered.set()

    with exclusive(path):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        assert not entered.is_set()
    thread.join(10)
    assert entered.is_set()
    assert said == ["waiting"]


def test_an_error_releases_it(path: Path) -> None:
    with pytest.raises(ValueError, match="x"), exclusive(path):
        raise ValueError("x")
    assert is_free(path)


def test_who_waited_for_a_removed_lock_file_locks_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waits, entered, leave = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        with exclusive(path, waiting=waits.set):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=second)
    with exclusive(path):
        thread.start()
        assert waits.wait(10)
        path.unlink()
    assert entered.wait(10)
    assert path.exists()
    assert not is_free(path)
    leave.set()
    thread.join(10)


def test_what_is_held_is_listed_and_the_rest_removed(tmp_path: Path) -> None:
    (tmp_path / "left").touch()
    with exclusive(tmp_path / "one"):
        assert held(tmp_path) == {"one"}
    assert not (tmp_path / "left").exists()
    assert held(tmp_path / "absent") == frozenset()


def test_a_folder_that_cannot_be_read_does_not_mean_that_nothing_is_held(tmp_path: Path) -> None:
    unreadable = tmp_path / "leases"
    unreadable.write_text("no folder, so that root cannot list it either")
    with pytest.raises(OSError, match="leases"):
        held(unreadable)
