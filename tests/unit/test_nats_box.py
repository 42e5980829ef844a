"""The client of NATS in docker/services/nats-box: what a backup takes for good, what a restore refuses, its command line."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nats_backup
import nats_cli
from nats_api import JetStream, NatsError, StreamMissing, UsageError, check_server, checked_name
from nats_backup import lacks_messages, read_archive
from tests.unit.test_services_adapters import changed

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Stream:
    """Messages by number, and the last message that each consumer got."""

    config: dict[str, Any]
    messages: dict[int, str] = field(default_factory=dict)
    last: int = 0
    consumers: dict[str, int] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        first = min(self.messages, default=self.last + 1)
        deleted = sorted(set(range(first, self.last + 1)) - self.messages.keys())
        return {
            "messages": len(self.messages), "bytes": 0, "first_seq": first, "last_seq": self.last, "deleted": deleted,
            "consumer_count": len(self.consumers),
        }  # fmt: skip

    def packed(self) -> bytes:
        fields = [self.config["name"], list(self.messages.items()), self.last, self.consumers]
        return json.dumps(fields).encode()


def consumer(name: str, at: int) -> dict[str, Any]:
    delivered = {"stream_seq": at, "consumer_seq": at}
    return {"name": name, "config": {"durable_name": name}, "delivered": delivered}


class Server:
    """An account of a server that speaks the part of JetStream's API that backups use. It is its own connection."""

    max_payload = 64
    timeout = 5.0

    def __init__(self, *streams: Stream) -> None:
        self.streams = {stream.config["name"]: stream for stream in streams}
        self.meanwhile: list[Callable[[Stream], object]] = []
        """What happens to a stream after its state was told and before it is read, once for each snapshot."""
        self.between: list[Callable[[Stream], object]] = []
        """What happens between the reading of messages and that of consumers."""
        self.asked_consumers: Callable[[dict[str, int]], object] = lambda _: None
        self.status = "204"
        self.received, self.chunks = bytearray(), list[SimpleNamespace]()
        self.restoring: dict[str, Any] = {}

    @property
    def client(self) -> Server:
        return self

    async def pages(self, question: str, _field: str) -> list[Any]:
        kind, _, name = question.partition(".LIST.")
        if kind == "CONSUMER":
            self.asked_consumers(self.stream(name).consumers)
            return [consumer(one, at) for one, at in self.stream(name).consumers.items()]
        if question == "STREAM.NAMES":
            return list(self.streams)
        return [{"config": one.config, "state": one.state()} for one in self.streams.values()]

    async def ask(self, question: str, /, **request: Any) -> dict[str, Any]:  # noqa: ANN401
        verb, _, name = question.removeprefix("STREAM.").partition(".")
        if question == "STREAM.NAMES":
            having = (n for n, one in self.streams.items() if request["subject"] in one.config["subjects"])
            return {"streams": list(having)}
        if verb == "RESTORE":
            self.received, self.restoring = bytearray(), request["config"]
            return {"deliver_subject": "there"}
        stream = self.stream(name)
        if verb == "DELETE":
            del self.streams[name]
        if verb == "PURGE":
            stream.messages = {n: m for n, m in stream.messages.items() if m != request["filter"]}
        if verb == "SNAPSHOT":
            return self.snapshot(stream)
        return {"state": stream.state()}

    def stream(self, name: str) -> Stream:
        if name not in self.streams:
            raise StreamMissing("stream not found")
        return self.streams[name]

    def snapshot(self, stream: Stream) -> dict[str, Any]:
        answer = {"config": stream.config, "state": stream.state()}
        read = Stream(stream.config, dict(stream.messages), stream.last)
        if self.meanwhile:
            self.meanwhile.pop(0)(read)
        if self.between:
            self.between.pop(0)(stream)
        read.consumers = dict(stream.consumers)
        data = read.packed()
        common = {"reply": "ack", "headers": None, "respond": self.publish}
        self.chunks = [SimpleNamespace(data=data[at : at + 7], **common) for at in range(0, len(data), 7)]
        self.chunks.append(SimpleNamespace(data=b"", reply="", headers={"Status": self.status}))
        return answer

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, *_: object, **__: object) -> Server:
        return self

    async def unsubscribe(self) -> None:
        self.chunks = []

    async def next_msg(self, _timeout: float) -> SimpleNamespace:
        return self.chunks.pop(0)

    async def publish(self, subject: str | bytes) -> None:
        if subject == nats_backup.FILLER:
            await self.request(nats_backup.FILLER)

    async def request(self, subject: str, data: bytes = b"", timeout: float = 0) -> SimpleNamespace:
        if subject == nats_backup.FILLER:
            [stream] = self.streams.values()
            stream.last += 1
            stream.messages[stream.last] = subject
            return SimpleNamespace(data=json.dumps({"seq": stream.last}).encode())
        if data:
            assert len(data) <= self.max_payload
            self.received += data
            return SimpleNamespace(data=b"")
        name, messages, last, consumers = json.loads(self.received)
        restored = Stream(self.restoring, {int(n): m for n, m in messages}, last, consumers)
        self.streams[name] = restored
        return SimpleNamespace(data=json.dumps({"state": restored.state()}).encode())


def stream(name: str = "ORDERS", count: int = 9, **consumers: int) -> Stream:
    config = {"name": name, "subjects": [f"{name}.*"], "storage": "file"}
    return Stream(config, {number: f"m{number}" for number in range(1, count + 1)}, count, consumers)


def saved(server: Server, scratch: Server | None = None) -> bytes:
    out = io.BytesIO()
    asyncio.run(nats_backup.backup(cast("JetStream", server), cast("JetStream", scratch or Server()), out))
    return out.getvalue()


def load(server: Server, archive: bytes, *, replace: bool = True) -> None:
    coming = nats_backup.restore(cast("JetStream", server), io.BytesIO(archive), replace_existing=replace)
    asyncio.run(coming)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_backup, "PAUSE", 0)


def drop(*numbers: int) -> Callable[[Stream], object]:
    return lambda read: [read.messages.pop(number) for number in numbers]


def test_a_snapshot_that_lacks_messages_is_taken_again(capsys: pytest.CaptureFixture[str]) -> None:
    server, target = Server(stream()), Server()
    server.meanwhile = [drop(1, 2), drop(5), drop(9)]
    load(target, saved(server))
    assert target.streams == server.streams
    assert capsys.readouterr().err.count("again: ORDERS: messages were removed") == 3


@pytest.mark.parametrize("trouble", [drop(5), lambda read: setattr(read, "last", 4)])
def test_a_backup_fails_loudly_where_no_snapshot_is_good(trouble: Callable[[Stream], object]) -> None:
    server = Server(stream())
    server.meanwhile = [trouble] * 99
    with pytest.raises(NatsError, match="stream ORDERS cannot be saved"):
        saved(server)


@pytest.mark.parametrize("status", ["408", "", "500"])
def test_a_snapshot_that_was_broken_off_is_none(status: str) -> None:
    server = Server(stream())
    server.status = status
    with pytest.raises(NatsError, match="broke off"):
        saved(server)


def test_no_consumer_is_ahead_of_the_messages_after_a_restore() -> None:
    server, target = Server(stream(busy=9, idle=2)), Server()

    def go_on(live: Stream) -> None:
        live.messages |= {10: "m10", 11: "m11", 12: "m12"}
        live.last = live.consumers["busy"] = 12

    server.between = [go_on]
    load(target, saved(server))
    restored = target.streams["ORDERS"]
    assert restored.consumers == {"busy": 12, "idle": 2}
    assert restored.last == 12  # the next message is one that no consumer has seen
    assert restored.messages == stream().messages
    assert restored.config == server.streams["ORDERS"].config


@pytest.mark.parametrize("lose", [dict.clear, lambda consumers: consumers.update(half=1)])
def test_a_snapshot_without_a_consumer_or_its_position_is_not_good(
    lose: Callable[[dict[str, int]], object],
) -> None:
    server = Server(stream(half=4))
    server.asked_consumers = lambda consumers: consumers.update(half=4)
    server.between = [lambda live: lose(live.consumers)] * 99
    with pytest.raises(NatsError, match="consumer half is missing"):
        saved(server)


def test_memory_streams_and_those_removed_meanwhile_are_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    memory = stream("FAST")
    memory.config["storage"] = "memory"
    server, target = Server(memory, stream(), stream("GONE")), Server()
    server.between = [lambda _: server.streams.pop("GONE")]
    load(target, saved(server))
    assert list(target.streams) == ["ORDERS"]
    told = capsys.readouterr().err
    assert "skipped: FAST: memory" in told
    assert "skipped: GONE: removed" in told


def test_what_is_in_the_way_of_a_restore_is_replaced_or_seen_before_anything_is_deleted() -> None:
    other = stream("OTHER")
    other.config["subjects"] = ["ORDERS.*"]
    target = Server(stream(count=1), other)
    with pytest.raises(NatsError, match="--replace"):
        load(target, saved(Server(stream())), replace=False)
    assert target.streams["ORDERS"].last == 1
    load(target, saved(Server(stream())), replace=True)
    assert list(target.streams) == ["ORDERS"]


def test_a_stream_that_was_just_restored_is_not_replaced_by_another_of_the_archive() -> None:
    other, target = stream("OTHER"), Server()
    other.config["subjects"] = ["ORDERS.*"]
    with pytest.raises(NatsError, match=r"ORDERS has the subject 'ORDERS.\*' too"):
        load(target, saved(Server(stream(), other)))
    assert list(target.streams) == ["ORDERS"]


def test_the_number_that_a_stream_began_with_is_not_applied_again() -> None:
    original, target = stream(), Server()
    original.config["first_seq"] = 1000  # nats-server 2.10 then drops all messages
    load(target, saved(Server(original)))
    assert "first_seq" not in target.streams["ORDERS"].config


ARCHIVE = saved(Server(stream("A", 30), stream("B", 40)))


def readable(archive: bytes) -> dict[str, bytes]:
    found = {}
    for one in read_archive(io.BytesIO(archive)):
        one.data.seek(0)
        found[one.config["name"]] = one.data.read()
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(ARCHIVE.rstrip(b"\0")) - 1))
def test_an_archive_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(NatsError, match="damaged"):
        readable(ARCHIVE[:length])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(ARCHIVE) - 1), st.integers(1, 255))
def test_a_damaged_archive_never_gives_other_messages(place: int, flip: int) -> None:
    damaged = bytearray(ARCHIVE)
    damaged[place] ^= flip
    try:
        found = readable(bytes(damaged))
    except NatsError:
        return
    assert found == readable(ARCHIVE)  # what was hit means nothing, as a date


def packed(**members: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w|") as archive:
        for name, content in members.items():
            nats_backup._add(archive, name.replace("__", "/").replace("_json", ".json"), cast("Any", content))
    return out.getvalue()


FORMAT = nats_backup.FORMAT


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (b"", "not one of this program"),
        (b"not a tar" * 999, "not one of this program"),
        (packed(A__backup_json={"config": {"name": "A"}}), "'A/backup.json' instead of format.json"),
        (packed(format_json={**FORMAT, "version": 2}), "a format that this program does not know"),
        (packed(format_json=FORMAT), "its end instead of end.json"),
        (packed(format_json=FORMAT, end_json={"streams": 1}), "streams are missing"),
        (packed(format_json=FORMAT, A__stream_json={"config": {"name": "B"}}), "unexpected 'A/stream.json'"),
        (packed(format_json=FORMAT, A__stream_json=[]), "damaged"),
        (packed(format_json=FORMAT, A__stream_json={"config": {"name": "../A"}}), "cannot be the name"),
        (packed(format_json=FORMAT, A__stream_json={"config": {"name": "A"}}), "its end instead of A/snap"),
    ],
)
def test_what_is_no_archive_is_refused(archive: bytes, why: str) -> None:
    with pytest.raises(NatsError, match=why):
        readable(archive)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_json_an_archive_holds_it_is_restored_or_refused(data: st.DataObject) -> None:
    """A surprise would end in a traceback, with a stream that is deleted already."""
    one = stream()
    header = {"config": one.config, "state": one.state(), "sha256": hashlib.sha256(one.packed()).hexdigest()}
    documents: dict[str, Any] = {
        "format.json": FORMAT,
        "ORDERS/stream.json": header,
        "end.json": {"streams": 1},
    }
    chosen = data.draw(st.sampled_from([*documents]))
    documents[chosen] = data.draw(changed(documents[chosen]))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w|") as archive:
        for name, content in documents.items():
            nats_backup._add(archive, name, content)
            if name == "ORDERS/stream.json":
                snapshot = tarfile.TarInfo("ORDERS/snapshot")
                snapshot.size = len(one.packed())
                archive.addfile(snapshot, io.BytesIO(one.packed()))
    with suppress(NatsError):
        load(Server(stream("ORDERS", 1), stream("OTHER")), out.getvalue())


def test_a_snapshot_that_is_a_hole_of_terabytes_is_refused() -> None:
    out = io.BytesIO(packed(format_json=FORMAT, A__stream_json={"config": {"name": "A"}}).rstrip(b"\0"))
    out.seek(-out.seek(0, io.SEEK_END) % 512, io.SEEK_END)
    hole = tarfile.TarInfo("A/snapshot")
    hole.pax_headers = {"GNU.sparse.size": str(2**42), "GNU.sparse.map": f"{2**42},0"}
    out.write(hole.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    with pytest.raises(NatsError, match="instead of A/snapshot"):
        readable(out.getvalue())


numbers = st.sets(st.integers(1, 12))


@given(numbers, numbers, numbers, st.integers(12, 15))
def test_missing_messages_are_told_from_removed_ones(
    start: set[int], copy: set[int], now: set[int], last: int
) -> None:
    def state(numbers: set[int], last: int) -> dict[str, Any]:
        return Stream({}, dict.fromkeys(numbers, ""), last).state()

    expected = bool((start & now) - copy)
    there = start & now | copy
    now = start & now  # nothing comes back
    assert lacks_messages(state(start, 12), state(copy, last), state(now, 15)) == expected
    assert not lacks_messages(state(start, 12), state(there, last), state(now, 15))
    assert lacks_messages(state(start, 12), state({n for n in there if n < 12}, 11), state(now, 15))


# ---- the command line


def test_flags_stand_before_and_after_the_command() -> None:
    for line in (
        "--server nats://h:1 --timeout 2 stream info S", "stream info --timeout=2 S --server nats://h:1"
    ):  # fmt: skip
        given = nats_cli.parse(line.split())
        assert (given.server, given.timeout, given.stream, given.user) == ("nats://h:1", 2, "S", "synos")
        assert given.question.format_map(vars(given)) == "STREAM.INFO.S"


@pytest.mark.parametrize(
    "line",
    ["", "frobnicate", "stream", "stream frobnicate", "stream info", "stream info A B", "stream rm A", "stream ls -x",
     "stream info A.B", "consumer info A *", "pub", "sub x --count many", "backup x"],
)  # fmt: skip
def test_mistakes_end_with_status_2(line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        nats_cli.parse(line.split())
    assert caught.value.code == 2


@pytest.mark.parametrize("line", ["stream ls --password=s3cret", "--password s3cret rtt"])
def test_a_password_on_the_command_line_is_refused_and_not_printed(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        nats_cli.parse(line.split())
    told = capsys.readouterr().err
    assert "--password-file" in told
    assert "s3cret" not in told


def test_a_server_has_no_password_in_its_address() -> None:
    check_server("nats://nats:4222, tls://b:2")
    secret = ("nats://u:s3cret@nats:4222", "nats://a:1,nats://s3cret@b:2", "nats://u:s3cret@a:b:c")
    for address in ("nats", *secret):
        with pytest.raises(UsageError) as caught:
            check_server(address)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a.b", "a b", "a/b", "a\\b", "*", ">", "a\0", "a\n", "a" * 256]
)
def test_a_name_that_would_be_another_question_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        checked_name(name)
    assert checked_name("KV_größe-1") == "KV_größe-1"


def test_the_image_has_the_library_that_is_tested() -> None:
    root = Path(__file__).resolve().parents[2]
    pinned = (root / "docker/services/nats-box/requirements.lock").read_text()
    assert pinned in (root / "requirements.lock").read_text()
