"""The verbs of `inv services.*`. Each parses, calls one function of this package, and prints."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.tasks import Task

from synos_tasks import console
from synos_tasks.cli import Command, verb
from synos_tasks.errors import SettingsError, SynosError
from synos_tasks.services import tasks_backup, tasks_clients, tasks_env
from synos_tasks.services.options import CHOICE, SOME, STACK, YES, open_stack

if TYPE_CHECKING:
    from collections.abc import Sequence


# ---- start, stop and show


@verb("services.up", help={**SOME, "workers": "of the stack ray (default: as many as the time before; 2)"})
def up(command: Command, stack: str = "", only: str = "", wait_timeout: int = 0, workers: int = 0) -> None:
    """Start services, building what is missing, and wait until they are healthy.

    The first time it makes the secrets. Not for building ISOs (inv build.iso), nor for editing code (inv dev.up).
    """
    from synos_tasks.project import launcher
    from synos_tasks.services import describe as describing
    from synos_tasks.services import lifecycle, ray

    context = open_stack(command, stack, wait_timeout, workers)
    services = context.stack.chosen(only)
    names = [service.name for service in services]
    command.would(f"start {', '.join(names)} of stack {context.stack.name}", services=names)
    started = lifecycle.up(context, services)
    if started.secrets:
        console.say(f"secrets made: {', '.join(started.secrets)} in {context.folder / 'secrets'}")
    if started.started:
        console.say(f"started: {', '.join(started.started)}")
    if recreated := [one for one in started.changed if one not in started.started]:
        console.say(f"recreated: {', '.join(recreated)}")
    if started.removed:
        console.say(f"removed: {', '.join(started.removed)}")
    if not any(did for what, did in started.__dict__.items() if what != "seconds"):
        console.say("nothing to do: all were running, and healthy")
    access = describing.describe(context, services)
    heads = (one.ports for one in access if one.name == ray.HEAD)
    if cluster := ray.look(command.settings, context.stack.name, next(heads, ())):
        console.say(str(cluster))
    console.say(describing.summary(access, launcher(), context.option))
    fields = {**started.__dict__, "services": [asdict(one) for one in access]}
    command.result({"stack": context.stack.name, **fields})


@verb(
    "services.down",
    help={
        **STACK,
        **CHOICE,
        "volumes": "the data too, after a backup",
        "no-backup": "with --volumes: without a backup",
        "yes": YES,
    },
)
def down(
    command: Command,
    stack: str = "",
    only: str = "",
    skip: str = "",
    volumes: bool = False,
    no_backup: bool = False,
    yes: bool = False,
) -> None:
    """Stop services and remove their containers; the data stays, unless --volumes."""
    from synos_tasks.services import backup as backups
    from synos_tasks.services.selection import Selection

    context, selection = open_stack(command, stack), Selection.parse(only, skip)
    chosen = backups.chosen_services(context, selection) if volumes else []
    names = [name for one in chosen for name in one.volumes.values()]
    command.would(
        f"stop stack {context.stack.name}, and remove {', '.join(names) or 'no data'}", volumes=names
    )
    stopped = backups.down(
        context,
        volumes=volumes,
        confirm=partial(console.confirm, yes=yes),
        safety=not no_backup,
        selection=selection,
    )
    kept = f"data removed: {', '.join(stopped.volumes)}" if stopped.volumes else "data kept"
    console.say(f"{stopped.containers} containers removed; {kept}")
    if stopped.backup:
        console.say(f"backup: {stopped.backup}")
    command.result(stopped.__dict__)


@verb("services.status", help={**STACK, "watch": "again every second, until Ctrl-C"})
def status(command: Command, stack: str = "", watch: bool = False) -> None:
    """Show state, health, uptime, CPU, memory, ports and restarts of each service."""
    from synos_tasks.engine.compose import Compose
    from synos_tasks.services import health, ray
    from synos_tasks.services import stack as stacks

    name = stack or command.settings.services.stack
    path = stacks.file_of(command.settings, name)  # unresolved: that would take longer than all the rest
    compose = Compose(project=command.settings.project.resource(name), path=path)
    for found in health.watch(compose, stacks.started_services(path)):
        heads = (one.ports for one in found if one.name == ray.HEAD and one.health == "healthy")
        fields: dict[str, Any] = {"stack": name, "services": [asdict(one) for one in found]}
        if command.json:
            try:
                cluster = ray.look(command.settings, name, next(heads, ()))
            except SynosError as error:
                command.fail(error, **fields)
            command.result({**fields, **({"ray": asdict(cluster)} if cluster else {})})
            return
        if watch and not console.is_plain(sys.stdout):
            console.out("\x1b[2J\x1b[H", end="")
        command.table(f"stack {name}", health.COLUMNS, health.rows(found))
        if cluster := ray.look(command.settings, name, next(heads, ())):
            command.table(str(cluster), ray.COLUMNS, cluster.rows())
        if not watch:
            failed = [
                one.service
                for one in found
                if one.state != "exited" and health.has_failed(one.health or one.state, one.restarts)
            ]
            _say_damage(command, stack, list(dict.fromkeys(failed)))
            return
        time.sleep(1)


def _say_damage(command: Command, stack: str, names: Sequence[str]) -> None:
    """Say what is damaged of the services that fail; only then is the stack resolved."""
    if not names:
        return
    from synos_tasks.services import damage

    context = open_stack(command, stack)
    found = damage.find(context, [context.stack[name] for name in names])
    for one in found:
        console.say(str(one))
    logs = f"inv services.logs{context.option} --only {','.join(names)} tells more"
    console.say(damage.hint(found) if found else logs)


@verb("services.restart", help=SOME)
def restart(command: Command, stack: str = "", only: str = "", wait_timeout: int = 0) -> None:
    """Restart services and wait until they are healthy."""
    from synos_tasks.services import lifecycle

    context = open_stack(command, stack, wait_timeout)
    services = context.stack.chosen(only)
    command.would(f"restart {', '.join(one.name for one in services)}")
    command.result({"stack": context.stack.name, "seconds": lifecycle.restart(context, services)})


@verb(
    "services.heal",
    help={
        **SOME,
        "repair": "cut out of the data what cannot be read, after a copy of it was kept",
        "from-backup": "restore one service, as it is in this backup, or in `latest`; what was there is kept",
        "yes": YES,
    },
)
def heal(
    command: Command,
    stack: str = "",
    only: str = "",
    repair: bool = False,
    from_backup: str = "",
    yes: bool = False,
    wait_timeout: int = 0,
) -> None:
    """Name damaged data, and recreate the containers of services that are unhealthy though their data is whole.

    Data is changed by --repair and --from-backup alone.
    """
    from synos_tasks.services import heal as healing
    from synos_tasks.services import health

    context = open_stack(command, stack, wait_timeout)
    services = context.stack.chosen(only)
    ask = partial(console.confirm, yes=yes)
    if from_backup:
        if len(services) != 1:
            raise SettingsError("--from-backup restores one service", hint="name it: --only redis")
        command.would(f"restore {services[0].name} from backup {from_backup}")
        done = [healing.from_backup(context, services[0], from_backup, ask)]
    else:
        if command.dry:
            names = health.failing(context.compose.containers(), [one.name for one in services])
            command.would(f"recreate: {', '.join(names) or 'nothing'}", services=names)
        done = healing.heal(context, services, ask, repair=repair)
    for one in done:
        console.say(f"{one.service}: {one.done}")
        details = {"damage": one.damage, "lost": one.lost}
        details |= {"before": [one.before], "after": [one.after], "kept": [one.kept]}
        for label, lines in details.items():
            for line in filter(None, lines):
                console.say(f"  {label:<7} {line}")
    if not done:
        console.say("nothing to heal: no damage found")
    fields = {"healed": [one.service for one in done], "services": [one.__dict__ for one in done]}
    command.result({"stack": context.stack.name, **fields})


@verb("services.config", help=STACK)
def config(command: Command, stack: str = "") -> None:
    """Print the resolved compose model; no secret is in it."""
    context = open_stack(command, stack)
    if command.json:
        command.result({"stack": context.stack.name, "model": context.compose.config()})
    else:
        console.out(context.compose.run("config"), end="")


# ---- passwords, newer images


@verb("services.secrets-rotate", help=SOME)
def secrets_rotate(command: Command, stack: str = "", only: str = "", wait_timeout: int = 0) -> None:
    """Change the passwords, in the running services too; clients must read them again."""
    from synos_tasks.services import secrets

    context = open_stack(command, stack, wait_timeout)
    services = context.stack.chosen(only)
    command.would(f"change the secrets of {', '.join(one.name for one in services)}")
    names = secrets.rotate(context, only)
    folder = context.folder / "secrets"
    console.say(f"changed: {', '.join(names)} in {folder}")
    command.result({"stack": context.stack.name, "secrets": names, "folder": str(folder)})


@verb("services.upgrade", help={**SOME, "no-backup": "without a backup before"})
def upgrade(
    command: Command, stack: str = "", only: str = "", no_backup: bool = False, wait_timeout: int = 0
) -> None:
    """Upgrade running services to newer images, one by one; one that does not get healthy gets its old image back."""
    from synos_tasks.services import backup as backups
    from synos_tasks.services import upgrade as upgrades

    context = open_stack(command, stack, wait_timeout)
    services = context.stack.chosen(only)
    command.would(f"upgrade {', '.join(one.name for one in services)}, one by one")
    if not no_backup and backups.keeps_data(context):
        console.say(f"backup: {backups.backup(context)}")
    done = upgrades.upgrade(context, services)
    changed = [one.service for one in done if one.changed]
    console.say(f"upgraded: {', '.join(changed) or 'none: nothing newer'}")
    command.result({"stack": context.stack.name, "services": [one.__dict__ for one in done]})


MODULES = (tasks_backup, tasks_clients, tasks_env)
FOUND = (one for names in (globals(), *map(vars, MODULES)) for one in tuple(names.values()))
namespace = Collection("services", *(one for one in FOUND if isinstance(one, Task)))
