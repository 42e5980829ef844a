"""Backup and restore of all streams, with their consumers and positions, through JetStream's snapshots.

nats-server 2.10 takes a snapshot while messages come and go, and two things can be wrong with it: messages are missing
because limits removed some meanwhile, or a consumer is ahead of the messages and would never get that many new ones.
Its answer tells neither. So every snapshot is restored once into the account `scratch` of the same server, where no
application is, and compared with the stream.

The archive is a tar: `format.json`, for each stream `NAME/stream.json` and `NAME/snapshot`, and `end.json`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
import tarfile
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from shutil import copyfileobj
from typing import IO, TYPE_CHECKING, Any

import nats.errors

from nats_api import ApiError, JetStream, NatsError, StreamMissing, checked_name, decoded

if TYPE_CHECKING:
    from collections.abc import Container, Generator

FORMAT = {"format": "synos-nats", "version": 1}
CHUNK = 128 * 1024
CHUNK_LIMIT = 60
"""Seconds between two chunks: the server reads and compresses a block of messages between them."""
UNPACK_LIMIT = 1800
"""Seconds after the last chunk: the server unpacks all and reads it through."""
TRIES = 6
PAUSE = 0.2
"""Seconds after the first try; they grow. All together are more than a server takes to forget a client that died."""
FILLER = "_synos.filler"
Json = dict[str, Any]


class Inconsistent(NatsError):
    """A snapshot that is not good; the next one may be."""


@dataclass(frozen=True)
class Snapshot:
    """What the server sent of a stream, in ``data``; ``state`` is that of just before."""

    config: Json
    state: Json
    data: IO[bytes]


def note(text: str) -> None:
    """Tell the person at the terminal; standard output is for the archive."""
    print(text, file=sys.stderr, flush=True)


async def backup(live: JetStream, scratch: JetStream, out: IO[bytes]) -> None:
    """Write every stream of the account into an archive. Raises NatsError at the first that cannot be saved."""
    saved = 0
    with tarfile.open(fileobj=out, mode="w|") as archive:
        _add(archive, "format.json", FORMAT)
        for stream in await live.pages("STREAM.LIST", "streams"):
            name = stream["config"]["name"]
            if stream["config"]["storage"] == "memory":
                note(f"skipped: {name}: memory storage, of which the server takes no snapshots")
                continue
            with tempfile.TemporaryFile() as data:
                try:
                    snapshot = await save_stream(live, scratch, name, data)
                except StreamMissing:
                    note(f"skipped: {name}: removed since the backup began")
                    continue
                except NatsError as error:
                    raise NatsError(f"stream {name} cannot be saved: {error}") from error
                digest = await asyncio.to_thread(_digest, data)
                header = {"config": snapshot.config, "state": snapshot.state, "sha256": digest}
                _add(archive, f"{name}/stream.json", header)
                member = tarfile.TarInfo(f"{name}/snapshot")
                member.size = data.tell()
                data.seek(0)
                await asyncio.to_thread(archive.addfile, member, data)
            saved += 1
            note(f"saved: {name}: {snapshot.state['messages']:,} messages, {member.size:,} bytes")
        _add(archive, "end.json", {"streams": saved})  # what was cut off has none
    note(f"{saved} streams saved")


async def save_stream(live: JetStream, scratch: JetStream, name: str, data: IO[bytes]) -> Snapshot:
    """Return a snapshot that was restored once and holds all; tries again where the stream changed too much."""
    for attempt in range(1, TRIES + 1):
        try:
            return await _rehearsed(live, scratch, checked_name(name), data)
        except (Inconsistent, ApiError) as error:
            if attempt == TRIES or isinstance(error, StreamMissing):
                raise
            note(f"again: {name}: {error}")
            await asyncio.sleep(PAUSE * attempt)
        finally:
            await _remove_all(scratch)
    raise AssertionError


async def _rehearsed(live: JetStream, scratch: JetStream, name: str, data: IO[bytes]) -> Snapshot:
    await _remove_all(scratch)  # a killed backup may have left some
    before = await _positions(live, name)
    snapshot = await take_snapshot(live, name, data)
    await send_snapshot(scratch, snapshot, _unlimited(snapshot.config))
    copy, now = [
        (await server.ask(f"STREAM.INFO.{name}", deleted_details=True))["state"] for server in (scratch, live)
    ]
    if lacks_messages(snapshot.state, copy, now):
        raise Inconsistent("messages were removed while it was saved, and others are missing in the snapshot")
    now_there, copied = await _positions(live, name), await _positions(scratch, name)
    for consumer in before.keys() & now_there.keys():
        if copied.get(consumer, -1) < before[consumer]:
            raise Inconsistent(f"consumer {consumer} is missing in the snapshot, or its position is too old")
    if (ahead := max(copied.values(), default=0)) <= copy["last_seq"]:
        return snapshot
    # The server saves consumers last. Numbers that one of them has seen must not be given again after a restore.
    await _use_up(scratch, name, copy["last_seq"], ahead)
    snapshot = replace(await take_snapshot(scratch, name, data), config=snapshot.config)
    await _remove_all(scratch)
    again = (await send_snapshot(scratch, snapshot, _unlimited(snapshot.config)))["state"]
    same = (again["messages"], again["last_seq"]) == (copy["messages"], ahead)
    if not same or await _positions(scratch, name) != copied:
        raise Inconsistent("the copy of the stream is not what was copied")
    return snapshot


def lacks_messages(start: Json, copy: Json, now: Json) -> bool:
    """Tell whether the copy lacks a message that was in the stream at the start and is there now, or ends early.

    The three are states as STREAM.INFO has them; ``copy`` and ``now`` with the numbers of deleted messages.
    """
    first, last = max(start["first_seq"], now["first_seq"]), min(start["last_seq"], now["last_seq"])
    gone = set(now.get("deleted") or ())
    missing = chain(
        range(first, min(copy["first_seq"], last + 1)),
        (number for number in copy.get("deleted") or () if first <= number <= last),
    )
    return copy["last_seq"] < start["last_seq"] or not gone.issuperset(missing)


async def _positions(server: JetStream, stream: str) -> dict[str, int]:
    """Return the last message that each durable consumer got, 0 for none; without those that no snapshot holds."""
    return {
        one["name"]: one["delivered"]["stream_seq"] if one["delivered"]["consumer_seq"] else 0
        for one in await server.pages(f"CONSUMER.LIST.{stream}", "consumers")
        if one["config"].get("durable_name") and not one["config"].get("mem_storage")
    }


def _unlimited(config: Json) -> Json:
    """Return a config under which the server removes nothing of a snapshot, and reads from no other stream."""
    limits = {f"max_{one}": -1 for one in ("consumers", "msgs", "bytes", "msgs_per_subject", "msg_size")}
    subjects = [*(config.get("subjects") or ()), FILLER]
    return {"name": config["name"], "subjects": subjects, "storage": "file", **limits}


async def _use_up(scratch: JetStream, name: str, last: int, target: int) -> None:
    """Use up the numbers after ``last`` up to ``target``, by messages that are removed again."""
    for _ in range(last + 1, target):
        await scratch.client.publish(FILLER)
    stored = decoded((await scratch.client.request(FILLER, timeout=CHUNK_LIMIT)).data)
    if stored["seq"] != target:
        raise Inconsistent(f"number {stored['seq']} was given instead of {target}")
    await scratch.ask(f"STREAM.PURGE.{name}", filter=FILLER)


async def _remove_all(scratch: JetStream) -> None:
    for name in await scratch.pages("STREAM.NAMES", "streams"):
        await scratch.ask(f"STREAM.DELETE.{name}")


async def take_snapshot(server: JetStream, name: str, data: IO[bytes]) -> Snapshot:
    """Have the server send a stream into a file; raises Inconsistent where it breaks off."""
    inbox = server.client.new_inbox()
    chunks = await server.client.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
    data.seek(0)
    data.truncate()
    try:
        answer = await server.ask(f"STREAM.SNAPSHOT.{name}", deliver_subject=inbox, chunk_size=CHUNK)
        while (chunk := await chunks.next_msg(CHUNK_LIMIT)).data:
            data.write(chunk.data)
            if chunk.reply:
                await chunk.respond(b"")  # lets the server send more
    except nats.errors.TimeoutError:
        raise Inconsistent(f"the server sent nothing for {CHUNK_LIMIT} s") from None
    finally:
        await chunks.unsubscribe()
    # none at the end of a snapshot of one chunk: nats-server from 2.14 on
    if (status := (chunk.headers or {}).get("Status", "204")) != "204":
        raise Inconsistent(f"the server broke off, with status {status}")
    return Snapshot(answer["config"], answer["state"], data)


async def send_snapshot(server: JetStream, snapshot: Snapshot, config: Json) -> Json:
    """Have the server make a stream of a snapshot; returns what STREAM.INFO would."""
    asked = await server.ask(f"STREAM.RESTORE.{config['name']}", config=config, state=snapshot.state)
    target, limit = asked["deliver_subject"], min(CHUNK, server.client.max_payload)
    snapshot.data.seek(0)
    try:
        while chunk := snapshot.data.read(limit):
            # answered once it is written, with nothing where all is well
            if trouble := (await server.client.request(target, chunk, timeout=CHUNK_LIMIT)).data:
                raise NatsError(f"the server answers {trouble.decode(errors='replace')}")
        return decoded((await server.client.request(target, timeout=UNPACK_LIMIT)).data)
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
        raise NatsError("the server gave up") from None


async def restore(live: JetStream, source: IO[bytes], *, replace_existing: bool) -> None:
    """Restore every stream of an archive. Touches a stream only once all of its part was read and checked."""
    restored: set[str] = set()
    try:
        with closing(read_archive(source)) as snapshots:
            while snapshot := await asyncio.to_thread(next, snapshots, None):
                await restore_stream(live, snapshot, restored, replace_existing=replace_existing)
                restored.add(snapshot.config["name"])
    except NatsError as error:
        before = f" ({len(restored)} streams were restored before)" if restored else ""
        raise NatsError(f"{error}{before}") from error
    note(f"{len(restored)} streams restored")


async def restore_stream(
    live: JetStream, snapshot: Snapshot, restored: Container[str] = (), *, replace_existing: bool
) -> None:
    """Make a stream of a snapshot, in the place of the one of that name, and of others with its subjects.

    Those that were ``restored`` before from the same archive are not replaced.
    """
    name = snapshot.config["name"]
    exists = name in await live.pages("STREAM.NAMES", "streams")
    if exists and not replace_existing:
        raise NatsError(f"stream {name} exists: --replace deletes it first")
    # the server looks for these only when all else is done
    for subject in snapshot.config.get("subjects") or ():
        for other in (await live.ask("STREAM.NAMES", subject=subject)).get("streams") or ():
            if other == name:
                continue
            if other in restored or not replace_existing:
                hint = "" if other in restored else ": --replace deletes it first"
                raise NatsError(
                    f"stream {name} cannot be restored: {other} has the subject {subject!r} too{hint}"
                )
            await live.ask(f"STREAM.DELETE.{other}")
            note(f"removed: {other}: it had the subject {subject!r} of stream {name}")
    if exists:
        await live.ask(f"STREAM.DELETE.{name}")
    # the server would count from there again, and drop all messages
    config = {key: value for key, value in snapshot.config.items() if key != "first_seq"}
    try:
        state = (await send_snapshot(live, snapshot, config))["state"]
    except NatsError as error:
        deleted = "is deleted and " if exists else ""
        raise NatsError(f"stream {name} {deleted}could not be restored: {error}") from error
    note(f"restored: {name}: {state['messages']:,} messages, {state['consumer_count']} consumers")
    if state["messages"] < snapshot.state["messages"]:
        note(
            f"{name}: {snapshot.state['messages']:,} messages were saved; its limits, such as the age, hold at once"
        )


def read_archive(source: IO[bytes]) -> Generator[Snapshot]:
    """Yield the streams of an archive, each once it is whole, and its file until the next one. Raises NatsError for anything else than an archive."""
    names = set()
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            if _document(archive, archive.next(), "format.json") != FORMAT:
                raise NatsError("the archive has a format that this program does not know")
            while (member := archive.next()) and member.name != "end.json":
                header = _document(archive, member, member.name)
                name = checked_name(header["config"]["name"])
                if member.name != f"{name}/stream.json" or name in names:
                    raise NatsError(f"the archive is damaged: it has an unexpected {member.name!r}")
                names.add(name)
                with tempfile.TemporaryFile() as data:
                    copyfileobj(_content(archive, archive.next(), f"{name}/snapshot"), data)
                    if _digest(data) != header["sha256"] or not _fits(header):
                        raise NatsError(f"the archive is damaged: stream {name} is not what was saved")
                    yield Snapshot(header["config"], header["state"], data)
            if _document(archive, member, "end.json") != {"streams": len(names)}:
                raise NatsError("the archive is damaged: streams are missing")
    except (tarfile.TarError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise NatsError(f"the archive is damaged, or not one of this program: {error}") from error


def _fits(header: Json) -> bool:
    """Tell whether a restore can read what it needs of a stream's header."""
    subjects = header["config"].get("subjects") or []
    return type(header["state"]["messages"]) is int and all(isinstance(one, str) for one in subjects)


def _document(archive: tarfile.TarFile, member: tarfile.TarInfo | None, name: str) -> Json:
    found: Json = json.loads(_content(archive, member, name).read(1 << 20))
    return found


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo | None, name: str) -> IO[bytes]:
    # a hole may be of any size
    content = (
        archive.extractfile(member) if member and member.name == name and not member.issparse() else None
    )
    if not content:
        place = repr(member.name) if member else "its end"
        raise NatsError(
            f"the archive is damaged, or not one of this program: it has {place} instead of {name}"
        )
    return content


def _add(archive: tarfile.TarFile, name: str, document: Json) -> None:
    text = json.dumps(document, indent=1).encode()
    member = tarfile.TarInfo(name)
    member.size = len(text)
    archive.addfile(member, io.BytesIO(text))


def _digest(data: IO[bytes]) -> str:
    data.seek(0)
    return hashlib.file_digest(data, "sha256").hexdigest()  # type: ignore[arg-type]
