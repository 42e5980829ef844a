"""Damage of JetStream's files: found while the server runs, cut out of them while it is stopped.

The server skips a message with a wrong checksum, and reports nothing. When it meets a record with a wrong size, or reads a file
again after a crash, it drops the first wrong message and all that follow in the file, up to 8 MB. So check() looks through the
files first, and does not let the server read a stream with such a record.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import struct
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from nats_api import JetStream, NatsError
from nats_hash import highway64

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STREAMS = Path("/data/jetstream/SYNOS/streams")
AT_ONCE = 64
HEADER = struct.Struct("<IQqH")
"""Of a record: its size, sequence number, time in ns, and the size of its subject. A hash of 8 bytes ends it."""
HASH = struct.Struct("<Q")
HAS_HEADERS, NUMBER = 2**31, 2**62 - 1
COMPRESSED = b"cmp"
LINE = re.compile(r".*/streams/([^/\t]+)/?([^\t]*)\t(.*)")
"""What check() prints: stream, file, why."""


def report(path: Path, why: str) -> None:
    print(f"{path}\t{why}")


async def check(js: JetStream) -> None:
    """Print each damage as FILE<tab>WHY."""
    loaded = {one["config"]["name"]: one for one in await js.pages("STREAM.LIST", "streams")}
    for folder in sorted(STREAMS.iterdir()) if STREAMS.is_dir() else ():
        if why := meta_trouble(folder):
            report(folder / ("meta.sum" if why.startswith("meta.sum") else "meta.inf"), why)
        elif folder.name not in loaded:
            report(folder, "is not loaded by the server")
    for name, stream in loaded.items():
        if stream["config"]["storage"] == "file":
            await _check_stream(js, name)


async def _check_stream(js: JetStream, name: str) -> None:
    folder = STREAMS / name
    blocks = list((folder / "msgs").glob("*.blk"))
    broken = {path: at for path in blocks if (at := first_broken(path)) is not None}
    if broken:  # the last record may just have been written
        await asyncio.sleep(0.5)
        broken = {path: at for path, at in broken.items() if first_broken(path) == at}
    for path, at in broken.items():
        report(path, f"no message begins at byte {at} of {path.stat().st_size}")
    missing = set() if broken else await unreadable(js, name)
    for path in blocks if missing else ():
        if bad := in_file(path, missing):
            report(path, f"{len(bad)} messages cannot be read, the first is {min(bad)}")
            missing -= bad
    if missing:
        report(folder / "msgs", f"{len(missing)} messages are in no file, the first is {min(missing)}")
    # before the state, which must not be older than what they have got
    consumers = {
        one["name"]: one["delivered"] for one in await js.pages(f"CONSUMER.LIST.{name}", "consumers")
    }
    # last: the server drops what it cannot read when it is asked for it, and without this detail it does not tell
    state = (await js.ask(f"STREAM.INFO.{name}", deleted_details=True))["state"]
    if isinstance(lost := state.get("lost"), dict):
        numbers = lost.get("msgs")
        count = f"{len(numbers)} messages" if isinstance(numbers, list) else "messages"
        why = f"had {lost['bytes']} bytes that the server could not read: it has dropped {count}"
        report(folder / "msgs", why)
    for one, got in consumers.items():
        if got["consumer_seq"] and got["stream_seq"] > state["last_seq"]:
            why = f"has got message {got['stream_seq']}, and the stream ends at {state['last_seq']}: later ones are lost"
            report(folder / "obs" / one, why)
    for path in sorted((folder / "obs").glob("*/meta.inf")):
        if path.parent.name not in consumers:
            report(path.parent, "is a consumer that the server does not load")


def meta_trouble(folder: Path) -> str:
    """Return what is wrong with the configuration of a stream, and with which file; '' for nothing."""
    try:
        content = (folder / "meta.inf").read_bytes()
    except FileNotFoundError:
        return "meta.inf is missing"
    try:
        saved = (folder / "meta.sum").read_text()
    except (FileNotFoundError, ValueError):
        saved = ""
    if not re.fullmatch("[0-9a-f]{16}", saved):
        return "meta.sum is missing, or has no checksum in it"
    return "" if saved == checksum(folder.name, content) else "has another checksum than meta.sum"


def checksum(stream: str, content: bytes) -> str:
    return HASH.pack(highway64(hashlib.sha256(stream.encode()).digest(), content)).hex()


def first_broken(path: Path) -> int | None:
    """Return where no record begins though one should; None where all fit."""
    data = path.read_bytes()
    end = sum(map(len, records(data)))
    return None if end == len(data) or data.startswith(COMPRESSED) else end


def in_file(path: Path, numbers: set[int]) -> set[int]:
    """Return those of the numbers that a file has; all where it is compressed, and so cannot be looked through."""
    data = path.read_bytes()
    if data.startswith(COMPRESSED):
        return numbers
    return numbers.intersection(HEADER.unpack_from(one)[1] & NUMBER for one in records(data))


def records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a file up to a place where none begins."""
    at = 0
    while record := record_at(data, at):
        yield record
        at += len(record)


def record_at(data: bytes, at: int) -> bytes | None:
    """Return the record that begins at a byte, by its sizes alone."""
    if at + HEADER.size + HASH.size > len(data):
        return None
    size, _, _, subject = HEADER.unpack_from(data, at)
    size &= ~HAS_HEADERS
    return data[at : at + size] if HEADER.size + subject + HASH.size <= size <= len(data) - at else None


async def unreadable(js: JetStream, name: str) -> set[int]:
    """Return the numbers of the messages that the stream should have and the server does not give."""

    async def fails(number: int) -> bool:
        asked = json.dumps({"seq": number}).encode()
        answer = await js.client.request(f"$JS.API.STREAM.MSG.GET.{name}", asked, timeout=60)
        return "error" in json.loads(answer.data)

    failed: set[int] = set()
    wanted = await _numbers(js, name)
    while batch := list(islice(wanted, AT_ONCE)):
        answers = await asyncio.gather(*map(fails, batch))
        failed.update(number for number, bad in zip(batch, answers, strict=True) if bad)
    # others were removed meanwhile
    return failed.intersection(await _numbers(js, name)) if failed else failed


async def _numbers(js: JetStream, name: str) -> Iterator[int]:
    state = (await js.ask(f"STREAM.INFO.{name}", deleted_details=True))["state"]
    gone = set(state.get("deleted") or ())
    last = state["last_seq"] if state["messages"] else 0
    return (number for number in range(max(1, state["first_seq"]), last + 1) if number not in gone)


def repair(lines: Iterable[str]) -> None:
    """Mend what check() printed; raises NatsError for what has to come from a backup."""
    others = []
    for line in lines:
        if not (found := LINE.fullmatch(line.strip())):
            continue
        folder, file, why = STREAMS / found[1], found[2], found[3]
        if file.startswith("msgs"):
            (folder / "msgs/index.db").unlink(missing_ok=True)  # the server makes it again
        if re.fullmatch(r"msgs/\d+\.blk", file):
            print(f"stream {found[1]}: {cut(folder / file)} bytes of damaged messages cut out of {file}")
        elif file == "meta.sum" and _seal(folder):
            print(f"stream {found[1]}: meta.sum is written again, nothing is lost")
        elif file.startswith("meta.") or "not load" in why:
            others.append(str(folder / file))
        elif "belongs to uid" not in why:  # then it is right by now
            print(f"lost before: {line.strip()}")
    if others:
        raise NatsError(f"only a backup has {', '.join(others)}")


def _seal(folder: Path) -> bool:
    """Write meta.sum again where that file alone is damaged; tells whether it was."""
    try:
        content = (folder / "meta.inf").read_bytes()
        whole = bool(json.loads(content)["name"] == folder.name) and "meta.sum is" in meta_trouble(folder)
    except (OSError, ValueError, LookupError, TypeError):
        return False
    if whole:
        _write(folder / "meta.sum", checksum(folder.name, content).encode())
    return whole


def cut(path: Path) -> int:
    """Take what is no whole message out of a file; return the bytes that went."""
    data = path.read_bytes()
    if data.startswith(COMPRESSED):
        raise NatsError(f"{path} is compressed: restore a backup")
    key = hashlib.sha256(f"{path.parent.parent.name}-{path.stem}".encode()).digest()
    kept = b"".join(_whole(data, key))
    if kept != data:
        _write(path, kept)
    return len(data) - len(kept)


def _whole(data: bytes, key: bytes) -> Iterator[bytes]:
    """Yield the records whose hash is right, wherever they begin."""
    at = 0
    while at < len(data):
        record = record_at(data, at)
        if record and is_whole(record, key):
            yield record
            at += len(record)
        else:
            at += 1


def is_whole(record: bytes, key: bytes) -> bool:
    """Tell whether the hash of a record is right."""
    size, _, _, subject = HEADER.unpack_from(record)
    text = record[HEADER.size :]
    body = text[subject + 4 * bool(size & HAS_HEADERS) : -HASH.size]
    saved: int = HASH.unpack(text[-HASH.size :])[0]
    return saved == highway64(key, record[4:20] + text[:subject] + body)


def _write(path: Path, content: bytes) -> None:
    new = path.with_suffix(".synos")
    with new.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    new.rename(path)


if __name__ == "__main__":
    try:
        repair(sys.stdin)
    except (NatsError, OSError) as error:
        sys.exit(f"error: {error}")
