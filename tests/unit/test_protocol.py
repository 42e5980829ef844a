"""Every message survives its way through a pipe; what is none is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.iso import protocol
from synos_tasks.iso.components.recipe import Component
from synos_tasks.iso.eviction import Limits, Stored
from synos_tasks.iso.profile import Profile
from tests.unit.plans import LOCK, planned

COMPONENT = Component(name="a", description="", build="make", source=("folder", "a", ""))
STORED = Stored(kind="stage", key="k", bytes=1, created=1.0, last_used=2.0)
REQUESTS: list[protocol.Request] = [
    protocol.Build(plan=planned(), owner=(1, 2), limits=Limits(chosen={"k": 1.5})),
    protocol.Resolve(profile=Profile(name="x"), previous=LOCK),
    protocol.Inspect(keys=("a", "b")),
    protocol.ListStore(),
    protocol.Evict(limits=Limits(max_bytes=1)),
    protocol.Compare(one=Path("/a"), two=Path("/b")),
    protocol.Compile(
        components=(protocol.Compilation(component=COMPONENT, key="k", source="s"),),
        offline=True, deliver=False, owner=(0, 0), jobs=2,
    ),
    protocol.Boot(
        iso=Path("/a.iso"), firmware="bios", media="usb", timeout=9, memory_mb=512, kvm=False, out=Path("/out")
    ),
]  # fmt: skip
EVENTS: list[protocol.Event] = [
    protocol.Tick(), protocol.Log(stage="base", line="x"), protocol.Warn(text="x"), protocol.Start(stage="base"),
    protocol.Progress(stage="base", fraction=0.5), protocol.Done(name="a", key="k", hit=True, seconds=1, bytes=2),
    protocol.Failure(kind="DiskFull", error="full"), protocol.Delivered(build_id="1", sha256="2"),
    protocol.Resolved(lock=LOCK), protocol.Entries(entries={"k": {"bytes": 1}}),
    protocol.StoreContents(entries=(STORED,)), protocol.Evicted(bytes=1, count=2, left_bytes=3, skipped=4),
    protocol.Compared(result={"sizes": [1, 2]}), protocol.Compiled(),
    protocol.Booted(accelerator="kvm", screenshot=Path("/out/a.png"), report={"state": "running"}),
]  # fmt: skip


def test_every_kind_of_message_is_tried() -> None:
    assert {type(one) for one in REQUESTS} == set(protocol.Request.known.values())
    assert {type(one) for one in EVENTS} == set(protocol.Event.known.values())


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: one.sent_as)
def test_a_request_survives_its_line(request_: protocol.Request) -> None:
    line = json.dumps(protocol.encode(request_)).encode()
    assert protocol.decode_request(line) == request_


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.sent_as)
def test_an_event_survives_its_line(event: protocol.Event) -> None:
    assert protocol.decode_event(json.loads(json.dumps(protocol.encode(event)))) == event


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(EVENTS), st.dictionaries(st.sampled_from(["event", "stage", "key", "lock", "x"]), JSON)
)
def test_whatever_a_container_prints_is_an_event_or_a_line_of_the_log(
    event: protocol.Event, change: dict[str, object]
) -> None:
    found = protocol.decode_event({**protocol.encode(event), **change})
    assert type(found) in protocol.Event.known.values()
