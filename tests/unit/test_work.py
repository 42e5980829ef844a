"""Requests do what they ask for, and every failure becomes an error of ours."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import DiskFull, PackageNotFound, StageFailed
from synos_tasks.iso import compare, protocol, resolve, work
from synos_tasks.iso.eviction import Limits
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.work import Place
from tests.unit.contexts import KeptEvents
from tests.unit.plans import LOCK, planned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from synos_tasks.iso.store import Entry, Store

EVERYTHING = Limits(max_age=-1.0, young=0.0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr("os.umask", lambda _: 0)
    monkeypatch.setattr("os.fsync", lambda _: None)
    (tmp_path / "work").mkdir()
    events = KeptEvents(tmp_path / "log")
    yield Place(events=events, work=tmp_path / "work", output=tmp_path, cache=tmp_path / "cache")
    events._log.close()


def sent(place: Place) -> list[protocol.Event]:
    assert isinstance(place.events, KeptEvents)
    return place.events.sent


def put(place: Place, key: str) -> Entry:
    with place.store() as store, store.slot() as folder:
        (folder / "file").write_text(key)
        return store.commit(key, folder, {"removed": []}, "base")


def test_a_profile_is_resolved(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "resolve", lambda _context, _profile, _lists, previous: previous)
    assert work.attempt(protocol.Resolve(profile=Profile(name="x"), previous=LOCK), place) is None
    assert sent(place) == [protocol.Resolved(lock=LOCK)]
    assert list((place.cache / "locks").iterdir()) == []


def test_the_store_is_inspected_listed_and_emptied(place: Place) -> None:
    put(place, "a")
    for request in (
        protocol.Inspect(keys=("a", "b")), protocol.ListStore(), protocol.Evict(limits=EVERYTHING)
    ):  # fmt: skip
        assert work.attempt(request, place) is None
    entries, contents, evicted = sent(place)
    assert entries == protocol.Entries(entries={"a": {"bytes": 1, "removed": []}})
    assert isinstance(contents, protocol.StoreContents)
    assert [one.key for one in contents.entries] == ["a"]
    assert isinstance(evicted, protocol.Evicted)
    assert (evicted.count, evicted.left_bytes) == (1, 0)


class Built:
    """A build that uses one entry."""

    def __init__(self, _context: object, _plan: object, store: Store, *, offline: bool) -> None:
        self._store = store

    def run(self) -> None:
        assert self._store.find("used")


@pytest.mark.parametrize("broken", [False, True])
def test_after_a_build_the_store_is_brought_into_its_limits_and_no_trouble_fails_the_build(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    monkeypatch.setattr(work, "Runner", Built)
    put(place, "used")
    if broken:
        monkeypatch.setattr("synos_tasks.iso.eviction.evict", lambda *_: 1 / 0)
    assert work.attempt(protocol.Build(plan=planned()), place) is None
    assert sent(place) == []
    assert work.attempt(protocol.Build(plan=planned(), limits=EVERYTHING), place) is None
    last = sent(place)[-1]
    assert isinstance(last, protocol.Warn if broken else protocol.Evicted)
    assert isinstance(last, protocol.Warn) or last.count == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PackageNotFound("x"), PackageNotFound),
        (OSError(errno.ENOSPC, "full"), DiskFull),
        (OSError(errno.EIO, "broken"), StageFailed),
        (ValueError("a bug"), StageFailed),
    ],
)
def test_every_failure_is_an_error_of_ours(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(compare, "compare", fail)
    failure = work.attempt(protocol.Compare(one=place.work, two=place.work), place)
    assert type(failure) is kind
