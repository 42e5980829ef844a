"""The store gives back what was committed, whole, or nothing."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.iso.scratch import sync
from synos_tasks.iso.store import ENTRY, Entry, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "0123456789abcdef"
FILES = {"root.squashfs": bytes(range(97)), "initrd.img": b"initrd"}
FACTS = {"removed": ["etc/motd"], "initramfs": True, "installed": {"sudo": 12}}


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: what it keeps when the power fails, no test here can see."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def warned() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warned: list[str]) -> Store:
    return Store(tmp_path / "cache", warned.append)


def put(store: Store, key: str = KEY) -> Entry:
    with store.slot() as folder:
        for name, content in FILES.items():
            (folder / name).write_bytes(content)
        return store.commit(key, folder, FACTS)


def inside(store: Store, folder: str) -> list[str]:
    return sorted(path.name for path in (store.folder / folder).iterdir())


def test_what_was_committed_is_found(store: Store, warned: list[str]) -> None:
    committed = put(store)
    assert store.find(KEY) == store.peek(KEY) == committed
    assert {name: committed.file(name).read_bytes() for name in FILES} == FILES
    assert committed.facts == FACTS
    assert committed.bytes == sum(map(len, FILES.values()))
    assert warned == []


def test_an_unknown_key_is_nothing_to_warn_of(store: Store, warned: list[str]) -> None:
    assert store.find(KEY) is None
    assert store.peek(KEY) is None
    assert warned == []


def test_another_store_on_the_same_folder_finds_it(store: Store) -> None:
    committed = put(store)
    assert Store(store.folder, pytest.fail).find(KEY) == committed


def test_nothing_is_visible_before_the_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []

    def noting(path: Path) -> None:
        synced.append((path.name, store.peek(KEY) is not None))
        sync(path)

    monkeypatch.setattr("synos_tasks.iso.store.sync", noting)
    with store.slot() as folder:
        (folder / "a").touch()
        assert inside(store, "objects") == []
        store.commit(KEY, folder, {})
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
        store = Store(Path(folder), warned.append)
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


@pytest.mark.parametrize("name", [*FILES, ENTRY])
def test_a_lost_file_costs_the_entry(store: Store, warned: list[str], name: str) -> None:
    put(store).file(name).unlink()
    assert store.find(KEY) is None
    (warning,) = warned
    assert KEY[:12] in warning
    assert inside(store, "objects") == []
    assert put(store) == store.find(KEY)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"files": []}', '{"files": 1}', "\xff"])
def test_a_senseless_list_of_files_costs_the_entry(store: Store, warned: list[str], text: str) -> None:
    put(store).file(ENTRY).write_text(text, encoding="latin-1")
    assert store.peek(KEY) is None
    assert store.find(KEY) is None
    assert ENTRY in warned[0]
    assert inside(store, "objects") == []


def test_peek_reads_no_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = put(store)
    entry.file("initrd.img").write_bytes(b"damaged")
    monkeypatch.setattr("synos_tasks.iso.store.sha256", lambda _: pytest.fail("a file was read"))
    assert store.peek(KEY) == entry


def test_what_another_build_dropped_is_dropped_in_silence(store: Store, warned: list[str]) -> None:
    inode = put(store).folder.stat().st_ino
    other = put(store, "other")
    for _ in range(2):
        store._drop(KEY, inode)
    assert inside(store, "objects") == ["other"]
    assert inside(store, "tmp") == []
    assert store.find("other") == other
    assert warned == []


def test_what_another_build_made_anew_meanwhile_stays(store: Store) -> None:
    damaged = put(store).folder.stat().st_ino
    shutil.move(
        store.folder / "objects" / KEY, store.folder / "aside"
    )  # keeps the inode from being used again
    made = put(store)
    store._drop(KEY, damaged)
    assert store.find(KEY) == made
