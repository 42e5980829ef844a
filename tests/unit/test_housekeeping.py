"""What the store is said to hold, and what is removed of it, is what is there and goes; see also test_housekeeping_choice."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.errors import CacheUnusable
from synos_tasks.iso import __main__ as requests
from synos_tasks.iso import housekeeping, plan
from synos_tasks.iso.events import Events
from synos_tasks.iso.holds import unheld
from synos_tasks.iso.housekeeping import (
    BLOCK,
    Evicted,
    Kept,
    Limits,
    choose,
    evict,
    lists_lock,
)
from synos_tasks.iso.store import ENTRY, UNKNOWN, Entry, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86400
EVERYTHING = Limits(max_age=-1.0, young=0.0)


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "cache", pytest.fail) as made:
        yield made


def put(store: Store, key: str, *, days: float = 0, size: int = 5000, stage: str = "base") -> Entry:
    """Put in an entry that nobody holds, last used some days ago."""
    with Store(store.folder, pytest.fail) as other, other.slot() as folder:
        (folder / "layer.squashfs").write_bytes(b"x" * size)
        entry = other.commit(key, folder, {}, stage)
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


def on_disk(folder: Path) -> int:
    return sum(path.lstat().st_blocks * BLOCK for path in [folder, *folder.rglob("*")])


def keys(store: Store) -> set[str]:
    return {one.key for one in housekeeping.listing(store)}


def test_the_listing_tells_what_there_is(store: Store) -> None:
    stage, package = put(store, "a" * 64, days=3, stage="system"), put_package(store, "b" * 64, days=2)
    lists = put_lists(store, "bookworm", days=1)
    one, two, three = housekeeping.listing(store)
    assert (one.kind, one.stage, one.key, one.in_use) == ("stage", "system", "a" * 64, False)
    assert (two.kind, two.stage, two.key, two.in_use) == ("package", "", "b" * 64, False)
    assert (three.kind, three.stage, three.key, three.in_use) == ("lists", "", "bookworm", False)
    assert (one.bytes, three.bytes) == (on_disk(stage.folder), on_disk(lists))
    assert two.bytes == package.stat().st_blocks * BLOCK
    ages = [round((time.time() - entry.last_used) / DAY) for entry in (one, two, three)]
    assert ages == [3, 2, 1]
    assert time.time() - one.created < 60


def test_a_file_with_two_names_counts_once(store: Store) -> None:
    one, two = put(store, "one", size=50_000), put(store, "two")
    before = sum(entry.bytes for entry in housekeeping.listing(store))
    (two.folder / "linked").hardlink_to(one.file("layer.squashfs"))
    assert sum(entry.bytes for entry in housekeeping.listing(store)) == before


def test_an_empty_file_of_great_length_takes_no_room(store: Store) -> None:
    with put(store, "sparse").file("layer.squashfs").open("ab") as stream:
        stream.truncate(10**9)
    assert housekeeping.listing(store)[0].bytes < 10**6


@pytest.mark.parametrize("text", ["{}", "[]", "", None])
def test_an_entry_that_does_not_name_its_stage_is_listed_all_the_same(store: Store, text: str | None) -> None:
    path = put(store, "old").file(ENTRY)
    path.unlink()
    if text is not None:
        path.write_text(text)
    (one,) = housekeeping.listing(store)
    assert (one.stage, one.key) == (UNKNOWN, "old")
    assert evict(store, EVERYTHING, math.inf).count == 1


def test_what_an_earlier_version_wrote_is_found_and_its_stage_unknown(store: Store) -> None:
    path = put(store, "old").file(ENTRY)
    recorded = json.loads(path.read_text())
    assert recorded.pop("stage") == "base"
    path.write_text(json.dumps(recorded))
    assert store.find("old") is not None
    assert housekeeping.listing(store)[0].stage == UNKNOWN


def test_age_and_size_decide(store: Store) -> None:
    for days in (1, 5, 40, 50):
        put(store, f"stage-{days}", days=days, size=100_000)
    put_package(store, "package-45", days=45)
    put_package(store, "package-2", days=2)
    put_lists(store, "lists-41", days=41)
    told = evict(store, Limits(max_age=30 * DAY), math.inf)
    assert keys(store) == {"stage-1", "stage-5", "package-2"}
    assert (told.count, told.skipped) == (4, 0)
    left = sum(one.bytes for one in housekeeping.listing(store))
    assert told.left_bytes == left
    told = evict(store, Limits(max_bytes=left - 1), math.inf)
    assert keys(store) == {"stage-1", "package-2"}
    assert told.bytes + told.left_bytes == left
    assert evict(store, Limits(max_bytes=left, max_age=30 * DAY), math.inf).count == 0
    assert list((store.folder / "tmp").iterdir()) == list((store.folder / "locks").iterdir()) == []


def test_use_makes_young(store: Store) -> None:
    put(store, "used", days=40)
    put(store, "unused", days=40)
    with Store(store.folder, pytest.fail) as build:
        assert build.find("used")
    assert evict(store, Limits(max_bytes=0, max_age=1), math.inf).count == 1
    assert keys(store) == {"used"}


def test_what_a_build_has_stays_until_it_ends(store: Store) -> None:
    put(store, "found", days=40)
    build = Store(store.folder, pytest.fail)
    assert build.find("found")
    with build.slot() as folder:
        build.commit("made", folder, {})
    put(store, "other")
    assert {one.key for one in housekeeping.listing(store) if one.in_use} == {"found", "made"}
    assert evict(store, EVERYTHING, math.inf).count == 1
    assert keys(store) == {"found", "made"}
    assert evict(build, EVERYTHING, math.inf).count == 0, "its own are in use, too"
    build.close()
    assert evict(store, EVERYTHING, math.inf).count == 2


def test_the_pool_stays_while_a_build_takes_of_it(store: Store) -> None:
    put_package(store, "a", days=40)
    with Store(store.folder, pytest.fail) as build:
        build.holds.take(store.folder / "pool")
        assert housekeeping.listing(store)[0].in_use
        assert evict(store, EVERYTHING, math.inf).count == 0
    assert evict(store, EVERYTHING, math.inf).count == 1


def test_lists_stay_while_apt_is_at_work(store: Store) -> None:
    put_lists(store, "bookworm", days=40)
    with store.alone(lists_lock("bookworm")):
        assert housekeeping.listing(store)[0].in_use
        assert evict(store, EVERYTHING, math.inf).count == 0
    assert evict(store, EVERYTHING, math.inf).count == 1


@contextmanager
def later(monkeypatch: pytest.MonkeyPatch, store: Store) -> Iterator[Store]:
    """Let a build begin after all was listed and chosen."""
    chosen = choose
    with Store(store.folder, pytest.fail) as build, monkeypatch.context() as patch:

        def then(entries: list[Kept], limits: Limits, now: float) -> list[Kept]:
            found = chosen(entries, limits, now)
            build.find("a")
            build.holds.take(store.folder / "pool")
            os.utime(store.folder / "lists/bookworm")
            return found

        patch.setattr(housekeeping, "choose", then)
        yield build


@pytest.mark.parametrize("ended", [False, True])
def test_what_is_used_after_it_was_chosen_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    put(store, "a", days=40)
    path = put_package(store, "b", days=40)
    put_lists(store, "bookworm", days=40)
    with later(monkeypatch, store) as build:
        if ended:  # what it used has a new date, and nobody holds it
            monkeypatch.setattr(build.holds, "take", lambda path: path.stat())
            monkeypatch.setattr(housekeeping, "unheld", touching(path))
        told = evict(store, EVERYTHING, math.inf)
    assert (told.count, told.skipped) == (0, 3)
    assert keys(store) == {"a", "b", "bookworm"}


def touching(path: Path) -> Any:  # noqa: ANN401
    """Give unheld(), but that a package is used just before."""

    @contextmanager
    def late(folder: Path) -> Iterator[os.stat_result | None]:
        os.utime(path)
        with unheld(folder) as free:
            yield free

    return late


def test_the_deadline_ends_it_and_the_next_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for days in (43, 42, 41):
        put(store, f"{days}", days=days)
    assert evict(store, EVERYTHING, time.monotonic() - 1) == Evicted(
        0, 0, sum(one.bytes for one in housekeeping.listing(store)), 3
    )
    clock = iter([0.0, 1.0, 2.0])
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(clock))
        assert evict(store, EVERYTHING, 1.5).count == 2
    assert keys(store) == {"41"}
    assert evict(store, EVERYTHING, math.inf).count == 1


def test_one_that_is_killed_half_way_leaves_a_whole_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "b"):
        put(store, key, days=40)

    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(housekeeping, "remove", killed)
        patch.setattr("synos_tasks.iso.scratch.remove", lambda _: None)  # nor is anything tidied
        with pytest.raises(KeyboardInterrupt):
            evict(store, EVERYTHING, math.inf)
    assert list((store.folder / "tmp").iterdir()) != []
    assert keys(store) == {"b"}
    with Store(store.folder, pytest.fail) as build:
        assert list((store.folder / "tmp").iterdir()) == []
        assert build.find("a") is None
        assert build.find("b")
    assert evict(store, EVERYTHING, math.inf).count == 1


def test_what_the_disk_refuses_is_an_error_of_ours(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_package(store, "a")
    monkeypatch.setattr("pathlib.Path.unlink", refusing(path))
    with pytest.raises(CacheUnusable):
        evict(store, EVERYTHING, math.inf)


def refusing(path: Path) -> Any:  # noqa: ANN401
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    return refuse


@dataclass(frozen=True)
class Requests:
    """The engine's side of requests whose store is the test's."""

    events: Events
    told: list[dict[str, Any]]

    def ask(self, do: str, **request: Any) -> None:  # noqa: ANN401
        requests.ASKED[do]({"do": do, **request}, self.events)


@pytest.fixture
def engine(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Requests]:
    monkeypatch.setattr(requests, "CACHE", store.folder)
    descriptor = os.open(os.devnull, os.O_WRONLY)
    events, told = Events(tmp_path / "build.log", descriptor), list[dict[str, Any]]()
    monkeypatch.setattr(events, "send", lambda event, **fields: told.append({"event": event, **fields}))
    yield Requests(events, told)
    events._log.close()
    os.close(descriptor)


def test_what_can_be_asked(store: Store, engine: Requests) -> None:
    put(store, "a", days=40)
    put(store, "b", days=1)
    engine.ask("store")
    listed = [Kept(**entry) for entry in json.loads(json.dumps(engine.told[0]))["entries"]]
    assert listed == housekeeping.listing(store)
    engine.ask("evict", limits={"max_age": 30 * DAY, "seconds": 0})
    assert (engine.told[1]["count"], engine.told[1]["skipped"]) == (0, 1)
    engine.ask("evict", limits={"max_age": 30 * DAY, "max_bytes": None, "seconds": 5})
    assert engine.told[2] == {
        "event": "evicted", "bytes": listed[0].bytes, "count": 1, "left_bytes": listed[1].bytes, "skipped": 0,
    }  # fmt: skip
    engine.ask("evict", limits=dataclasses.asdict(EVERYTHING))
    assert (engine.told[3]["count"], engine.told[3]["left_bytes"]) == (1, 0)


def test_what_goes_while_it_is_measured_is_not_there(
    store: Store, engine: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a")
    put(store, "b")
    peek = Store.peek

    def then(build: Store, key: str) -> Entry | None:
        found = peek(build, key)
        if found and key == "a":
            shutil.rmtree(found.folder)
        return found

    monkeypatch.setattr(Store, "peek", then)
    engine.ask("inspect", keys=["a", "b", "c"])
    assert list(engine.told[0]["entries"]) == ["b"]


class Built:
    """A build that uses one entry."""

    def __init__(self, _shop: object, _plan: object, store: Store, *, offline: bool) -> None:
        self._store = store

    def run(self) -> None:
        assert self._store.find("used")


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "Runner", Built)
    monkeypatch.setattr(requests, "_workshop", lambda *_: None)
    monkeypatch.setattr(plan, "from_json", lambda given: given)


PLAN = SimpleNamespace(profile=None, lock=SimpleNamespace(epoch=0))
KEEP = {"max_bytes": 1, "max_age": None, "young": 600, "seconds": 5}


@pytest.mark.usefixtures("build")
def test_after_a_build_what_it_did_not_use_goes(store: Store, engine: Requests) -> None:
    put(store, "used", days=40)
    put(store, "unused", days=40)
    engine.ask("build", plan=PLAN, offline=False)
    assert engine.told == []
    engine.ask("build", plan=PLAN, offline=False, keep=KEEP)
    assert [(event["event"], event["count"]) for event in engine.told] == [("evicted", 1)]
    assert keys(store) == {"used"}


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("error", [ValueError("a bug"), CacheUnusable("the disk")])
def test_a_build_does_not_fail_because_nothing_could_go(
    store: Store, engine: Requests, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    put(store, "used")

    def broken(_store: Store) -> list[Kept]:
        raise error

    monkeypatch.setattr(housekeeping, "listing", broken)
    engine.ask("build", plan=PLAN, offline=False, keep=KEEP)
    assert [event["event"] for event in engine.told] == ["log", "warning"]
    assert str(error) in engine.told[1]["text"]
