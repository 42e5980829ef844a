"""Messages survive their way through a pipe; requests do what they ask for, and every failure becomes an error of ours."""

from __future__ import annotations

import errno
import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.errors import DiskFull, PackageNotFound, StageFailed
from synos_tasks.iso import codec, compare, protocol, resolve, work
from synos_tasks.iso.components.recipe import Compilation, Component
from synos_tasks.iso.eviction import Limits, Stored
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.remote import Described
from tests.unit.contexts import build_context, put_entry, sent
from tests.unit.plans import LOCK, planned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synos_tasks.iso.store import Entry, Store
    from synos_tasks.iso.tools import BuildContext

COMPONENT = Component(name="a", description="", build="make", source=("folder", "a", ""))
COMPILATION = Compilation(component=COMPONENT, key="k", source="s")
COUNTS = {"ccache": {"hits": 1, "misses": 2}}
STORED = Stored(kind="stage", key="k", bytes=1, created=1.0, last_used=2.0)
DESCRIBED = Described(key="k", stage="base", facts={"removed": []}, files={"layer.squashfs": (1, "00")})
REQUESTS: list[protocol.Request] = [
    protocol.Build(plan=planned(), limits=Limits(chosen={"k": 1.5}), apart=True),
    protocol.Unpack(plan=planned(), apart=True),
    protocol.Layers(plan=planned().until("system")),
    protocol.Resolve(profile=Profile(name="x"), previous=LOCK),
    protocol.Inspect(keys=("a", "b")),
    protocol.Export(keys=("a", "b"), store_key="s"),
    protocol.ListStore(),
    protocol.Evict(limits=Limits(max_bytes=1)),
    protocol.Compare(one=Path("/a"), two=Path("/b")),
    protocol.Compile(component=COMPILATION, offline=True, jobs=2),
    protocol.Keep(components=(COMPILATION,), compiled=COUNTS, deliver=False),
    protocol.Boot(
        iso=Path("/a.iso"), firmware="bios", media="usb", timeout=9, memory_mb=512, kvm=False, screenshot=Path("/out/a.png")
    ),
    protocol.Run(iso=Path("/a.iso"), firmware="bios", media="usb", memory_mb=512, kvm=False, disk=Path("/disk")),
]  # fmt: skip
EVENTS: list[protocol.Event] = [
    protocol.Tick(), protocol.Log(stage="base", line="x"), protocol.Warn(text="x"), protocol.Start(stage="base"),
    protocol.Progress(stage="base", fraction=0.5), protocol.Done(name="a", key="k", hit=True, seconds=1, bytes=2),
    protocol.Failure(kind="DiskFull", error="full"), protocol.Delivered(build_id="1"),
    protocol.Resolved(lock=LOCK), protocol.Entries(entries={"k": protocol.Present(bytes=1, initramfs=True)}),
    protocol.StoreContents(entries=(STORED,)), protocol.Evicted(bytes=1, count=2, left_bytes=3, skipped=4),
    protocol.RunApart(id="s", command=("a", "b"), mounts=(("root", "/r", True), ("s", "/s", False)), work="/work", network=True),
    protocol.Fetch(keys=("a", "b")), protocol.Exported(entries=(DESCRIBED,)),
    protocol.Compared(result={"sizes": [1, 2]}), protocol.Compiled(caches=COUNTS), protocol.Kept(),
    protocol.Booted(accelerator="kvm", screenshot=Path("/out/a.png"), report={"state": "running"}),
    protocol.Running(accelerator="kvm"), protocol.Console(data="YQ=="), protocol.Ran(why="gone"), protocol.LayersStored(),
]  # fmt: skip


def test_every_kind_of_message_is_tried() -> None:
    assert {type(one) for one in REQUESTS} == set(protocol.Request.known.values())
    assert {type(one) for one in EVENTS} == set(protocol.Event.known.values())


@pytest.mark.parametrize("message", [*REQUESTS, *EVENTS], ids=lambda one: one.sent_as)
def test_a_message_survives_its_line(message: protocol.Request | protocol.Event) -> None:
    line = json.dumps(codec.encode(message)).encode()
    is_request = isinstance(message, protocol.Request)
    assert (codec.decode_request(line) if is_request else protocol.decode_event(line)) == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(EVENTS),
    st.dictionaries(st.sampled_from(["event", "stage", "key", "lock", "facts", "x"]), JSON),
)
def test_whatever_a_container_prints_is_an_event_or_a_line_of_the_log(
    event: protocol.Event, change: dict[str, object]
) -> None:
    found = protocol.decode_event(json.dumps({**codec.encode(event), **change}).encode())
    assert type(found) in protocol.Event.known.values()


@given(st.binary(max_size=40))
def test_any_bytes_are_a_line_of_the_log_that_can_be_shown(line: bytes) -> None:
    found = protocol.decode_event(line)
    assert isinstance(found, protocol.Log) or not line
    shown = found.line if isinstance(found, protocol.Log) else ""
    assert not {unicodedata.category(one) for one in shown.replace("\t", "")} & {"Cc", "Cs", "Zl", "Zp"}


BAD = [
    '{"event": "log"}', '{"event": "log", "stage": 7, "line": "x"}', '{"event": ["log"]}', '{"event": {}}', "[1]", "7",
    '{"event": "unheard"}', '{"event": "progress", "stage": "a", "fraction": NaN}', "[" * 100_000,
    '{"event": "progress", "stage": "a", "fraction": 1e999}', '{"event": "progress", "stage": "a", "fraction": -1}',
    '{"event": "done", "name": "a", "key": "k", "hit": true, "seconds": 1' + "0" * 400 + ', "bytes": 1}',
    '{"event": "done", "name": "a", "key": "k", "hit": true, "seconds": 1, "bytes": -1}',
    '{"event": "compared", "result": ' + '{"a":' * 600 + "1" + "}" * 601,
]  # fmt: skip


@pytest.mark.parametrize("line", BAD, ids=lambda line: line[:70])
def test_what_is_no_event_is_one_line_of_the_log(line: str) -> None:
    found = protocol.decode_event(line.encode())
    assert found == protocol.Log(stage="container", line=line[: protocol.LOG_CHARACTERS])


HOSTILE = "a\x1b]0;title\x07b\x1b[2Jc\r\x9b1md\u202ee\ud800f\ng"


@pytest.mark.parametrize("name", ["line", "text", "error", "why"])
def test_no_event_has_characters_that_a_terminal_obeys(name: str) -> None:
    kinds: dict[str, dict[str, object]] = {
        "line": {"event": "log", "stage": HOSTILE},
        "text": {"event": "warning"},
        "error": {"event": "error", "kind": "StageFailed"},
        "why": {"event": "error", "kind": "StageFailed", "error": "x"},
    }
    found = protocol.decode_event(json.dumps({**kinds[name], name: HOSTILE}).encode())
    text = getattr(found, name)
    assert text.startswith("a\ufffd]0;title\ufffdbc\ufffd")
    assert ("\n" in text) == (name == "why"), "what is shown in one line cannot forge another"
    assert text.replace("\n", " ").isprintable()


# ---- what is asked for is done

EVERYTHING = Limits(max_age=-1.0, young=0.0)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BuildContext]:
    monkeypatch.setattr("os.umask", lambda _: 0)
    with build_context(tmp_path) as made:
        yield replace(made, cache=tmp_path / "cache")


def put(context: BuildContext, key: str) -> Entry:
    with work.store_of(context) as store:
        return put_entry(store, key, {"file": key.encode()}, {"removed": []})


def test_a_profile_is_resolved(context: BuildContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "resolve", lambda _context, _lists, previous: previous)
    profile = Profile(name="x", mirror="http://a.example/debian", security_mirror="http://a.example/security")
    assert work.attempt(protocol.Resolve(profile=profile, previous=LOCK), context) is None
    assert sent(context) == [protocol.Resolved(lock=LOCK)]
    assert list((context.cache / "locks").iterdir()) == []


def test_the_store_is_inspected_listed_and_emptied(context: BuildContext) -> None:
    put(context, "a")
    for request in (
        protocol.Inspect(keys=("a", "b")), protocol.ListStore(), protocol.Evict(limits=EVERYTHING)
    ):  # fmt: skip
        assert work.attempt(request, context) is None
    entries, contents, evicted = sent(context)
    assert entries == protocol.Entries(entries={"a": protocol.Present(bytes=1, initramfs=False)})
    assert isinstance(contents, protocol.StoreContents)
    assert [one.key for one in contents.entries] == ["a"]
    assert isinstance(evicted, protocol.Evicted)
    assert (evicted.count, evicted.left_bytes) == (1, 0)


class Built:
    """A build that uses one entry."""

    def __init__(self, _context: object, _plan: object, store: Store, **_: bool) -> None:
        self._store = store

    def run(self) -> None:
        assert self._store.find("used")


@pytest.mark.parametrize("broken", [False, True])
def test_after_a_build_the_store_is_brought_into_its_limits_and_no_trouble_fails_the_build(
    context: BuildContext, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    monkeypatch.setattr(work, "Runner", Built)
    put(context, "used")
    if broken:
        monkeypatch.setattr("synos_tasks.iso.eviction.evict", lambda *_: 1 / 0)
    assert work.attempt(protocol.Build(plan=planned()), context) is None
    assert sent(context) == []
    assert work.attempt(protocol.Build(plan=planned(), limits=EVERYTHING), context) is None
    last = sent(context)[-1]
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
    context: BuildContext, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(compare, "compare", fail)
    failure = work.attempt(protocol.Compare(one=context.work, two=context.work), context)
    assert type(failure) is kind
