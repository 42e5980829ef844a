"""Eviction removes what was not used for longest, never what is young, and nothing while a build has the store open."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.build.iso_build import limits_of
from synos_tasks.errors import CacheUnusable
from synos_tasks.iso import eviction
from synos_tasks.iso.eviction import YOUNG_SECONDS, Evicted, Limits, Stored, choose, evict, listing
from synos_tasks.iso.remote import ENTRY
from synos_tasks.iso.store import UNKNOWN, Entry, Store
from synos_tasks.settings import MaintSettings
from tests.unit.contexts import put_entry

NOW = 1_800_000_000.0
DAY = 86400
ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = Limits(max_age=-1.0, young=0.0)


def put(store: Store, key: str, *, days: float = 0, size: int = 5000) -> Entry:
    """Put in an entry, last used some days ago."""
    with Store(store.folder, pytest.fail) as other:
        entry = put_entry(other, key, {"layer.squashfs": b"x" * size})
    age(entry.file(ENTRY), days)
    return entry


def put_package(store: Store, name: str, *, days: float = 0) -> Path:
    path = store.folder / "pool" / f"{name}.deb"
    path.write_bytes(b"x" * 5000)
    age(path, days)
    return path


def put_lists(store: Store, suite: str, *, days: float = 0) -> Path:
    folder = store.folder / "lists" / suite
    (folder / "partial").mkdir(parents=True)
    (folder / "InRelease").write_bytes(b"x" * 5000)
    age(folder, days)
    return folder


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def keys(store: Store) -> set[str]:
    return {one.key for one in listing(store)}


def test_a_file_with_two_names_counts_once(store: Store) -> None:
    one, two = put(store, "one", size=50_000), put(store, "two")
    before = sum(entry.bytes for entry in listing(store))
    (two.folder / "linked").hardlink_to(one.file("layer.squashfs"))
    assert sum(entry.bytes for entry in listing(store)) == before


@pytest.mark.parametrize("text", ["{}", "[]", "", None])
def test_an_entry_that_does_not_name_its_stage_is_listed_all_the_same(store: Store, text: str | None) -> None:
    path = put(store, "old").file(ENTRY)
    path.unlink()
    if text is not None:
        path.write_text(text)
    (one,) = listing(store)
    assert (one.stage, one.key) == (UNKNOWN, "old")
    assert evict(store, EVERYTHING).count == 1


def test_age_and_size_decide(store: Store) -> None:
    for days in (1, 5, 40, 50):
        put(store, f"stage-{days}", days=days, size=100_000)
    put_package(store, "package-45", days=45)
    put_package(store, "package-2", days=2)
    put_lists(store, "lists-41", days=41)
    done = evict(store, Limits(max_age=30 * DAY))
    assert keys(store) == {"stage-1", "stage-5", "package-2"}
    assert (done.count, done.skipped, done.busy) == (4, 0, False)
    left = sum(one.bytes for one in listing(store))
    assert done.left_bytes == left
    done = evict(store, Limits(max_bytes=left - 1))
    assert keys(store) == {"stage-1", "package-2"}
    assert done.bytes + done.left_bytes == left
    assert evict(store, Limits(max_bytes=left, max_age=30 * DAY)).count == 0
    assert list((store.folder / "tmp").iterdir()) == list((store.folder / "locks").iterdir()) == []


def test_while_a_build_has_the_store_open_nothing_goes_and_that_is_said(store: Store) -> None:
    put(store, "used", days=40)
    put(store, "unused", days=40)
    put_package(store, "package", days=40)
    put_lists(store, "bookworm", days=40)
    with Store(store.folder, pytest.fail) as build:
        assert build.find("used")
        assert all(one.in_use for one in listing(store))
        done = evict(store, EVERYTHING)
        assert (done.count, done.skipped, done.busy) == (0, 4, True)
        assert keys(store) == {"used", "unused", "package", "bookworm"}
    assert not any(one.in_use for one in listing(store))
    assert evict(store, EVERYTHING).count == 4


def test_the_deadline_ends_it_and_the_next_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for days in (43, 42, 41):
        put(store, f"{days}", days=days)
    done = evict(store, Limits(max_age=-1.0, young=0.0, seconds=-1))
    left = sum(one.bytes for one in listing(store))
    assert done == Evicted(bytes=0, count=0, left_bytes=left, skipped=3)
    clock = iter([0.0, 0.0, 1.0, 2.0])
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(clock))
        assert evict(store, Limits(max_age=-1.0, young=0.0, seconds=1.5)).count == 2
    assert keys(store) == {"41"}
    assert evict(store, EVERYTHING).count == 1


def test_one_that_is_killed_half_way_leaves_a_whole_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "b"):
        put(store, key, days=40)

    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(eviction, "remove", killed)
        patch.setattr("synos_tasks.iso.store.remove", lambda _: None)  # nor is anything tidied
        with pytest.raises(KeyboardInterrupt):
            evict(store, EVERYTHING)
    assert list((store.folder / "tmp").iterdir()) != []
    assert keys(store) == {"b"}
    with store:
        assert list((store.folder / "tmp").iterdir()) == []
        assert store.find("a") is None
        assert store.find("b")
    assert evict(store, EVERYTHING).count == 1


def test_what_the_disk_refuses_is_an_error_of_ours(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_package(store, "a")

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr("pathlib.Path.rename", refuse)
    with pytest.raises(CacheUnusable):
        evict(store, EVERYTHING)


# ---- builds and evictions at once, in processes of their own

WORKER = """
import os, sys, time
from pathlib import Path
from synos_tasks.iso.eviction import Limits, evict
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
                        entry = store.commit(key, folder, {}, "base")
        yield entry

while time.monotonic() < end:
    store = Store(cache, warned.append)
    if what == "evict":
        done += evict(store, Limits(max_age=-1.0, young=0.0)).count
        time.sleep(0.001)
    elif what == "damage":
        for path in (cache / "objects").glob("*3/file"):
            try:
                path.write_text("damaged")
            except FileNotFoundError:
                pass
        time.sleep(0.02)
    else:
        with store:
            for entry in list(build(store)):
                if what == "build" or not entry.key.endswith("3"):
                    assert entry.file("file").read_text() == entry.key
        done += 1
        time.sleep(0.03)
assert what != "build" or not warned, warned
print(done)
"""


def start(what: str, cache: Path, seconds: float) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(WORKER), what, str(cache), str(seconds)]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.allow_process(reason="a lock is between processes")
@pytest.mark.parametrize(
    "kinds", [("build", "build", "build", "evict", "evict"), ("careful", "careful", "damage", "evict")]
)
def test_no_build_fails_whatever_is_evicted_or_damaged_meanwhile(
    store: Store, kinds: tuple[str, ...]
) -> None:
    running = [(what, start(what, store.folder, 1.0)) for what in kinds]
    done = dict.fromkeys(kinds, 0)
    for what, process in running:
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        done[what] += int(out)
    assert all(count for what, count in done.items() if what != "damage"), done


# ---- what is chosen


@st.composite
def stored(draw: st.DrawFn) -> list[Stored]:
    def one(key: int) -> Stored:
        used = NOW - draw(st.one_of(st.integers(-DAY, 2 * int(YOUNG_SECONDS)), st.integers(0, 90 * DAY)))
        size, in_use = draw(st.integers(0, 1000)), draw(st.booleans())
        kind = draw(st.sampled_from(["stage", "package", "lists"]))
        return Stored(kind=kind, key=str(key), bytes=size, created=used, last_used=used, in_use=in_use)

    return [one(key) for key in range(draw(st.integers(0, 12)))]


LIMITS = st.builds(
    Limits,
    max_bytes=st.none() | st.integers(0, 6000),
    max_age=st.none() | st.integers(0, 90 * DAY),
    young=st.sampled_from([0, YOUNG_SECONDS]),
)


def may_go(entries: list[Stored], limits: Limits) -> list[Stored]:
    return [one for one in entries if not one.in_use and NOW - one.last_used >= limits.young]


@settings(deadline=None, derandomize=True)
@given(stored(), LIMITS)
def test_what_must_go_goes_the_longest_unused_first_and_no_more(
    entries: list[Stored], limits: Limits
) -> None:
    chosen = choose(entries, limits, NOW)
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(may_go(entries, limits)), "nothing that is in use or young"
    used = [one.last_used for one in chosen]
    left = [one for one in entries if one not in chosen]
    free = may_go(left, limits)
    assert used == sorted(used)
    assert all(one.last_used >= used[-1] for one in free if used)
    # afterwards the limits are kept where that is possible
    size = sum(one.bytes for one in left)
    assert limits.max_age is None or not [one for one in free if NOW - one.last_used > limits.max_age]
    assert limits.max_bytes is None or not free or size <= limits.max_bytes
    if chosen:  # the last had to go too
        too_old = limits.max_age is not None and NOW - used[-1] > limits.max_age
        assert too_old or (limits.max_bytes is not None and size + chosen[-1].bytes > limits.max_bytes)


@settings(deadline=None, derandomize=True)
@given(stored(), st.data())
def test_what_was_chosen_goes_and_no_more_and_not_where_it_was_used_since(
    entries: list[Stored], data: st.DataObject
) -> None:
    picked = data.draw(st.lists(st.sampled_from(entries), unique=True)) if entries else []
    since = data.draw(st.sampled_from(picked)) if picked else None
    told = {one.key: one.last_used - (1 if one == since else 0) for one in picked}
    chosen = choose(entries, Limits(chosen=told, max_age=0.0, max_bytes=0), NOW)
    assert set(chosen) == {one for one in entries if told.get(one.key) == one.last_used and not one.in_use}
    assert since not in chosen


@pytest.mark.parametrize(
    ("change", "limits"),
    [
        ({}, Limits(max_bytes=2 * 10**9, max_age=3 * DAY, young=300, seconds=4)),
        ({"store_max_gb": 0}, Limits(max_age=3 * DAY, young=300, seconds=4)),
        ({"store_days": 0}, Limits(max_bytes=2 * 10**9, young=300, seconds=4)),
        ({"store_max_gb": 0, "store_days": 0}, None),
        ({"budget_seconds": 0}, None),
    ],
    ids=str,
)
def test_the_settings_set_the_limits(change: dict[str, int], limits: Limits | None) -> None:
    some = {"store_max_gb": 2, "store_days": 3, "budget_seconds": 4, "young_minutes": 5}
    assert limits_of(MaintSettings(**{**some, **change})) == limits
