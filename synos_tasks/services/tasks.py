"""The verbs of `inv services.*` that start, stop and show a stack. Each parses, calls one function, and prints."""

from __future__ import annotations

import time

from invoke.collection import Collection

from synos_tasks import console
from synos_tasks.cli import Command, verb
from synos_tasks.services import client_tasks, data_tasks
from synos_tasks.services.options import JSON, ONLY, STACK, TIMEOUT, YES, agreement, open_stack


@verb("services.up", help={"stack": STACK, "only": ONLY, "wait-timeout": TIMEOUT, "json": JSON})
def up(command: Command, stack: str = "", only: str = "", wait_timeout: int = 0) -> None:
    """Start services, building what is missing, and wait until they are healthy.

    The first time it makes the secrets. Not for building ISOs (inv build.iso), nor for editing code (inv dev.up).
    """
    from synos_tasks.services import lifecycle  # noqa: PLC0415

    context = open_stack(command, stack, wait_timeout)
    services = context.stack.chosen(only)
    if command.dry:
        names = [service.name for service in services]
        command.would(f"start {', '.join(names)} of stack {context.stack.name}", services=names)
        return
    started = lifecycle.up(context, services)
    if started.secrets:
        console.say(f"secrets made: {', '.join(started.secrets)} in {context.folder / 'secrets'}")
    if not (started.changed or started.secrets or started.restarted):
        console.say("nothing to do: all were running, and healthy")
    command.result({"stack": context.stack.name, **started.__dict__})


@verb(
    "services.down",
    help={
        "stack": STACK,
        "volumes": "the data too, after a backup",
        "no-backup": "with --volumes: without a backup",
        "yes": YES,
        "json": JSON,
    },
)
def down(
    command: Command,
    stack: str = "",
    volumes: bool = False,
    no_backup: bool = False,
    yes: bool = False,
) -> None:
    """Stop services and remove their containers; the data stays, unless --volumes."""
    from synos_tasks.services import lifecycle  # noqa: PLC0415
    from synos_tasks.services.backup import backup  # noqa: PLC0415

    context = open_stack(command, stack)
    if command.dry:
        names = [one.name for service in context.stack.services for one in service.volumes] if volumes else []
        command.would(
            f"stop stack {context.stack.name}, and remove {', '.join(names) or 'no data'}", volumes=names
        )
        return
    if volumes:
        save = None if no_backup else lambda: backup(context, before="down")
        stopped = lifecycle.down_with_volumes(context, agreed=agreement(yes=yes), backup=save)
    else:
        stopped = lifecycle.down(context)
    kept = f"data removed: {', '.join(stopped.volumes)}" if stopped.volumes else "data kept"
    console.say(f"{stopped.containers} containers removed; {kept}")
    if stopped.backup:
        console.say(f"backup: {stopped.backup}")
    command.result(stopped.__dict__)


@verb(
    "services.status",
    help={"stack": STACK, "watch": "again every second, until Ctrl-C", "json": JSON},
)
def status(command: Command, stack: str = "", watch: bool = False) -> None:
    """Show state, health, uptime, CPU, memory, ports and restarts of each service."""
    from synos_tasks.engine.compose import Compose, ComposeFile  # noqa: PLC0415
    from synos_tasks.services import stack as stacks  # noqa: PLC0415
    from synos_tasks.services import status as states  # noqa: PLC0415

    name = stack or command.settings.services.stack
    path = stacks.file_of(command.settings, name)  # unresolved: that would take longer than all the rest
    file = ComposeFile(project=command.settings.compose_project(name), path=path, environment={})
    watcher = states.Watcher(Compose(file), stacks.started_services(path))
    while True:
        found = watcher.look()
        if command.json:
            command.result({"stack": name, "services": states.to_json(found)})
            return
        if watch and not console.is_plain():
            print("\x1b[2J\x1b[H", end="", flush=True)
        console.table(f"stack {name}", states.COLUMNS, states.rows(found))
        if not watch:
            return
        time.sleep(1)


@verb("services.restart", help={"stack": STACK, "only": ONLY, "wait-timeout": TIMEOUT, "json": JSON})
def restart(
    command: Command,
    stack: str = "",
    only: str = "",
    wait_timeout: int = 0,
) -> None:
    """Restart services and wait until they are healthy."""
    from synos_tasks.services import lifecycle  # noqa: PLC0415

    context = open_stack(command, stack, wait_timeout)
    services = context.stack.chosen(only)
    if command.dry:
        command.would(f"restart {', '.join(service.name for service in services)}")
        return
    command.result({"stack": context.stack.name, "seconds": lifecycle.restart(context, services)})


@verb("services.heal", help={"stack": STACK, "wait-timeout": TIMEOUT, "json": JSON})
def heal(command: Command, stack: str = "", wait_timeout: int = 0) -> None:
    """Recreate the containers of services that are not healthy; the data stays."""
    from synos_tasks.services import lifecycle  # noqa: PLC0415

    context = open_stack(command, stack, wait_timeout)
    if command.dry:
        names = lifecycle.unhealthy(context, context.containers())
        command.would(f"recreate: {', '.join(names) or 'nothing'}", services=names)
        return
    healed, took = lifecycle.heal(context)
    console.say(f"recreated: {', '.join(healed)}" if healed else "nothing to heal")
    command.result({"stack": context.stack.name, "healed": healed, "seconds": took})


@verb("services.config", help={"stack": STACK, "json": JSON})
def config(command: Command, stack: str = "") -> None:
    """Print the resolved compose model; no secret is in it."""
    context = open_stack(command, stack)
    if command.json:
        command.result({"stack": context.stack.name, "model": context.compose.config()})
    else:
        print(context.compose.run("config"), end="")


namespace = Collection(
    "services",
    up,
    down,
    status,
    restart,
    heal,
    config,
    client_tasks.logs,
    client_tasks.execute,
    client_tasks.psql,
    client_tasks.redis_cli,
    client_tasks.nats,
    data_tasks.backup,
    data_tasks.list_backups,
    data_tasks.restore,
    data_tasks.secrets_rotate,
    data_tasks.upgrade,
)
