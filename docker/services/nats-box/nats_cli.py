"""The command `nats`: the part of the official CLI's grammar that the SynOS services need."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats.errors
import nats.js.errors

import nats_backup
import nats_check
from nats_api import JetStream, NatsError, UsageError, checked_name, connected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    Handler = Callable[[JetStream, argparse.Namespace], Awaitable[None]]

DESCRIPTION = "Talk to NATS. There is no --password: anyone on the host can read a process's arguments."
EPILOG = "Exit status: 0 done, 1 failed, 2 used wrongly."
LINES = {
    "streams": "{config[name]}: {state[messages]:,} messages, {state[bytes]:,} bytes, {state[consumer_count]} consumers",
    "consumers": "{name}: delivered up to {delivered[stream_seq]}, {num_ack_pending} not acknowledged, {num_pending} to come",
}
SCRATCH = "scratch"
"""The user of the account in which a backup tries its snapshots: see docker/services/nats/apply."""


async def api(js: JetStream, given: argparse.Namespace) -> None:
    """Ask one question of JetStream's API, and print the answer as it came."""
    _show(await js.ask(given.question.format_map(vars(given))))


async def listing(js: JetStream, given: argparse.Namespace) -> None:
    """Print all streams, or all consumers of a stream."""
    field = "consumers" if "CONSUMER" in given.question else "streams"
    found = await js.pages(given.question.format_map(vars(given)), field)
    if given.json:
        _show(found)
        return
    for one in found:
        print(LINES[field].format_map(one))


async def pub(js: JetStream, given: argparse.Namespace) -> None:
    content, count = _body(given.body), given.count or 1
    for number in range(1, count + 1):
        data = content.replace(b"{{Count}}", str(number).encode())
        if given.jetstream:
            stored = await js.context.publish(given.subject, data)
            print(f"Stored in Stream: {stored.stream} Sequence: {stored.seq}")
        else:
            await js.client.publish(given.subject, data)
    await js.client.flush()
    print(f"Published {count:,} messages to {given.subject!r}")


async def sub(js: JetStream, given: argparse.Namespace) -> None:
    subscription = await js.client.subscribe(given.subject, max_msgs=given.count)
    await js.client.flush()
    print(f"Subscribed to {given.subject!r}", file=sys.stderr)
    async for message in subscription.messages:
        _show_message(f"[{message.subject}]", message.data, raw=given.raw)
    if js.client.is_closed:
        raise NatsError("the connection was lost")


async def rtt(js: JetStream, given: argparse.Namespace) -> None:
    began = time.perf_counter()
    await js.client.flush()
    print(f"{given.server}: {(time.perf_counter() - began) * 1000:.2f} ms")


async def view(js: JetStream, given: argparse.Namespace) -> None:
    sequence = given.first
    for _ in range(given.count or 25):
        try:
            found = await js.context.get_msg(given.stream, sequence, next=True, subject=">")
        except nats.js.errors.NotFoundError:
            return
        sequence = (found.seq or sequence) + 1
        _show_message(f"[{found.seq}] {found.subject}", found.data or b"", raw=given.raw)


async def kv_get(js: JetStream, given: argparse.Namespace) -> None:
    """Print the bytes that were put and no more, for a value may be a file."""
    entry = await (await js.context.key_value(given.bucket)).get(given.key)
    sys.stdout.buffer.write(entry.value or b"")


async def kv_put(js: JetStream, given: argparse.Namespace) -> None:
    await (await js.context.key_value(given.bucket)).put(given.key, _body(given.value))


async def backup(js: JetStream, given: argparse.Namespace) -> None:
    # also where docker was given -t, which would change bytes on their way
    if sys.stdout.isatty():
        raise UsageError("backup writes an archive to standard output, which is a terminal: redirect it")
    given.timeout = js.timeout = max(
        given.timeout, nats_backup.CHUNK_LIMIT
    )  # a big stream is not deleted at once
    async with _connected(given, SCRATCH) as scratch:
        await nats_backup.backup(js, scratch, sys.stdout.buffer)


async def restore(js: JetStream, given: argparse.Namespace) -> None:
    if sys.stdin.isatty():
        raise UsageError("restore reads an archive from standard input, which is a terminal: redirect it")
    js.timeout = max(js.timeout, nats_backup.CHUNK_LIMIT)
    await nats_backup.restore(js, sys.stdin.buffer, replace_existing=given.replace)


async def check(js: JetStream, _given: argparse.Namespace) -> None:
    await nats_check.check(js)


def _body(text: str) -> bytes:
    return sys.stdin.buffer.read() if text == "-" else text.encode()


def _show(document: object) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _show_message(title: str, data: bytes, *, raw: bool) -> None:
    sys.stdout.buffer.write((b"" if raw else f"{title}\n".encode()) + data + b"\n")
    sys.stdout.buffer.flush()


ARGUMENTS: dict[str, dict[str, Any]] = {
    "subject": {}, "body": {"nargs": "?", "default": "", "help": "- reads standard input; {{Count}} is the number"},
    "stream": {"type": checked_name}, "consumer": {"type": checked_name}, "bucket": {"type": checked_name},
    "key": {}, "value": {"help": "- reads standard input"}, "--json": {"action": "store_true"},
    "--raw": {"action": "store_true", "help": "print bodies and nothing else"},
    "--count": {"type": int, "default": 0}, "--from": {"type": int, "default": 1, "dest": "first"},
    "--jetstream": {"action": "store_true", "help": "wait until it is stored"},
    "--force": {"action": "store_true", "required": True},
    "--replace": {"action": "store_true", "help": "delete a stream that exists, once its copy is checked"},
}  # fmt: skip
COMMANDS: tuple[tuple[str, Handler, str, str], ...] = (
    ("pub", pub, "subject body --count --jetstream", ""),
    ("sub", sub, "subject --count --raw", ""),
    ("rtt", rtt, "", ""),
    ("account info", api, "--json", "INFO"),
    ("stream ls", listing, "--json", "STREAM.LIST"),
    ("stream info", api, "stream --json", "STREAM.INFO.{stream}"),
    ("stream view", view, "stream --from --count --raw", ""),
    ("stream purge", api, "stream --force", "STREAM.PURGE.{stream}"),
    ("stream rm", api, "stream --force", "STREAM.DELETE.{stream}"),
    ("consumer ls", listing, "stream --json", "CONSUMER.LIST.{stream}"),
    ("consumer info", api, "stream consumer --json", "CONSUMER.INFO.{stream}.{consumer}"),
    ("consumer rm", api, "stream consumer --force", "CONSUMER.DELETE.{stream}.{consumer}"),
    ("kv get", kv_get, "bucket key", ""),
    ("kv put", kv_put, "bucket key value", ""),
    ("check", check, "", ""),
    ("backup", backup, "", ""),
    ("restore", restore, "--replace", ""),
)
"""The words of a command, what they call, the arguments, and the question for JetStream's API."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line; what is wrong ends the program with status 2."""
    # parents of its own: set_defaults() changes them, and the commands' would then undo what stands before a command
    top = argparse.ArgumentParser(
        prog="nats", description=DESCRIPTION, epilog=EPILOG, parents=[_everywhere()], allow_abbrev=False
    )
    top.set_defaults(
        server=os.environ.get("NATS_URL") or "nats://nats:4222", user=os.environ.get("NATS_USER") or "synos",
        password_file=Path("/run/secrets/nats_password"), timeout=5.0,
    )  # fmt: skip
    if any(word.split("=")[0] == "--password" for word in arguments):
        top.error("there is no --password, because anyone on the host can read it: use --password-file")
    made: dict[str, Any] = {"parents": [_everywhere()], "allow_abbrev": False}
    groups = {
        "": top.add_subparsers(required=True, metavar="COMMAND", help=", ".join(each[0] for each in COMMANDS))
    }
    for words, handler, names, question in COMMANDS:
        group, _, word = words.rpartition(" ")
        if group not in groups:
            groups[group] = (
                groups[""].add_parser(group, **made).add_subparsers(required=True, metavar="COMMAND")
            )
        parser = groups[group].add_parser(word, **made)
        parser.set_defaults(run=handler, question=question)
        for name in names.split():
            parser.add_argument(*(("-J", name) if name == "--jetstream" else (name,)), **ARGUMENTS[name])
    return top.parse_args(arguments)


def _everywhere() -> argparse.ArgumentParser:
    """Return the arguments of every command, without defaults: they may stand before or after it."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--server", "-s", metavar="URL")
    parser.add_argument("--user", metavar="NAME")
    parser.add_argument("--password-file", type=Path, metavar="PATH")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="how long to wait for an answer")
    return parser


def _connected(given: argparse.Namespace, user: str) -> AbstractAsyncContextManager[JetStream]:
    return connected(given.server, user, given.password_file, given.timeout)


async def _run(given: argparse.Namespace) -> None:
    async with _connected(given, given.user) as js:
        await given.run(js, given)


def main(arguments: Sequence[str]) -> int:
    """Run one command, and return its exit status."""
    given = parse(arguments)
    try:
        asyncio.run(_run(given))
    except KeyboardInterrupt:
        return 130
    except nats.errors.TimeoutError:
        trouble: Exception = NatsError(f"no answer in {given.timeout:g} s")
    except (NatsError, nats.errors.Error, OSError) as error:
        trouble = error
    else:
        return 0
    print(f"nats: error: {str(trouble).removeprefix('nats: ')}", file=sys.stderr)
    return 2 if isinstance(trouble, UsageError) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
