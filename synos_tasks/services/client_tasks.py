"""The verbs of `inv services.*` that go into a service: logs, commands, and clients that know the password."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from synos_tasks.cli import Command, verb
from synos_tasks.errors import SettingsError
from synos_tasks.services.options import ONLY, STACK, open_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE = "words for it, as one line; or put them after --"
CLIENT = ("sh", "/etc/synos/cli")


@verb(
    "services.logs",
    help={
        "stack": STACK,
        "only": ONLY,
        "follow": "go on until Ctrl-C",
        "tail": "lines of each service, or all",
        "since": "as 10m, or 2026-01-31T12:00:00",
    },
)
def logs(
    command: Command,
    stack: str = "",
    only: str = "",
    follow: bool = False,
    tail: str = "100",
    since: str = "",
) -> None:
    """Show the logs of services."""
    context = open_stack(command, stack)
    names = [service.name for service in context.stack.chosen(only)]
    words = [
        "logs",
        f"--tail={tail}",
        *(["--follow"] if follow else []),
        *([f"--since={since}"] if since else []),
    ]
    sys.exit(context.compose.attached(*words, *names))


@verb(
    "services.exec",
    positional=["service"],
    help={"service": "where to run it", "stack": STACK, "command": LINE},
)
def execute(command_: Command, service: str, stack: str = "", command: str = "") -> None:
    """Run a command in a running service, as its user; a shell without one."""
    _inside(command_, stack, service, _words(command_, command) or ["sh"])


@verb(
    "services.psql",
    help={
        "stack": STACK,
        "superuser": "as postgres, through the socket, instead of as the applications' role",
        "command": LINE,
    },
)
def psql(command_: Command, stack: str = "", superuser: bool = False, command: str = "") -> None:
    """Open psql in the running PostgreSQL, with the password wired in: -- -c 'SELECT 1', or SQL on standard input."""
    as_whom = ["--superuser"] if superuser else []
    _inside(command_, stack, "postgres", [*CLIENT, *as_whom, *_words(command_, command)])


@verb("services.redis-cli", help={"stack": STACK, "command": LINE})
def redis_cli(command_: Command, stack: str = "", command: str = "") -> None:
    """Open redis-cli in the running Redis, with the password wired in: -- GET key."""
    _inside(command_, stack, "redis", [*CLIENT, *_words(command_, command)])


@verb("services.nats", help={"stack": STACK, "command": LINE})
def nats(command_: Command, stack: str = "", command: str = "") -> None:
    """Run the NATS client beside the running NATS, with the password wired in: -- stream ls."""
    context = open_stack(command_, stack)
    words = ["run", "--rm", "--no-deps", *_terminal(), "nats-box", *_words(command_, command)]
    if command_.dry:
        command_.would(f"docker compose {shlex.join(words)}")
        return
    context.running("nats")
    sys.exit(context.compose.attached(*words))


def _inside(command: Command, stack: str, service: str, argv: Sequence[str]) -> None:
    context = open_stack(command, stack)
    words = ["exec", *_terminal(), service, *argv]
    if command.dry:
        context.stack[service]
        command.would(f"docker compose {shlex.join(words)}")
        return
    context.running(service)
    sys.exit(context.compose.attached(*words))


def _terminal() -> list[str]:
    return [] if sys.stdin.isatty() and sys.stdout.isatty() else ["--no-TTY"]


def _words(command: Command, line: str) -> list[str]:
    try:
        return [*shlex.split(line), *command.rest]
    except ValueError as error:
        raise SettingsError(
            "the words of --command cannot be told apart",
            where=line,
            why=str(error),
            hint="put them after --",
        ) from error
