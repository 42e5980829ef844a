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
    _run(command_, stack, service, "exec", service, _words(command_, command) or ["sh"])


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
    user = ["--superuser"] if superuser else []
    _run(command_, stack, "postgres", "exec", "postgres", [*CLIENT, *user, *_words(command_, command)])


@verb("services.redis-cli", help={"stack": STACK, "command": LINE})
def redis_cli(command_: Command, stack: str = "", command: str = "") -> None:
    """Open redis-cli in the running Redis, with the password wired in: -- GET key."""
    _run(command_, stack, "redis", "exec", "redis", [*CLIENT, *_words(command_, command)])


@verb("services.nats", help={"stack": STACK, "command": LINE})
def nats(command_: Command, stack: str = "", command: str = "") -> None:
    """Run the NATS client in a container of its own, with the password wired in: -- stream ls."""
    _run(command_, stack, "nats", "run --rm --no-deps", "nats-box", _words(command_, command))


def _run(command: Command, stack: str, service: str, how: str, container: str, argv: Sequence[str]) -> None:
    context = open_stack(command, stack)
    terminal = [] if sys.stdin.isatty() and sys.stdout.isatty() else ["--no-TTY"]
    words = [*how.split(), *terminal, container, *argv]
    if command.dry:
        context.stack[service]
        command.would(f"docker compose {shlex.join(words)}")
        return
    context.running(service)
    sys.exit(context.compose.attached(*words))


def _words(command: Command, line: str) -> list[str]:
    try:
        return [*shlex.split(line), *command.rest]
    except ValueError as error:
        raise SettingsError(
            "--command is not a command line",
            where=line,
            why=str(error),
            hint="put them after --",
        ) from error
