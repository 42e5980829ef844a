"""The store returns what was committed, whole, or nothing; of builds that share it, one makes a stage."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.errors import CacheUnusable, DiskFull, SynosError
from synos_tasks.iso.remote import ENTRY
from synos_tasks.iso.scratch import sync
from synos_tasks.iso.store import Entry, Store
from synos_tasks.locks import exclusive
from tests.unit.contexts import put_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "0123456789abcdef"
FILES = {"root.squashfs": bytes(range(97)), "initrd.img": b"initrd"}
FACTS = {"removed": ["etc/motd"], "initramfs": True, "installed": {"sudo": 12}}


@pytest.fixture
def warned() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warned: list[str]) -> Iterator[Store]:
    with Store(tmp_path / "cache", warned.append) as opened:
        yield opened


def put(store: Store, key: str = KEY, files: dict[str, bytes] = FILES) -> Entry:
    return put_entry(store, key, files, FACTS)


def inside(store: Store, folder: str) -> list[str]:
    return sorted(path.name for path in (store.folder / folder).iterdir())


def test_what_was_committed_is_found(store: Store, warned: list[str]) -> None:
    committed = put(store)
    assert store.find(KEY) == store.peek(KEY) == committed
    assert {name: committed.file(name).read_bytes() for name in FILES} == FILES
    assert committed.facts == FACTS
    assert committed.bytes == sum(map(len, FILES.values()))
    assert warned == []


def test_nothing_is_visible_before_the_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []

    def noting(path: Path) -> None:
        synced.append((path.name, store.peek(KEY) is not None))
        sync(path)

    monkeypatch.setattr("synos_tasks.iso.store.sync", noting)
    with store.slot() as folder:
        (folder / "a").touch()
        assert inside(store, "objects") == []
        store.commit(KEY, folder, {}, "base")
    # all of it is on disk before it has its name, and then the name is
    assert synced == [("a", False), (ENTRY, False), (folder.name, False), ("objects", True)]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_fails_in_a_slot_leaves_nothing(store: Store, error: type[BaseException]) -> None:
    with suppress(error), store.slot() as folder:
        (folder / "half").touch()
        raise error
    assert inside(store, "tmp") == inside(store, "objects") == []


def damaged(place: int, flip: int, kind: str, content: bytes) -> bytes:
    """Content with one byte changed, a part of it, or with something behind it."""
    if kind == "flipped":
        return content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :]
    return content[:place] if kind == "cut" else content + b"x"


@contextmanager
def filled() -> Iterator[tuple[Store, Entry, list[str]]]:
    with tempfile.TemporaryDirectory() as folder:
        warned: list[str] = []
        with Store(Path(folder), warned.append) as store:
            yield store, put(store), warned


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(FILES)), st.sampled_from(["flipped", "cut", "longer"]), st.integers(0), st.data()
)
def test_a_damaged_file_costs_the_entry(name: str, kind: str, place: int, data: st.DataObject) -> None:
    with filled() as (store, entry, warned):
        content, flip = FILES[name], data.draw(st.integers(1, 255))
        entry.file(name).write_bytes(damaged(place % len(content), flip, kind, content))
        assert store.find(KEY) is None
        (warning,) = warned
        assert name in warning
        assert KEY[:12] in warning
        assert inside(store, "objects") == inside(store, "tmp") == []
        assert store.find(KEY) is None
        assert put(store) == store.find(KEY)
        assert len(warned) == 1


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sampled_from(["flipped", "cut", "longer"]), st.integers(0), st.integers(1, 255))
def test_a_damaged_list_of_files_costs_the_entry(kind: str, place: int, flip: int) -> None:
    with filled() as (store, entry, warned):
        raw = entry.file(ENTRY).read_bytes()
        place %= len(raw)
        entry.file(ENTRY).write_bytes(damaged(place, flip, kind, raw))
        found = store.find(KEY)
        if found is None:
            assert len(warned) == 1
            assert inside(store, "objects") == []
        else:  # it says the same: a space became a tab
            assert (found, warned) == (entry, [])
            shutil.rmtree(entry.folder)
        assert put(store) == store.find(KEY)


SENSELESS = [(ENTRY, text) for text in ("", "[]", "{}", "null", '{"files": []}', '{"files": 1}', "\xff")]


@pytest.mark.parametrize(("name", "text"), [*((name, None) for name in (*FILES, ENTRY)), *SENSELESS])
def test_a_lost_file_or_a_senseless_list_costs_the_entry(
    store: Store, warned: list[str], name: str, text: str | None
) -> None:
    path = put(store).file(name)
    path.unlink()
    if text is not None:
        path.write_text(text, encoding="latin-1")
    assert store.find(KEY) is None
    (warning,) = warned
    assert KEY[:12] in warning
    assert inside(store, "objects") == []
    assert put(store) == store.find(KEY)


def test_peek_reads_no_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = put(store)
    entry.file("initrd.img").write_bytes(b"damaged")
    monkeypatch.setattr("synos_tasks.iso.store.sha256", lambda _: pytest.fail("a file was read"))
    assert store.peek(KEY) == entry


def test_what_another_build_made_anew_is_not_dropped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = put(store)
    damaged.file("initrd.img").write_bytes(b"damaged")
    slot = store.slot

    @contextmanager
    def late() -> Iterator[Path]:
        monkeypatch.setattr(store, "slot", slot)
        shutil.move(damaged.folder, store.folder / "aside")
        put(store)
        with slot() as folder:
            yield folder

    monkeypatch.setattr(store, "slot", late)
    assert store.find(KEY) is None
    assert store.find(KEY) == damaged


def test_who_commits_second_gets_what_the_first_made_unless_it_is_damaged(
    store: Store, warned: list[str]
) -> None:
    first, other = put(store), {"other": b"made by another"}
    assert put(store, files=other) == first
    assert first.file("initrd.img").read_bytes() == b"initrd"
    assert inside(store, "tmp") == []
    first.file("initrd.img").write_bytes(b"damaged")
    second = put(store, files=other)
    assert store.find(KEY) == second
    assert second.file("other").read_bytes() == b"made by another"
    assert len(warned) == 1


def test_use_is_remembered_where_it_can_be_and_a_look_is_no_use(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(store).file(ENTRY)
    os.utime(path, (1, 1))
    assert store.peek(KEY)
    assert path.stat().st_mtime == 1
    assert store.find(KEY)
    assert abs(time.time() - path.stat().st_mtime) < 60
    breaking(monkeypatch, "os.utime", errno.EROFS, store.folder)
    assert store.find(KEY)


# ---- several builds


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


def test_opening_waits_while_something_is_removed(tmp_path: Path) -> None:
    store, opened = Store(tmp_path, pytest.fail), threading.Event()

    def build() -> None:
        with store:
            opened.set()

    thread = threading.Thread(target=build, daemon=True)
    with exclusive(store.lock):
        thread.start()
        assert not opened.wait(0.1)
    thread.join(5)
    assert opened.is_set()


def test_opening_removes_what_killed_builds_left_unless_one_is_at_work(tmp_path: Path) -> None:
    store = Store(tmp_path, pytest.fail)
    (tmp_path / "locks/killed").touch()
    (tmp_path / "tmp/killed").mkdir()
    (tmp_path / "tmp/killed/half").touch()
    with store, store.slot() as folder, store.alone(KEY):
        assert inside(store, "tmp") == [folder.name]
        with Store(tmp_path, pytest.fail):
            assert inside(store, "tmp") == [folder.name]
            assert inside(store, "locks") == [KEY]


# ---- the disk


def _open(store: Store) -> None:
    with Store(store.folder, pytest.fail):
        pass


def _take(store: Store) -> None:
    with store.alone(KEY):
        pass


ERRORS = [
    (errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EROFS, CacheUnusable), (errno.EIO, CacheUnusable)
]  # fmt: skip
USES: list[tuple[str, Callable[[Store], object]]] = [
    ("pathlib.Path.mkdir", _open), ("os.open", _open), ("os.open", _take), ("pathlib.Path.rename", put),
    ("tempfile.mkdtemp", put),
]  # fmt: skip


def breaking(monkeypatch: pytest.MonkeyPatch, function: str, code: int, place: Path) -> None:
    def broken(*_: object, **__: object) -> NoReturn:
        raise OSError(code, os.strerror(code), str(place))

    monkeypatch.setattr(function, broken)


@pytest.mark.parametrize(("function", "use"), USES)
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


def test_an_entry_that_was_sealed_with_another_key_is_damaged(tmp_path: Path, warned: list[str]) -> None:
    with Store(tmp_path, warned.append, "forged") as other:
        put(other)
    with Store(tmp_path, warned.append, "the project's") as store:
        assert store.find(KEY) is None
        assert len(warned) == 1
        put(store)
        assert store.find(KEY)


def test_an_entry_in_the_place_of_another_is_damaged(store: Store, warned: list[str]) -> None:
    put(store).folder.rename(store.folder / "objects/other")
    assert store.find("other") is None
    assert len(warned) == 1
