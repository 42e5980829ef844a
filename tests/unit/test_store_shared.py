"""Of builds that share a store, one makes a stage; and what the store's disk refuses is said in our words."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import pytest

from synos_tasks.errors import CacheUnusable, DiskFull, SynosError
from synos_tasks.iso.store import UNFINISHED, Entry, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "0123456789abcdef"


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: what it keeps when the power fails, no test here can see."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", pytest.fail)


def put(store: Store) -> Entry:
    with store.slot() as folder:
        (folder / "file").write_text("content")
        return store.commit(KEY, folder, {})


def inside(store: Store, folder: str) -> list[str]:
    return sorted(path.name for path in (store.folder / folder).iterdir())


def test_who_comes_second_waits_and_finds_what_the_first_made(store: Store) -> None:
    has_begun, has_lock = threading.Event(), threading.Event()
    found: list[Entry | None] = []

    def second() -> None:
        has_begun.set()
        with store.alone(KEY):
            has_lock.set()
            found.append(store.find(KEY))

    thread = threading.Thread(target=second, daemon=True)
    with store.alone(KEY):
        thread.start()
        assert has_begun.wait(5)
        with store.alone("another key"):
            assert not has_lock.wait(0.1)
        first = put(store)
    thread.join(5)
    assert found == [first]
    assert inside(store, "locks") == []


def test_a_lock_goes_when_the_work_fails(store: Store) -> None:
    with suppress(RuntimeError), store.alone(KEY):
        raise RuntimeError
    assert inside(store, "locks") == []
    with store.alone(KEY):
        assert inside(store, "locks") == [KEY]


def test_a_lock_whose_file_was_removed_meanwhile_is_no_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = store.folder / "locks" / KEY, fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()  # whoever had it is done: who waits next makes a file of its own
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with store.alone(KEY), path.open() as stream, pytest.raises(BlockingIOError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_lock_of_a_killed_build_does_not_block(store: Store) -> None:
    (store.folder / "locks" / KEY).touch()
    with store.alone(KEY):
        pass
    assert inside(store, "locks") == []


def test_opening_removes_the_locks_of_killed_builds_alone(store: Store) -> None:
    killed, held = store.folder / "locks/killed", store.folder / "locks/held"
    killed.touch()
    with held.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        Store(store.folder, pytest.fail)
        assert inside(store, "locks") == ["held"]
        assert os.path.samestat(held.stat(), os.fstat(stream.fileno()))
    Store(store.folder, pytest.fail)
    assert inside(store, "locks") == []


def test_opening_removes_what_killed_builds_left_unless_one_is_at_work(store: Store) -> None:
    left = store.folder / "tmp" / f"{UNFINISHED}killed"
    with store.slot() as folder:
        left.mkdir()
        (left / "half").touch()
        Store(store.folder, pytest.fail)
        assert folder.is_dir()
        assert left.is_dir()
    Store(store.folder, pytest.fail)
    assert inside(store, "tmp") == []


def _mkdir(store: Store) -> None:
    Store(store.folder, pytest.fail)


def _take(store: Store) -> None:
    with store.alone(KEY):
        pass


ERRORS = [
    (errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EROFS, CacheUnusable), (errno.EIO, CacheUnusable)
]  # fmt: skip
USES: list[tuple[str, Callable[[Store], object]]] = [
    ("pathlib.Path.mkdir", _mkdir), ("os.open", _take), ("pathlib.Path.rename", put), ("tempfile.mkdtemp", put)
]  # fmt: skip


def breaking(monkeypatch: pytest.MonkeyPatch, function: str, code: int, place: Path) -> None:
    def broken(*_: object, **__: object) -> NoReturn:
        raise OSError(code, os.strerror(code), str(place))

    monkeypatch.setattr(function, broken)


@pytest.mark.parametrize(("function", "use"), USES, ids=[function for function, _ in USES])
@pytest.mark.parametrize(("code", "error"), ERRORS, ids=[errno.errorcode[code] for code, _ in ERRORS])
def test_what_the_disk_refuses_is_an_error_with_a_hint(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    error: type[SynosError],
    function: str,
    use: Callable[[Store], object],
) -> None:
    place = store.folder / "tmp/x"
    with monkeypatch.context() as patch:
        breaking(patch, function, code, place)
        with pytest.raises(error) as raised:
            use(store)
    assert (raised.value.where, raised.value.why) == (str(place), os.strerror(code))
    assert raised.value.hint
    assert inside(store, "tmp") == inside(store, "locks") == inside(store, "objects") == []


def test_an_error_elsewhere_is_not_the_stores(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), store.slot():
        (tmp_path / "nowhere").stat()


def test_a_store_cannot_be_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheUnusable, match="cannot be used"):
        Store(tmp_path / "file", pytest.fail)


def test_a_disk_that_a_tool_of_the_store_fills_is_the_stores(store: Store) -> None:
    with pytest.raises(DiskFull, match="the cache volume is full") as raised, store.tools_write_here():
        raise DiskFull("no space is left", where="stage pool", why="apt said so", hint="work_mb")
    assert (raised.value.where, raised.value.why) == ("stage pool", "apt said so")
    assert "inv maint.prune --store" in raised.value.hint
