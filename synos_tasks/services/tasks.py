"""The verbs of `inv services.*` that start, stop and show a stack. Each parses, calls one function, and prints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invoke.collection import Collection

from synos_tasks import console
from synos_tasks.cli import Command, verb
from synos_tasks.services import access_tasks, data_tasks
from synos_tasks.services.options import JSON, ONLY, STACK, TIMEOUT, YES, agreement, open_stack, seconds

if TYPE_CHECKING:
    from synos_tasks.services.status import Watcher


@verb("services.up", help={"stack": STACK, "only": ONLY, "wait-timeout": TIMEOUT, "json": JSON})
def up(command: Command, stack: str = "", only: str = "", wait_timeout: int = 0) -> None:
    """Start services, building what is missing, and wait until they are healthy.

    The first time it makes the secrets. Not for building ISOs (inv build.iso), nor for editing code (inv dev.up).
    """
    from synos_tasks.services import starting, view  # noqa: PLC0415

    session = open_stack(command, stack)
    services = session.stack.chosen(only)
    if command.dry:
        names = [service.name for service in services]
        command.would(f"start {', '.join(names)} of stack {session.stack.name}", services=names)
        return
    with view.make_view() as shown:
        started = starting.up(session, services, seconds(command, wait_timeout), shown.show)
    if started.secrets:
        folder = command.settings.state_dir / "services" / session.stack.name / "secrets"
        console.say(f"secrets made: {', '.join(started.secrets)} in {folder}")
    if not (started.changed or started.secrets or started.restarted):
        console.say("nothing to do: all were running, and healthy")
    command.result({"stack": session.stack.name, **started.__dict__})


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
    from synos_tasks.services import stopping  # noqa: PLC0415

    session = open_stack(command, stack)
    if command.dry:
        names = [name for service in session.stack.services for name in service.volumes] if volumes else []
        command.would(
            f"stop stack {session.stack.name}, and remove {', '.join(names) or 'no data'}", volumes=names
        )
        return
    if volumes:
        stopped = stopping.down_with_volumes(session, agreed=agreement(yes=yes), safety=not no_backup)
    else:
        stopped = stopping.down(session)
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
    from synos_tasks.engine.old_compose import ComposeFile, DockerCompose  # noqa: PLC0415
    from synos_tasks.services import stack as stacks  # noqa: PLC0415
    from synos_tasks.services import status as states  # noqa: PLC0415
    from synos_tasks.services import view  # noqa: PLC0415

    name = stack or command.settings.services.stack
    path = stacks.file_of(command.settings, name)  # unresolved: that would take longer than all the rest
    file = ComposeFile(project=command.settings.compose_project(name), path=path, environment={})
    watcher = states.Watcher(DockerCompose(file), stacks.started_services(path))
    if watch and not command.json:
        _watch(watcher, name)
    found = watcher.look()
    if command.json:
        command.result({"stack": name, "services": states.to_json(found)})
        return
    console.table(f"stack {name}", view.COLUMNS, view.rows(found))


def _watch(watcher: Watcher, name: str) -> None:
    from synos_tasks.services import view  # noqa: PLC0415

    while True:
        time.sleep(1)
        found = watcher.look()
        if not console.is_plain():
            print("\x1b[2J\x1b[H", end="", flush=True)
        console.table(f"stack {name}", view.COLUMNS, view.rows(found))


@verb("services.restart", help={"stack": STACK, "only": ONLY, "wait-timeout": TIMEOUT, "json": JSON})
def restart(
    command: Command,
    stack: str = "",
    only: str = "",
    wait_timeout: int = 0,
) -> None:
    """Restart services and wait until they are healthy."""
    from synos_tasks.services import starting, view  # noqa: PLC0415

    session = open_stack(command, stack)
    services = session.stack.chosen(only)
    if command.dry:
        command.would(f"restart {', '.join(service.name for service in services)}")
        return
    with view.make_view() as shown:
        took = starting.restart(session, services, seconds(command, wait_timeout), shown.show)
    command.result({"stack": session.stack.name, "seconds": took})


@verb("services.heal", help={"stack": STACK, "wait-timeout": TIMEOUT, "json": JSON})
def heal(command: Command, stack: str = "", wait_timeout: int = 0) -> None:
    """Make the containers anew of services that are not healthy; the data stays."""
    from synos_tasks.services import starting, view  # noqa: PLC0415

    session = open_stack(command, stack)
    if command.dry:
        ill = starting.ill(session)
        command.would(f"make anew: {', '.join(ill) or 'nothing'}", services=ill)
        return
    with view.make_view() as shown:
        healed, took = starting.heal(session, seconds(command, wait_timeout), shown.show)
    console.say(f"made anew: {', '.join(healed)}" if healed else "nothing to heal")
    command.result({"stack": session.stack.name, "healed": healed, "seconds": took})


@verb("services.config", help={"stack": STACK, "json": JSON})
def config(command: Command, stack: str = "") -> None:
    """Print the resolved compose model; no secret is in it."""
    session = open_stack(command, stack)
    if command.json:
        command.result({"stack": session.stack.name, "model": session.compose.config()})
    else:
        print(session.compose.run("config"), end="")


@verb("services.enable", help={"stack": STACK, "json": JSON})
def enable(command: Command, stack: str = "") -> None:
    """Start a stack with the machine, through systemd."""
    from synos_tasks.services import stack as stacks  # noqa: PLC0415
    from synos_tasks.services import systemd  # noqa: PLC0415

    name = stack or command.settings.services.stack
    stacks.file_of(command.settings, name)
    if command.dry:
        command.would(f"enable a systemd unit for stack {name}")
        return
    path = systemd.enable(command.settings, name)
    console.say(f"enabled: {path}")
    command.result({"stack": name, "unit": str(path)})


@verb("services.disable", help={"stack": STACK, "json": JSON})
def disable(command: Command, stack: str = "") -> None:
    """Start a stack no more with the machine; it goes on running now."""
    from synos_tasks.services import stack as stacks  # noqa: PLC0415
    from synos_tasks.services import systemd  # noqa: PLC0415

    name = stack or command.settings.services.stack
    stacks.file_of(command.settings, name)
    if command.dry:
        command.would(f"disable the systemd unit of stack {name}")
        return
    path = systemd.disable(command.settings, name)
    console.say(f"disabled: {path}" if path else "it was not enabled")
    command.result({"stack": name, "unit": str(path or "")})


namespace = Collection(
    "services",
    up,
    down,
    status,
    restart,
    heal,
    config,
    enable,
    disable,
    access_tasks.logs,
    access_tasks.execute,
    access_tasks.psql,
    access_tasks.redis_cli,
    access_tasks.nats,
    data_tasks.backup,
    data_tasks.list_backups,
    data_tasks.restore,
    data_tasks.secrets_rotate,
    data_tasks.upgrade,
)
