"""What a build has from the store stays until it is done, whoever else finds, drops, makes or removes meanwhile."""

from __future__ import annotations

import fcntl
import math
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import CacheUnusable
from synos_tasks.iso.holds import Holds, unheld
from synos_tasks.iso.housekeeping import Limits, evict, listing
from synos_tasks.iso.pool import Pool
from synos_tasks.iso.store import ENTRY, Entry, Store, used_at
from tests.unit import deb_files
from tests.unit.fakes import fake_tools, workshop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "0123456789abcdef"
ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = Limits(max_age=-1.0, young=0.0)


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(cache: Path) -> Iterator[Store]:
    with Store(cache, pytest.fail) as made:
        yield made


def put(store: Store, key: str = KEY, content: str = "content") -> Entry:
    with store.slot() as folder:
        (folder / "file").write_text(content)
        return store.commit(key, folder, {"content": content})


def put_unheld(cache: Path, key: str = KEY) -> Entry:
    with Store(cache, pytest.fail) as other:
        return put(other, key)


def is_held(path: Path) -> bool:
    with unheld(path) as free:
        return free is None


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_is_found_or_committed_is_held_until_the_store_is_closed(cache: Path) -> None:
    found, before = put_unheld(cache, "found"), open_files()
    with Store(cache, pytest.fail) as store:
        for _ in range(3):
            assert store.find("found")
        made = put(store, "made")
        assert open_files() == before + 2
        assert is_held(found.folder)
        assert is_held(made.folder)
        assert store.peek("made")
    assert open_files() == before
    assert not is_held(found.folder)
    assert not is_held(made.folder)
    store.close()  # once more harms nothing


def test_what_is_not_there_damaged_or_only_looked_at_is_not_held(cache: Path) -> None:
    entry, before = put_unheld(cache), open_files()
    with Store(cache, lambda _: None) as store:
        assert store.peek(KEY)
        assert store.find("unknown") is None
        assert open_files() == before
        entry.file("file").write_text("damaged")
        assert store.find(KEY) is None
        assert open_files() == before


def test_a_commit_that_fails_holds_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_files()

    def broken(*_: object) -> None:
        raise NotADirectoryError(20, "Not a directory", str(store.folder))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", broken)
        with pytest.raises(CacheUnusable):
            put(store)
    assert open_files() == before


def test_use_is_remembered(cache: Path, store: Store) -> None:
    entry = put_unheld(cache)
    os.utime(entry.file(ENTRY), (1, 1))
    assert used_at(entry.folder) == 1
    assert store.peek(KEY)
    assert used_at(entry.folder) == 1, "to look at it is no use"
    assert store.find(KEY) == entry
    assert abs(time.time() - used_at(entry.folder)) < 60


def test_a_store_that_cannot_be_dated_is_used_all_the_same(
    cache: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_unheld(cache)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.utime", refuse)
    assert store.find(KEY)


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Start work; gives the thread, and a list that gets what it returns."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found


def test_who_finds_while_it_is_taken_out_finds_nothing(cache: Path, store: Store, tmp_path: Path) -> None:
    entry = put_unheld(cache)
    with unheld(entry.folder) as free:
        assert free
        thread, found = in_thread(lambda: store.find(KEY))
        thread.join(0.1)
        assert thread.is_alive()
        entry.folder.rename(tmp_path / "gone")
    thread.join(5)
    assert found == [None]


def test_who_finds_while_another_takes_its_place_finds_that(
    cache: Path, store: Store, tmp_path: Path
) -> None:
    entry = put_unheld(cache)
    with unheld(entry.folder) as free:
        assert free
        thread, found = in_thread(lambda: store.find(KEY))
        thread.join(0.1)
        entry.folder.rename(tmp_path / "gone")
        put_unheld(cache)
    thread.join(5)
    assert found == [entry]
    assert is_held(entry.folder)


def test_who_finds_while_it_is_looked_at_waits_and_finds_it(cache: Path, store: Store) -> None:
    entry = put_unheld(cache)
    with unheld(entry.folder):
        thread, found = in_thread(lambda: store.find(KEY))
        thread.join(0.1)
        assert found == []
    thread.join(5)
    assert found == [entry]


def test_of_two_that_want_it_alone_one_gets_it(cache: Path) -> None:
    entry = put_unheld(cache)
    with unheld(entry.folder) as one, unheld(entry.folder) as two:
        assert one
        assert two is None
    with unheld(cache / "objects/unknown") as free:
        assert free is None


def test_what_went_before_it_was_locked_is_not_there(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry, flock = put_unheld(cache), fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        entry.folder.rename(tmp_path / "gone")
        flock(descriptor, operation)

    before = open_files()
    monkeypatch.setattr(fcntl, "flock", late)
    assert Holds().take(entry.folder) is None
    (tmp_path / "gone").rename(entry.folder)
    monkeypatch.setattr(fcntl, "flock", late)
    with unheld(entry.folder) as free:
        assert free is None
    assert open_files() == before


def test_a_damaged_entry_that_another_build_has_is_dropped_and_made_anew(cache: Path, store: Store) -> None:
    entry = put(store)
    entry.file("file").write_text("damaged")
    with Store(cache, lambda _: None) as other:
        assert other.find(KEY) is None
        made = put(other)
        assert is_held(made.folder)
        assert store.find(KEY) == made
    assert is_held(made.folder)


def test_a_damaged_entry_is_not_taken_for_the_one_that_took_its_place(cache: Path, store: Store) -> None:
    damaged = put_unheld(cache).folder
    inode = damaged.stat().st_ino
    damaged.rename(cache / "aside")  # keeps the inode from being used again
    made = put(store)
    with Store(cache, pytest.fail) as other:
        other._drop(KEY, inode)
    assert made.folder.is_dir()


def test_who_commits_second_gets_what_the_first_made(cache: Path, store: Store) -> None:
    first = put_unheld(cache)
    second = put(store, content="made by another")
    assert second == first
    assert second.file("file").read_text() == "content"
    assert is_held(first.folder)
    assert list((cache / "tmp").iterdir()) == []


def test_who_commits_over_a_damaged_entry_takes_its_place(cache: Path) -> None:
    put_unheld(cache).file("file").write_text("damaged")
    warned: list[str] = []
    with Store(cache, warned.append) as store:
        made = put(store, content="made by another")
        assert made.file("file").read_text() == "made by another"
        assert store.find(KEY) == made
        assert is_held(made.folder)
    assert len(warned) == 1


@pytest.mark.parametrize("there", [True, False])
def test_packages_stay_until_they_are_laid_down(
    cache: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    data = deb_files.deb(deb_files.stanza())
    package, before = deb_files.package(data), open_files()
    path = cache / "pool" / f"{package.sha256}.deb"

    def fetch(argv: list[str]) -> None:
        assert is_held(path.parent), "one that was just fetched must not go"
        Path(argv[-2]).write_bytes(data)
        os.utime(argv[-2], (1, 1))  # the mirror's date

    fake_tools(monkeypatch, fetch)
    if there:
        path.write_bytes(data)
        os.utime(path, (1, 1))
    with workshop(tmp_path) as shop:
        debs = Pool(store, shop, offline=there)
        for _ in range(2):
            assert debs.have([package]) == [path]
            assert abs(time.time() - path.stat().st_mtime) < 60
        with Store(cache, pytest.fail) as other:
            assert evict(other, EVERYTHING, math.inf).count == 0
            debs.let_go()
            debs.let_go()
            assert evict(other, EVERYTHING, math.inf).count == 1
    assert open_files() == before


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_that_is_not_waited_for(store: Store, there: bool) -> None:
    with store.alone(KEY) if there else nullcontext():
        with store.alone(KEY, wait=False) as ours:
            assert ours is not there
            assert (store.folder / "locks" / KEY).exists()
        assert (store.folder / "locks" / KEY).exists() is there


def test_two_that_evict_at_once_share_the_work(cache: Path) -> None:
    for number in range(60):
        put_unheld(cache, f"{number:064}")

    def one() -> int:
        with Store(cache, pytest.fail) as store:
            return evict(store, EVERYTHING, math.inf).count

    with ThreadPoolExecutor(4) as threads:
        counts = [threads.submit(one) for _ in range(4)]
    with Store(cache, pytest.fail) as store:
        left = len(listing(store))
    assert sum(count.result() for count in counts) + left == 60
    assert list((cache / "tmp").iterdir()) == []


WORKER = """
import math, os, sys, time
from pathlib import Path
from synos_tasks.iso.housekeeping import Limits, evict
from synos_tasks.iso.pool import Pool
from synos_tasks.iso.store import Store
os.fsync = lambda _: None
what, cache, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
end, done, warned = time.monotonic() + seconds, 0, []

def build(store):
    for number in range(6):
        key = f"{number:064}"
        entry = store.find(key)
        if entry is None:
            with store.alone(key):
                entry = store.find(key)
                if entry is None:
                    with store.slot() as folder:
                        (folder / "file").write_text(key)
                        entry = store.commit(key, folder, {})
        yield entry

while time.monotonic() < end:
    with Store(cache, warned.append) as store:
        if what == "evict":
            done += evict(store, Limits(max_age=-1.0, young=0.0), math.inf).count
        elif what == "damage":
            for path in (cache / "objects").glob("*3/file"):
                try:
                    path.write_text("damaged")
                except FileNotFoundError:
                    pass
            time.sleep(0.02)
        else:
            entries = list(build(store))
            for entry in entries:
                if what == "build" or not entry.key.endswith("3"):
                    assert entry.file("file").read_text() == entry.key
            done += 1
assert what != "build" or not warned, warned
print(done)
"""


def start(what: str, cache: Path, seconds: float) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(WORKER), what, str(cache), str(seconds)]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(cache: Path, *kinds: str) -> dict[str, int]:
    """Run processes on one store at once; gives how much each kind has done."""
    running = [(what, start(what, cache, 1.0)) for what in kinds]
    done = dict.fromkeys(kinds, 0)
    for what, process in running:
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        done[what] += int(out)
    return done


@pytest.mark.allow_process(reason="a lock is between processes")
def test_builds_and_evictions_at_once(cache: Path) -> None:
    done = run(cache, "build", "build", "build", "evict", "evict")
    assert min(done.values()) > 0


@pytest.mark.allow_process(reason="a lock is between processes")
def test_builds_damage_and_evictions_at_once(cache: Path) -> None:
    done = run(cache, "careful", "careful", "damage", "evict")
    assert done["careful"] > 0


@pytest.mark.allow_process(reason="only a process can be killed")
def test_what_a_killed_build_had_is_free(cache: Path, store: Store) -> None:
    process = start("build", cache, 60)
    try:
        end = time.monotonic() + 20
        while not (cache / "objects" / f"{0:064}").exists() and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    assert not any(one.in_use for one in listing(store))
    assert evict(store, EVERYTHING, math.inf).left_bytes == 0
