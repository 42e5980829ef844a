"""Verbs of `inv services.*` that hand on what programs in containers print: logs, commands, and clients with the password set."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING

from synos_tasks import console
from synos_tasks.cli import Command, lines_or_all, since_when, verb
from synos_tasks.services.options import ONLY, STACK, open_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENT = ("sh", "/etc/synos/cli")


@verb(
    "services.logs",
    json=False,
    help={
        **STACK,
        "only": ONLY,
        "follow": "go on until Ctrl-C",
        "tail": "lines of each service, or all",
        "since": "as 10m, or 2026-01-31T12:00:00",
    },
    types={"tail": lines_or_all, "since": since_when},
    example="--only redis --since 10m",
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
    options = [f"--tail={tail}", *["--follow"] * follow, *[f"--since={since}"] * bool(since)]
    sys.exit(context.compose.show("logs", *options, *names, out=partial(console.out, end="")))


@verb(
    "services.exec",
    json=False,
    stdin=True,
    positional=["service"],
    help={**STACK, "service": "where to run it"},
    example="redis -- ls /data",
)
def execute(command: Command, service: str, stack: str = "") -> None:
    """Run the words after -- in a running service, as its user; a shell without any."""
    _run(command, stack, service, "exec", service, command.rest or ["sh"])


@verb(
    "services.psql",
    json=False,
    stdin=True,
    example="-- -c 'SELECT 1'",
    help={
        **STACK,
        "superuser": "as postgres, in database postgres, instead of as the applications' role in theirs",
    },
)
def psql(command: Command, stack: str = "", superuser: bool = False) -> None:
    """Open psql in the running PostgreSQL, with the password set: -- -c 'SELECT 1', or SQL on standard input."""
    words = [*CLIENT, *["--superuser"] * superuser, *command.rest]
    _run(command, stack, "postgres", "exec", "postgres", words)


@verb("services.redis-cli", json=False, stdin=True, help=STACK, example="-- GET key")
def redis_cli(command: Command, stack: str = "") -> None:
    """Open redis-cli in the running Redis, with the password set: -- GET key."""
    _run(command, stack, "redis", "exec", "redis", [*CLIENT, *command.rest])


@verb("services.nats", json=False, stdin=True, help=STACK, example="-- stream ls")
def nats(command: Command, stack: str = "") -> None:
    """Run the NATS client in a container of its own, with the password set: -- stream ls."""
    _run(command, stack, "nats", "run --rm --no-deps", "nats-box", command.rest)


@verb(
    "services.ray",
    json=False,
    stdin=True,
    help={"stack": "compose file docker/services/docker-compose.NAME.yml (default: ray)"},
    example="-- status",
)
def ray(command: Command, stack: str = "") -> None:
    """Run Ray's command line in the running head, with the token set: -- status."""
    _run(command, stack or "ray", "ray-head", "exec", "ray-head", [*CLIENT, *command.rest])


def _run(command: Command, stack: str, service: str, how: str, container: str, argv: Sequence[str]) -> None:
    context = open_stack(command, stack)
    terminal = [] if console.is_typed() and sys.stdout.isatty() else ["--no-TTY"]
    words = [*how.split(), *terminal, container, *argv]
    context.stack[service]
    command.would(f"docker compose {shlex.join(words)}")
    context.running(service)
    sys.exit(context.compose.attached(*words))
