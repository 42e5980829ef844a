"""A connection to NATS, and JetStream's API on it as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CONNECT_LIMIT = 5
"""Seconds for name lookup, connection and login together. There is no second try: a script must learn at once."""


class NatsError(Exception):
    """What failed, for the user: exit status 1."""


class UsageError(NatsError, argparse.ArgumentTypeError):
    """A mistake in the command line: exit status 2."""


class ApiError(NatsError):
    """JetStream's refusal."""


class StreamMissing(ApiError):
    """There is no such stream."""


class JetStream:
    """One connection. Each answer may take ``timeout`` seconds."""

    def __init__(self, client: Client, timeout: float) -> None:
        self.client, self.timeout = client, timeout
        self.context = client.jetstream(timeout=timeout)

    async def ask(self, question: str, /, **request: Any) -> dict[str, Any]:
        """Return the answer of `$JS.API.QUESTION`; raises ApiError where it is an error."""
        payload = json.dumps(request).encode() if request else b""
        try:
            answer = await self.client.request(f"$JS.API.{question}", payload, timeout=self.timeout)
        except nats.errors.NoRespondersError:
            raise NatsError("JetStream is not enabled on the server") from None
        except nats.errors.TimeoutError:
            raise NatsError(f"the server does not answer $JS.API.{question} in {self.timeout:g} s") from None
        return decoded(answer.data)

    async def pages(self, question: str, field: str) -> list[Any]:
        """Return the items of all pages of a list."""
        items: list[Any] = []
        while True:
            page = await self.ask(question, offset=len(items))
            found = page.get(field) or []  # null where there is nothing
            items += found
            if not found or len(items) >= page["total"]:
                return items


def decoded(answer: bytes) -> dict[str, Any]:
    """Return a JSON answer; raises ApiError where it is an error."""
    found: dict[str, Any] = json.loads(answer)
    if error := found.get("error"):
        kind = StreamMissing if error.get("err_code") == 10059 else ApiError
        raise kind(f"{error.get('description', 'refused')} ({error.get('err_code')})")
    return found


def checked_name(name: str) -> str:
    """Return the name of a stream, consumer or bucket, unless it would make another question of a subject."""
    if not re.fullmatch(r"[^\s\x00-\x1f\x7f.*>/\\]{1,255}", name):
        raise UsageError(f"{name!r} cannot be the name of a stream, consumer or bucket")
    return name


@asynccontextmanager
async def connected(server: str, user: str, password_file: Path, timeout: float) -> AsyncIterator[JetStream]:
    """Connect and log in; raises NatsError."""
    check_server(server)
    try:
        password = re.sub(r"\r?\n\Z", "", password_file.read_text())
    except OSError as error:
        raise NatsError(f"cannot read the password in {password_file}: {error.strerror}") from error
    client, task, in_use = Client(), asyncio.current_task(), False

    async def closed() -> None:
        # what waits for an answer would otherwise do so until its timeout
        if task and in_use:
            task.cancel()

    try:
        async with asyncio.timeout(CONNECT_LIMIT):
            await client.connect(
                server, name="synos nats-box", user=user, password=password, error_cb=_ignore, closed_cb=closed,
                allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0,
            )  # fmt: skip
    except (nats.errors.Error, OSError, TimeoutError) as error:
        await client.close()
        if "authorization" in str(error).lower():
            raise NatsError(f"{server} refuses user {user!r} with the password in {password_file}") from None
        raise NatsError(f"no NATS server answers at {server}: {error or 'timeout'}") from None
    in_use = True
    try:
        yield JetStream(client, timeout)
    except asyncio.CancelledError:
        if client.is_closed:
            raise NatsError(f"the connection to {server} was lost") from None
        raise
    finally:
        in_use = False
        await client.close()


def check_server(servers: str) -> None:
    """Refuse a password in the address: anyone on the host can read a process's arguments."""
    for server in servers.split(","):
        try:
            parsed = urlsplit(server.strip())
            wrong = not parsed.hostname or parsed.port is None
        except ValueError:
            wrong = True
        if wrong or parsed.username is not None or parsed.password is not None:
            raise UsageError("the server's address must be like nats://nats:4222, without user and password")


async def _ignore(_error: Exception) -> None:
    """Let the request that failed report it: by default the library prints it too."""
