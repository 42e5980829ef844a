"""JetStream's files: what is damaged is found without the server, and nothing but that is cut out."""

from __future__ import annotations

import asyncio
import hashlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import nats_check
from nats_api import JetStream, NatsError
from nats_hash import highway64

if TYPE_CHECKING:
    from pathlib import Path

KEY = hashlib.sha256(b"ORDERS-1").digest()
SIZES = (0, 1, 3, 4, 17, 31, 32, 33, 100)


def record(number: int, body: bytes, headers: bytes = b"") -> bytes:
    """A record as the server writes it."""
    subject = b"orders.a"
    rest = len(headers).to_bytes(4, "little") + headers if headers else b""
    size = nats_check.HEADER.size + len(subject) + len(rest) + len(body) + nats_check.HASH.size
    head = nats_check.HEADER.pack(
        size | nats_check.HAS_HEADERS * bool(headers), number, 10**18 + number, len(subject)
    )
    seal = highway64(KEY, head[4:20] + subject + headers + body)
    return head + subject + rest + body + nats_check.HASH.pack(seal)


RECORDS = [record(number, b"x" * size) for number, size in enumerate(SIZES, 1)]
# last, where no damage comes: the size of the headers is in no hash, so that nobody can find damage of it
RECORDS.append(record(len(SIZES) + 1, b"body", b"NATS/1.0\r\n\r\n"))
LENGTH = sum(map(len, RECORDS[:-1]))


def block(folder: Path, data: bytes) -> Path:
    path = folder / "ORDERS/msgs/1.blk"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_hash_is_the_one_of_its_authors() -> None:
    key = bytes(range(32))
    assert [highway64(key, bytes(range(size))) for size in (0, 1)] == [0x907A56DE22C26E53, 0x7EAB43AAC7CDDD78]


# a size that leads to where no record begins, and one that leads into another's
@example(at=0, garbage=b"\x30")
@example(at=1, garbage=b"\x41\x42")
@given(st.integers(0, LENGTH - 12), st.binary(min_size=1, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_that_is_whole_stays(tmp_path: Path, at: int, garbage: bytes) -> None:
    data = bytearray(b"".join(RECORDS))
    data[at : at + len(garbage)] = garbage
    path = block(tmp_path, bytes(data))
    nats_check.cut(path)
    ends = [sum(map(len, RECORDS[: number + 1])) for number in range(len(RECORDS))]
    places = [slice(end - len(one), end) for one, end in zip(RECORDS, ends, strict=True)]
    untouched = [one for one, place in zip(RECORDS, places, strict=True) if one == data[place]]
    kept = list(nats_check.records(path.read_bytes()))
    assert [one for one in kept if one in untouched] == untouched
    # the size of the subject is in no hash: to the server too, a record with another one is whole
    assert all(nats_check.is_whole(one, KEY) for one in kept)


def test_a_file_without_damage_is_not_written(tmp_path: Path) -> None:
    path = block(tmp_path, b"".join(RECORDS))
    before = path.stat().st_ino
    assert (nats_check.first_broken(path), nats_check.cut(path)) == (None, 0)
    assert path.stat().st_ino == before


def test_a_message_is_looked_for_in_each_file_and_cut_out_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nats_check, "STREAMS", tmp_path)
    path = block(tmp_path, b"".join([*RECORDS[:3], RECORDS[3][:-1] + b"?", *RECORDS[4:]]))
    (path.parent / "index.db").touch()
    assert nats_check.in_file(path, {2, 4, 99}) == {2, 4}
    nats_check.repair(["/data/streams/ORDERS/msgs/1.blk\t1 messages cannot be read, the first is 4\n"])
    assert path.read_bytes() == b"".join([*RECORDS[:3], *RECORDS[4:]])
    assert not (path.parent / "index.db").exists()
    assert f"{len(RECORDS[3])} bytes of damaged messages cut out of msgs/1.blk" in capsys.readouterr().out
    compressed = block(tmp_path, b"cmp and more")
    assert nats_check.in_file(compressed, {7}) == {7}
    with pytest.raises(NatsError, match="is compressed"):
        nats_check.repair(["/data/streams/ORDERS/msgs/1.blk\t1 messages cannot be read, the first is 7\n"])


def test_a_lost_checksum_is_written_again_and_a_changed_configuration_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_check, "STREAMS", tmp_path)
    folder = tmp_path / "ORDERS"
    folder.mkdir()
    content = json.dumps({"name": "ORDERS"}).encode()
    (folder / "meta.inf").write_bytes(content)
    why = nats_check.meta_trouble(folder)
    assert why.startswith("meta.sum is missing")
    nats_check.repair([f"{folder}/streams/ORDERS/meta.sum\t{why}\n"])
    assert nats_check.meta_trouble(folder) == ""
    (folder / "meta.inf").write_bytes(content.replace(b"}", b', "max_msgs": 1}'))
    why = nats_check.meta_trouble(folder)
    with pytest.raises(NatsError, match="only a backup has"):
        nats_check.repair([f"{folder}/streams/ORDERS/meta.inf\t{why}\n"])


class DroppingServer:
    """A server that meets a missing file when it is first read: it drops the messages, and then says so."""

    def __init__(self) -> None:
        self.client, self.dropped = self, False

    async def ask(self, _what: str, **_options: bool) -> dict[str, Any]:
        state = {"messages": 0 if self.dropped else 9, "first_seq": 10 if self.dropped else 1, "last_seq": 9}
        lost = {"lost": {"msgs": list(range(1, 10)), "bytes": 900}} if self.dropped else {}
        return {"state": {**state, **lost}}

    async def pages(self, _what: str, _key: str) -> list[dict[str, Any]]:
        return []

    async def request(self, _subject: str, _body: bytes, **_options: int) -> SimpleNamespace:
        self.dropped = True
        return SimpleNamespace(data=b'{"error": {"code": 500}}')


def test_what_the_server_drops_while_it_is_examined_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nats_check, "STREAMS", tmp_path)
    (tmp_path / "ORDERS/msgs").mkdir(parents=True)
    asyncio.run(nats_check._check_stream(cast("JetStream", DroppingServer()), "ORDERS"))
    assert "it has dropped 9 messages" in capsys.readouterr().out
