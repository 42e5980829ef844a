"""Real clients of the three services, synchronous: what tests and benchmarks write, read back and compare.

    addresses = Addresses.of(clone)
    with PostgresClient(addresses) as client:
        client.write(range(10))
        assert client.ids() == set(range(10))

All of a client's data is in one table, one stream, or keys with one prefix, which its namespace names.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from abc import ABC, abstractmethod
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import nats.errors
import nats.js.errors
import psycopg
import redis
from nats.aio.client import Client as Nats
from psycopg import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

    from nats.aio.msg import Msg

    from tests.build_helpers import Clone

HOST = "127.0.0.1"
USER = "synos"
TIMEOUT = 10.0
"""Seconds that connecting, or one answer, may take."""
SUBJECTS = 7
WINDOW = 200
"""Messages of NatsClient.write_many() that wait for their acknowledgement at one time."""
BATCH = 5000
T = TypeVar("T")


class Refused(Exception):
    """The server does not let in who has these credentials, or none."""


@dataclass(frozen=True)
class Addresses:
    """Where the services of a running stack are: ports on 127.0.0.1 by service, and the folder of the secrets.

    With port 0 in invoke.yaml the engine takes others whenever a container starts: read them again then.
    """

    ports: Mapping[str, int]
    secrets: Path

    @classmethod
    def of(cls, clone: Clone, stack: str = "unified") -> Addresses:
        """Ask `inv services.status` for the ports."""
        told = clone.inv("services.status", f"--stack={stack}").json["services"]
        ports = {one["name"]: port["host_port"] for one in told for port in one["ports"]}
        return cls(ports=ports, secrets=clone.root / ".synos/services" / stack / "secrets")

    def password(self, service: str) -> str:
        """Read the password that is valid now."""
        return (self.secrets / f"{service}_password").read_text().strip()


def content(number: int) -> str:
    """What is written for an id."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def _nothing(_number: int) -> None:
    """What is done when nobody wants to know."""


class ServiceClient(ABC):
    """What all three can do. Not for two threads at once."""

    service: ClassVar[str]
    lost: ClassVar[tuple[type[Exception], ...]]
    """What is raised when the server goes away."""

    def __init__(self, addresses: Addresses, namespace: str = "probe") -> None:
        """Connect to nothing yet. ``namespace``: lower-case letters, digits and _."""
        self.addresses, self.namespace = addresses, namespace

    @property
    def port(self) -> int:
        """Port on 127.0.0.1."""
        return self.addresses.ports[self.service]

    def connect(self, password: str | None = None) -> Self:
        """Connect, anew if it was, with the password of the secrets folder or another one; '' for without any.

        Raises Refused, or one of ``lost`` where no server answers.
        """
        self.close()
        self._connect(self.addresses.password(self.service) if password is None else password)
        return self

    def __enter__(self) -> Self:
        """Connect, unless connect() has."""
        return self if self.connected else self.connect()

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether connect() was called, and close() not yet."""

    @abstractmethod
    def _connect(self, password: str) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """End the connection; a second time does nothing."""

    @abstractmethod
    def write(self, ids: Iterable[int], acknowledged: Callable[[int], object] = _nothing) -> None:
        """Write each id by itself, and call ``acknowledged`` with it once the server has acknowledged it."""

    @abstractmethod
    def write_together(self, ids: Iterable[int], acknowledged: Callable[[int], object]) -> None:
        """Write ids, and wait for all acknowledgements together."""

    @abstractmethod
    def write_many(self, number: int) -> None:
        """Write ids 0 to number - 1 the quick way, and beside them what a backup might forget."""

    @abstractmethod
    def _pairs(self) -> Iterable[tuple[int, str]]:
        """Give ids and contents of all that is there."""

    def ids(self) -> set[int]:
        """Give all ids that are there; raises ValueError for one whose content is not what was written."""
        found = dict(self._pairs())
        if wrong := [number for number, text in found.items() if text != content(number)]:
            raise ValueError(f"{self.service} has other content for {len(wrong)} ids, as {wrong[:5]}")
        return set(found)

    def intact(self) -> set[int]:
        """Give the ids whose content is what was written, whatever else is there."""
        return {number for number, text in self._pairs() if text == content(number)}

    @abstractmethod
    def digest(self) -> str:
        """Give a hash over all that is there, in order: equal before a backup and after a restore."""


class PostgresClient(ServiceClient):
    """A table with the namespace's name in database synos. The digest has every column of every row."""

    service = "postgres"
    lost = (psycopg.Error,)
    _refusals = ("password authentication failed", "no password supplied", "pg_hba.conf")
    _connection: psycopg.Connection[tuple[Any, ...]] | None = None

    @property
    def connected(self) -> bool:
        """Whether connect() was called, and close() not yet."""
        return self._connection is not None

    @property
    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The connection, with every statement a transaction of its own."""
        assert self._connection is not None, "connect() first"
        return self._connection

    def _connect(self, password: str) -> None:
        try:
            self._connection = psycopg.connect(
                host=HOST, port=self.port, user=USER, dbname=USER, password=password or None,
                connect_timeout=int(TIMEOUT), autocommit=True,
            )  # fmt: skip
        except psycopg.OperationalError as error:
            if any(words in str(error) for words in self._refusals):
                raise Refused(str(error)) from error
            raise
        self._made = False

    def close(self) -> None:
        """End the connection; a second time does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def write(self, ids: Iterable[int], acknowledged: Callable[[int], object] = _nothing) -> None:
        """One INSERT, and so one commit, for each id."""
        self._make()
        insert = self._sql("INSERT INTO {} (id, content) VALUES (%s, %s)")
        for number in ids:
            self.connection.execute(insert, (number, content(number)))
            acknowledged(number)

    def write_together(self, ids: Iterable[int], acknowledged: Callable[[int], object]) -> None:
        """One INSERT, and so one commit, for all."""
        self._make()
        numbers = list(ids)
        insert = self._sql("INSERT INTO {} (id, content) SELECT * FROM unnest(%s::bigint[], %s::text[])")
        self.connection.execute(insert, (numbers, [content(number) for number in numbers]))
        for number in numbers:
            acknowledged(number)

    def write_many(self, number: int) -> None:
        """One COPY; and a NULL, bytes, text that is not ASCII."""
        self._make()
        copy = self._sql("COPY {} (id, content, bytes, note) FROM STDIN")
        with self.connection.cursor() as cursor, cursor.copy(copy) as stream:
            for one in range(number):
                odd = one % 10 == 0
                stream.write_row(
                    (one, content(one), bytes([one % 256, 0, 255]), f"tab\tand ünï 漢 {one}" if odd else None)
                )

    def _pairs(self) -> Iterable[tuple[int, str]]:
        if not self._is_there():
            return []
        return self.connection.execute(self._sql("SELECT id, content FROM {}")).fetchall()

    def digest(self) -> str:
        """Hash the rows by id, as COPY writes them."""
        digest = hashlib.sha256()
        if self._is_there():
            rows = self._sql("COPY (SELECT * FROM {} ORDER BY id) TO STDOUT (FORMAT text, HEADER)")
            with self.connection.cursor() as cursor, cursor.copy(rows) as stream:
                for data in stream:
                    digest.update(data)
        return digest.hexdigest()

    def _make(self) -> None:
        if self._made:
            return
        columns = (
            "id bigint PRIMARY KEY, content text NOT NULL, bytes bytea, note text,"
            " written timestamptz NOT NULL DEFAULT clock_timestamp()"
        )
        # another connection may do the same at this moment
        with suppress(psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable):
            self.connection.execute(self._sql(f"CREATE TABLE IF NOT EXISTS {{}} ({columns})"))
        self._made = True

    def _is_there(self) -> bool:
        row = self.connection.execute("SELECT to_regclass(%s)", (self.namespace,)).fetchone()
        return row is not None and row[0] is not None

    def _sql(self, text: Any) -> sql.Composed:  # noqa: ANN401  (psycopg wants a literal, ours has columns put in)
        return sql.SQL(text).format(sql.Identifier(self.namespace))


class RedisClient(ServiceClient):
    """Keys ``NAMESPACE:ID``, and some ``NAMESPACE/KIND``. The digest has type, value and expiry of each."""

    service = "redis"
    lost = (redis.exceptions.RedisError,)
    _connection: redis.Redis | None = None

    @property
    def connected(self) -> bool:
        """Whether connect() was called, and close() not yet."""
        return self._connection is not None

    @property
    def connection(self) -> Any:  # noqa: ANN401  (redis-py's types are those of its synchronous and asynchronous kind at once)
        """The connection, which gives bytes and tries nothing a second time."""
        assert self._connection is not None, "connect() first"
        return self._connection

    def _connect(self, password: str) -> None:
        self._connection = redis.Redis(
            host=HOST, port=self.port, username=USER if password else None, password=password or None,
            socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
        try:
            self._connection.ping()
        except redis.exceptions.AuthenticationError as error:
            self.close()
            raise Refused(str(error)) from error
        except redis.exceptions.RedisError:
            self.close()
            raise

    def close(self) -> None:
        """End the connection; a second time does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def write(self, ids: Iterable[int], acknowledged: Callable[[int], object] = _nothing) -> None:
        """One SET for each id."""
        for number in ids:
            self.connection.set(f"{self.namespace}:{number}", content(number))
            acknowledged(number)

    def write_together(self, ids: Iterable[int], acknowledged: Callable[[int], object]) -> None:
        """One SET for each id, in a pipeline."""
        pipe, numbers = self.connection.pipeline(transaction=False), list(ids)
        for number in numbers:
            pipe.set(f"{self.namespace}:{number}", content(number))
        pipe.execute()
        for number in numbers:
            acknowledged(number)

    def write_many(self, number: int) -> None:
        """Write through pipelines; every tenth key expires in a day or later, and there is a key of each other type."""
        for start in range(0, number, BATCH):
            pipe = self.connection.pipeline(transaction=False)
            for one in range(start, min(start + BATCH, number)):
                expires = 86_400 + one if one % 10 == 0 else None
                pipe.set(f"{self.namespace}:{one}", content(one), ex=expires)
            pipe.execute()
        some = range(min(number, 1000))
        pipe = self.connection.pipeline(transaction=False)
        pipe.hset(f"{self.namespace}/hash", mapping={str(one): content(one) for one in some})
        pipe.rpush(f"{self.namespace}/list", *map(content, some))
        pipe.sadd(f"{self.namespace}/set", *map(content, some))
        pipe.zadd(f"{self.namespace}/zset", {content(one): one / 3 for one in some})
        for one in some:
            pipe.xadd(f"{self.namespace}/stream", {"id": one, "content": content(one)})
        pipe.set(f"{self.namespace}/bytes", bytes(range(256)))
        pipe.execute()

    def _pairs(self) -> Iterable[tuple[int, str]]:
        keys = [key for key in self._keys() if b":" in key]
        for some in _chunks(keys):
            for key, value in zip(some, self.connection.mget(some), strict=True):
                if value is not None:
                    number = key.rpartition(b":")[2]
                    yield int(number) if number.isdigit() else -1, value.decode(errors="replace")

    def digest(self) -> str:
        """Hash the keys in the order of their names."""
        digest = hashlib.sha256()
        for some in _chunks(sorted(self._keys())):
            pipe = self.connection.pipeline(transaction=False)
            for key in some:
                pipe.type(key).pexpiretime(key)
            told = pipe.execute()
            kinds = [kind.decode() for kind in told[::2]]
            for key, kind in zip(some, kinds, strict=True):
                _read(pipe, key, kind)
            for key, kind, expires, value in zip(some, kinds, told[1::2], pipe.execute(), strict=True):
                digest.update(repr((key, kind, expires, _in_order(kind, value))).encode())
        return digest.hexdigest()

    def _keys(self) -> set[bytes]:
        return {
            key
            for separator in ":/"
            for key in self.connection.scan_iter(f"{self.namespace}{separator}*", count=BATCH)
        }


def _read(pipe: Any, key: bytes, kind: str) -> None:  # noqa: ANN401
    match kind:
        case "string":
            pipe.get(key)
        case "hash":
            pipe.hgetall(key)
        case "list":
            pipe.lrange(key, 0, -1)
        case "set":
            pipe.smembers(key)
        case "zset":
            pipe.zrange(key, 0, -1, withscores=True)
        case "stream":
            pipe.xrange(key)
        case _:
            raise ValueError(f"{key!r} is of type {kind}")


def _in_order(kind: str, value: Any) -> object:  # noqa: ANN401
    if kind == "hash":
        return sorted(value.items())
    return sorted(value) if kind == "set" else value


def _chunks(keys: list[bytes]) -> Iterator[list[bytes]]:
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))


class NatsClient(ServiceClient):
    """A stream with the namespace's name, with some subjects below it. It runs a loop in a thread of its own.

    The digest has sequence, subject, headers, data and time of each message.
    """

    service = "nats"
    lost = (nats.errors.Error, nats.js.errors.Error, OSError, CancelledError)
    _loop: asyncio.AbstractEventLoop | None = None

    @property
    def connected(self) -> bool:
        """Whether connect() was called, and close() not yet."""
        return self._loop is not None

    def _connect(self, password: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._made = False
        try:
            connecting = _connected(self.port, password)
            self._client = asyncio.run_coroutine_threadsafe(connecting, self._loop).result()
        except Exception as error:
            self.close()
            if "authorization" in str(error).lower():
                raise Refused(str(error)) from error
            raise

    def close(self) -> None:
        """End the connection, the loop and its thread; a second time does nothing."""
        if self._loop is None:
            return
        loop, self._loop = self._loop, None
        asyncio.run_coroutine_threadsafe(_end(self.__dict__.pop("_client", None)), loop).result(TIMEOUT)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(TIMEOUT)
        loop.close()

    def write(self, ids: Iterable[int], acknowledged: Callable[[int], object] = _nothing) -> None:
        """One message for each id, the next after the one before is acknowledged. Calls in the client's thread."""
        self._run(self._write(ids, acknowledged))

    def write_together(self, ids: Iterable[int], acknowledged: Callable[[int], object]) -> None:
        """One message for each id."""
        self._run(self._write_together(ids, acknowledged))

    def write_many(self, number: int) -> None:
        """Write with some waiting for their acknowledgement at a time; every tenth message has headers."""
        self._run(self._write_many(number))

    def _pairs(self) -> Iterable[tuple[int, str]]:
        messages: list[Msg] = []
        self._run(self._read(messages.append))
        for message in messages:
            number, _, text = message.data.decode().partition(" ")
            yield int(number), text

    def digest(self) -> str:
        """Hash the messages in the order of their sequence."""
        digest = hashlib.sha256()

        def add(message: Msg) -> None:
            sequence, moment = _place(message)
            told = (sequence, moment, message.subject, sorted((message.headers or {}).items()), message.data)
            digest.update(repr(told).encode())

        self._run(self._read(add))
        return digest.hexdigest()

    def stream(self) -> dict[str, Any]:
        """Give the stream's config, and its state without the number of consumers; {} without a stream."""
        told = self._run(self._ask(f"STREAM.INFO.{self.namespace}"))
        if told is None:
            return {}
        state = {key: value for key, value in told["state"].items() if key != "consumer_count"}
        return {"config": told["config"], "created": told["created"], "state": state}

    def consumers(self) -> dict[str, dict[str, Any]]:
        """Give each consumer's config, and how far it is, without the times of its last activity."""
        return self._run(self._consumers())

    def consume(self, name: str, take: int, subject: str = "*", **config: Any) -> None:  # noqa: ANN401
        """Let a durable consumer, made if missing, take messages, and acknowledge every other one of them."""
        self._run(self._consume(name, take, subject, config))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            coroutine.close()
            raise nats.errors.ConnectionClosedError
        return asyncio.run_coroutine_threadsafe(self._while_connected(coroutine), self._loop).result()

    async def _while_connected(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """End with the connection: by itself, what waits for an answer would do so until its timeout."""
        task = asyncio.create_task(coroutine)
        while not (await asyncio.wait({task}, timeout=0.1))[0]:
            if not self._client.is_connected:
                task.cancel()
                await asyncio.wait({task})
                raise nats.errors.ConnectionClosedError
        return task.result()

    async def _ask(self, subject: str, **request: Any) -> dict[str, Any] | None:  # noqa: ANN401
        """Ask JetStream's API; None where there is no such thing."""
        answer = await self._client.request(
            f"$JS.API.{subject}", json.dumps(request).encode() if request else b"", timeout=TIMEOUT
        )
        told: dict[str, Any] = json.loads(answer.data)
        if error := told.get("error"):
            if error["code"] == 404:
                return None
            raise nats.js.errors.APIError.from_error(error)
        return told

    async def _make(self) -> None:
        if not self._made:
            await self._ask(
                f"STREAM.CREATE.{self.namespace}", name=self.namespace, subjects=[f"{self.namespace}.*"]
            )
            self._made = True

    async def _publish(self, number: int, headers: dict[str, str] | None = None) -> None:
        js = self._client.jetstream(timeout=TIMEOUT)
        subject, data = f"{self.namespace}.{number % SUBJECTS}", f"{number} {content(number)}"
        await js.publish(subject, data.encode(), headers=headers)

    async def _write(self, ids: Iterable[int], acknowledged: Callable[[int], object]) -> None:
        await self._make()
        for number in ids:
            await self._publish(number)
            acknowledged(number)

    async def _write_together(self, ids: Iterable[int], acknowledged: Callable[[int], object]) -> None:
        await self._make()

        async def write(number: int) -> None:
            await self._publish(number)
            acknowledged(number)

        await asyncio.gather(*map(write, ids))

    async def _write_many(self, number: int) -> None:
        await self._make()
        left = iter(range(number))

        async def work() -> None:
            for one in left:
                await self._publish(one, {"Number": str(one), "Kind": "tenth"} if one % 10 == 0 else None)

        await asyncio.gather(*(work() for _ in range(WINDOW)))

    async def _read(self, got: Callable[[Msg], object]) -> None:
        """Hand on what is in the stream now, in order; nothing where there is none."""
        told = await self._ask(f"STREAM.INFO.{self.namespace}")
        if told is None or not told["state"]["messages"]:
            return
        last, name = told["state"]["last_seq"], f"reading-{self._client.new_inbox().rpartition('.')[2]}"
        where = f"{self.namespace}.{name}"
        config = {"name": name, "ack_policy": "none", "mem_storage": True, "inactive_threshold": 60 * 10**9}
        await self._ask(f"CONSUMER.CREATE.{where}", stream_name=self.namespace, config=config)
        inbox = self._client.new_inbox()
        messages = await self._client.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
        sequence = 0
        try:
            while sequence < last:
                request = {"batch": BATCH, "expires": int(TIMEOUT * 10**9), "no_wait": True}
                await self._client.publish(
                    f"$JS.API.CONSUMER.MSG.NEXT.{where}", json.dumps(request).encode(), reply=inbox
                )
                for _ in range(BATCH):
                    message = await messages.next_msg(TIMEOUT)
                    if not message.reply:  # a status: no more for this request
                        break
                    sequence = _place(message)[0]
                    if sequence <= last:
                        got(message)
        finally:
            await messages.unsubscribe()
            await self._ask(f"CONSUMER.DELETE.{where}")

    async def _consumers(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        while True:
            told = await self._ask(f"CONSUMER.LIST.{self.namespace}", offset=len(found))
            if told is None:
                return found
            for one in told["consumers"]:
                kept = {key: one[key] for key in ("config", "num_ack_pending", "num_pending")}
                for key in ("delivered", "ack_floor"):
                    kept[key] = {part: one[key][part] for part in ("consumer_seq", "stream_seq")}
                found[one["name"]] = kept
            if len(found) >= told["total"] or not told["consumers"]:
                return found

    async def _consume(self, name: str, take: int, subject: str, config: dict[str, Any]) -> None:
        wanted = {
            "durable_name": name, "name": name, "ack_policy": "explicit", "ack_wait": 3600 * 10**9,
            "filter_subject": f"{self.namespace}.{subject}", "max_ack_pending": -1, **config,
        }  # fmt: skip
        where = f"{self.namespace}.{name}"
        await self._ask(f"CONSUMER.DURABLE.CREATE.{where}", stream_name=self.namespace, config=wanted)
        js = self._client.jetstream(timeout=TIMEOUT)
        bound = await js.pull_subscribe_bind(durable=name, stream=self.namespace)
        taken = 0
        while taken < take:
            for message in await bound.fetch(min(take - taken, 500), timeout=TIMEOUT):
                if taken % 2 == 0:
                    await message.ack_sync(timeout=int(TIMEOUT))
                taken += 1
        await bound.unsubscribe()


async def _connected(port: int, password: str) -> Nats:
    async def ignore(_error: Exception) -> None:
        """It is raised too."""

    client = Nats()
    try:
        await client.connect(
            f"nats://{HOST}:{port}", user=USER if password else None, password=password or None,
            allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, connect_timeout=int(TIMEOUT),
            error_cb=ignore,
        )  # fmt: skip
    except BaseException:
        await client.close()
        raise
    return client


async def _end(client: Nats | None) -> None:
    """Close, and let nothing of it be left in the loop."""
    if client is not None:
        with suppress(*NatsClient.lost):
            await client.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _place(message: Msg) -> tuple[int, int]:
    """Give sequence and time in nanoseconds, which are in the subject for the answer."""
    # $JS.ACK.stream.consumer.count.sequence.sequence.time.left, or with domain and account before the stream
    parts = message.reply.split(".")
    first = 5 if len(parts) == 9 else 7
    return int(parts[first]), int(parts[first + 2])


CLIENTS: dict[str, type[ServiceClient]] = {
    client.service: client for client in (NatsClient, PostgresClient, RedisClient)
}
