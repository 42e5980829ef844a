"""Starting and restarting a stack."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.engine.failures import check_versions
from synos_tasks.errors import (
    DiskFull,
    EngineUnavailable,
    PortTaken,
    ServiceFailed,
    ServiceUnhealthy,
    SynosError,
)
from synos_tasks.host import free_disk_bytes, is_taken
from synos_tasks.iso.scratch import write_whole
from synos_tasks.services import damage, health, secrets
from synos_tasks.services.adapters import recover_interrupted_restore
from synos_tasks.services.stack import port_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from synos_tasks.engine.client import Container
    from synos_tasks.services.stack import Service, StackContext

LEAST_FREE_BYTES = 300 * 10**6
"""What three new databases take, and some to work with."""
UNKNOWN = "another process (see `ss -ltnp`)"


@dataclass(frozen=True, kw_only=True)
class Started:
    """What `up` did. Seconds by service until it was healthy; services that are changed have a new container."""

    seconds: dict[str, float]
    changed: list[str]
    started: list[str]
    """Those that did not run before."""
    secrets: list[str]
    """Names of those that were made."""
    restarted: list[str]
    """Services that ran, and could not see their new secrets."""
    removed: list[str]
    """Containers that a smaller number of workers leaves out."""


def up(context: StackContext, services: Sequence[Service]) -> Started:
    """Start services, building what is missing, and wait until they are healthy.

    Raises PortTaken, DiskFull or SecretsDamaged before anything is started; ServiceUnhealthy, ServiceFailed
    or ContainerLost afterwards, with what is left running.
    """
    names = [service.name for service in services]
    with context.locked():
        before = context.compose.containers()
        current = _is_current(context, services, before)
        made = _prepare(context, [] if current else services, before)
        context.write_variables()
        if current:
            after, seconds = before, health.wait(context, names, seen=before)
        else:
            seconds = _start(context, context.compose.up, names)
            after = context.compose.containers()
            started = _started(context) | {name: after[name].id for name in health.replicas(names, after)}
            write_whole(context.folder / "started", json.dumps({context.stack.digest: started}))
        there = health.replicas(names, after)
        changed = [name for name in there if name not in before or after[name].id != before[name].id]
        stopped = [name for name in there if name not in before or not before[name].state.running]
        removed = [name for name in health.replicas(names, before) if name not in there]
        restarted = secrets.reload(context, after, names)
        recover_interrupted_restore(context, names)
        return Started(
            seconds=seconds,
            changed=changed,
            started=stopped,
            secrets=made,
            restarted=restarted,
            removed=removed,
        )


def restart(context: StackContext, services: Sequence[Service]) -> dict[str, float]:
    """Restart services, and wait until they are healthy; returns the seconds that each took.

    Raises as up() does, and ServiceFailed where one has no container.
    """
    with context.locked():
        there = context.compose.containers()
        if missing := [service.name for service in services if service.name not in there]:
            raise ServiceFailed(
                f"not started: {', '.join(missing)}",
                where=context.compose.project,
                why="there is no container to restart; nothing was restarted",
                hint=f"inv services.up{context.option} starts what is not running",
            )
        start = partial(context.compose.run, "restart", "--no-deps")
        return _start(context, start, [service.name for service in services])


def start_again(context: StackContext, names: Sequence[str], *, recreate: bool = False) -> None:
    """Start services whose stack is locked. Raises as up() does."""
    _prepare(context, [context.stack[name] for name in names], context.compose.containers())
    _start(context, partial(context.compose.up, recreate=recreate), names)
    secrets.reload(context, context.compose.containers(), names)


def _is_current(context: StackContext, services: Sequence[Service], before: Mapping[str, Container]) -> bool:
    """Tell whether compose would change nothing: the model is that of the containers, which run with its images."""
    started = _started(context)
    return all(
        (one := before.get(name)) is not None
        and one.state.status == "running"
        and one.id == started.get(name)
        and one.image == context.docker.image_id(service.image)
        for service in services
        for name in service.containers
    )


def _started(context: StackContext) -> dict[str, str]:
    """Return the ids of the containers that `up` has started with the model as it is now, by service."""
    try:
        return dict(json.loads((context.folder / "started").read_text())[context.stack.digest])
    except (OSError, ValueError, LookupError):
        return {}


def _prepare(
    context: StackContext, services: Sequence[Service], before: Mapping[str, Container]
) -> list[str]:
    """Check the machine, and make what services need before their containers start; returns new secrets' names."""
    _check_machine(context, services, before)
    # the tools' too: a backup needs them, and may be asked for when nothing can be built
    tools = [service.name for service in context.stack.services if service.tool]
    context.ensure_images([*(service.name for service in services), *tools])
    own = secrets.Secrets(context.folder)
    made = own.ensure(context.stack.secrets)
    own.hand_out(context.stack.secrets)
    context.make_readable(services)
    for service in services:
        step = health.step_of(before.get(service.name))
        if service.name not in context.recipes and step in {"missing", "created"}:
            _own_volumes(context, service)
    return made


def _check_machine(
    context: StackContext, services: Sequence[Service], before: Mapping[str, Container]
) -> None:
    """Raise EngineTooOld, PortTaken or DiskFull; asks nothing where all containers are there with their ports."""
    _check_ports(context, services, before)
    if all(service.name in before for service in services):
        return
    info = context.docker.info()
    check_versions(info)
    root = Path(info.docker_root_dir or "")
    if root.exists() and (free := free_disk_bytes(root)) < LEAST_FREE_BYTES:
        raise DiskFull(
            "the engine's disk is nearly full",
            where=str(root),
            why=f"{free // 10**6} MB free, {LEAST_FREE_BYTES // 10**6} MB needed; nothing was started",
            hint="`docker system df` shows what is used",
        )


def _check_ports(context: StackContext, services: Sequence[Service], before: Mapping[str, Container]) -> None:
    running = {name: container for name, container in before.items() if container.state.running}
    own = {one.host_port: name for name, container in running.items() for one in health.ports_of(container)}
    _check_twice(context, services)
    taken = {
        (one.address, one.host_port): service.name
        for service in services
        for one in service.ports
        if (port := one.host_port)
        and own.get(port) != service.name
        and (port in own or is_taken(one.address, port))
    }
    if not taken:
        return
    others = context.docker.published_ports()
    by = {port: f"container {others[port]}" if port in others else UNKNOWN for _, port in taken}
    raise PortTaken(
        "; ".join(f"port {port} of {name} is taken by {by[port]}" for (_, port), name in taken.items()),
        where=", ".join(f"{address}:{port}" for address, port in taken),
        why="nothing was started",
        hint=f"stop it, or take another port in invoke.yaml: {_settings(taken.values())}",
    )


def _check_twice(context: StackContext, services: Sequence[Service]) -> None:
    """Raise PortTaken where one of these services and another of the stack are set to one port."""
    places = [(it.host_port, one) for one in context.stack.long_running for it in one.ports if it.host_port]
    for (port, one), (other_port, other) in combinations(places, 2):
        if port == other_port and (one in services or other in services):
            raise PortTaken(
                f"port {port} is set for both {one.name} and {other.name}",
                where="invoke.yaml",
                why="nothing was started or stopped",
                hint=f"give one of them another: {_settings([one.name, other.name])}",
            )


def _settings(services: Iterable[str]) -> str:
    settings = dict.fromkeys(one for name in services for one in port_settings(name))
    return ", ".join(f"synos.services.{one}" for one in settings) or "its compose file"


def _own_volumes(context: StackContext, service: Service) -> None:
    """Make a service's user the owner of its volumes, where the image is not one of this project.

    An empty volume takes over the owner of the image's folder, each time that a container is created with it. In
    an official image that may be root. So the service's own container is created first, and only started afterwards.
    """
    if not (service.user and service.volumes):
        return
    options = ("--rm", "--no-TTY", "--no-deps", "--user=0:0", "--cap-add=CHOWN", "--entrypoint=chown")
    context.compose.up(service.name, start=False)
    context.compose.run("run", *options, service.name, service.user, *service.volumes)


def _start(context: StackContext, start: Callable[..., object], names: Sequence[str]) -> dict[str, float]:
    """Call what starts services, and wait until they are healthy; returns the seconds of each."""
    began = time.monotonic()
    try:
        try:
            start(*names)
        except EngineUnavailable as error:
            raise health.lost(error, names, {}) from error
        except SynosError as error:
            error.hint = "; ".join(part for part in (error.hint, _left(context, names)) if part)
            raise
        return health.wait(context, names, began)
    except ServiceUnhealthy as error:
        _name_damage(context, names, error)
        raise
    except KeyboardInterrupt:
        context.say(_left(context, names))
        raise


def _name_damage(context: StackContext, names: Sequence[str], error: ServiceUnhealthy) -> None:
    """Add to an error what is damaged of the services that failed, and how to mend it."""
    with suppress(SynosError):  # what failed first is what counts
        failed = health.failing(context.compose.containers(), names)
        if found := damage.find(context, [context.stack[name] for name in failed]):
            error.why = "\n".join([*map(str, found), error.why])
            error.hint = f"{damage.hint(found)}; {error.hint}"


def _left(context: StackContext, names: Sequence[str]) -> str:
    try:
        return health.left(context, names, context.compose.containers())
    except EngineUnavailable:
        return "the engine does not answer, so it is not known what is left running"
