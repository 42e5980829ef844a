"""Health of services: waiting for it, what a service says that fails, and `inv services.status`."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.console import human_seconds
from synos_tasks.engine import cache
from synos_tasks.engine.compose import service_of
from synos_tasks.errors import ContainerLost, DiskFull, EngineUnavailable, ServiceUnhealthy, printable
from synos_tasks.services.stack import Port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from synos_tasks.engine.cache import Usage
    from synos_tasks.engine.client import Container
    from synos_tasks.engine.compose import Compose
    from synos_tasks.services.stack import StackContext

POLL = 0.2
"""Seconds between two looks."""
MOST_RESTARTS = 3
"""Restarts in a row after which a service is given up."""
LOG_LINES = 12
FULL = "no space left on device"
READY = frozenset({"healthy", "running"})
"""Steps of a service that works; running: it has no health check."""
WINDOW = 0.02
"""Seconds at least over which CPU use is measured."""
COLUMNS = ("service", "state", "up for", "CPU", "memory", "restarts", "ports")
MEGABYTE = 2**20


def step_of(container: Container | None) -> str:
    """Return the word for how far a container is: its health once it runs, else its state."""
    if container is None:
        return "missing"
    state = container.state
    if state.status == "running" and state.health is not None:
        return state.health.status or "running"
    return state.status or ""


def has_failed(step: str, restarts: int) -> bool:
    """Tell whether a service does not work, and is not in its first start."""
    return step not in READY and (restarts > 0 or step not in {"missing", "created", "starting"})


def failing(seen: Mapping[str, Container], services: Iterable[str]) -> list[str]:
    """Return the services that have a container that does not work; see has_failed()."""
    failed = {service_of(one) for one in seen.values() if has_failed(step_of(one), one.restart_count)}
    return [name for name in services if name in failed]


def replicas(services: Iterable[str], seen: Mapping[str, Container]) -> list[str]:
    """Return the names of the containers of services, as Compose.containers(); of a service without any, its own."""
    return [
        name
        for service in services
        for name in [one for one in seen if service_of(seen[one]) == service] or [service]
    ]


def check_output(container: Container) -> str:
    """Return what the last health check printed."""
    health = container.state.health
    checks = health and health.log
    return printable(checks[-1].output or "").strip() if checks else ""


def wait(
    context: StackContext,
    services: Sequence[str],
    began: float | None = None,
    seen: Mapping[str, Container] | None = None,
) -> dict[str, float]:
    """Wait until services are ready, and say each step; returns the seconds that each container took since ``began``.

    ``began`` is on the clock of time.monotonic(); ``seen`` is a first look that was taken. Raises ServiceUnhealthy,
    DiskFull, or ContainerLost when the engine goes away.
    """
    began = time.monotonic() if began is None else began
    steps: dict[str, str] = {}
    took: dict[str, float] = {}
    last: dict[str, Container] = {}
    restarts: dict[str, int] = {}
    while True:
        try:
            look = context.compose.containers() if seen is None else seen
        except EngineUnavailable as error:
            raise lost(error, services, last) from error
        names = replicas(services, look)
        last, seen = {name: look[name] for name in names if name in look}, None
        now = time.monotonic() - began
        for name in names:
            step = step_of(last.get(name))
            if step != steps.get(name):
                context.say(f"{name:<12} {step:<10} {now:>5.1f} s")
                steps[name], took[name] = step, round(now, 2)
        for name, one in last.items():
            restarts.setdefault(name, one.restart_count)
        if READY.issuperset(steps[name] for name in names):
            return took
        failed = [
            name
            for name, one in last.items()
            if steps[name] in {"unhealthy", "exited", "dead"}
            or one.restart_count - restarts[name] >= MOST_RESTARTS
        ]
        if failed or now > context.timeout:
            raise _unhealthy(context, names, failed, last, now)
        time.sleep(POLL)


def left(context: StackContext, services: Iterable[str], seen: Mapping[str, Container]) -> str:
    """Return a sentence with the state of each container, for a command that ends early."""
    states = ", ".join(f"{name} is {step_of(seen.get(name))}" for name in replicas(services, seen))
    return f"left as it is: {states}; inv services.down{context.option} stops all and keeps the data"


def _unhealthy(
    context: StackContext,
    containers: Sequence[str],
    failed: Sequence[str],
    seen: Mapping[str, Container],
    seconds: float,
) -> ServiceUnhealthy | DiskFull:
    """Return the error: each failed container with its check's output and last log lines, and how the others are."""
    bad = failed or [name for name in containers if name in seen and step_of(seen[name]) not in READY]
    missing = [name for name in containers if name not in seen]
    names = ", ".join([*bad, *missing])
    reports = [_report(context, name, seen[name]) for name in bad]
    why = "\n".join([*reports, *(f"{name}: has no container" for name in missing)])
    where = f"compose project {context.compose.project}, after {seconds:.0f} s"
    services = dict.fromkeys(service_of(seen[name]) if name in seen else name for name in containers)
    first = service_of(seen[bad[0]]) if bad else missing[0]
    hint = f"inv services.logs{context.option} --only {first} tells more; {left(context, services, seen)}"
    if FULL not in why.lower():
        return ServiceUnhealthy(f"not healthy: {names}", where=where, why=why, hint=hint)
    hint = f"free some space (`docker system df` shows what is used); {hint}"
    return DiskFull(f"{names}: no space left for its data", where=where, why=why, hint=hint)


def _report(context: StackContext, service: str, container: Container) -> str:
    first = f"{service}: {step_of(container)}"
    if container.state.status != "running":
        first += f", exit code {container.state.exit_code}"
    if container.restart_count:
        first += f", restarted {container.restart_count} times"
    if container.state.oom_killed:
        first += ", killed because it took more memory than its limit"
    lines = [first]
    if output := check_output(container):
        lines.append(f"its health check says: {output}")
    with contextlib.suppress(EngineUnavailable):
        log = context.docker.logs(container.id, LOG_LINES).splitlines()
        lines += ["its last lines:", *(f"  {line}" for line in log[-LOG_LINES:])] if log else []
    return "\n".join(lines)


def lost(error: EngineUnavailable, services: Iterable[str], seen: Mapping[str, Container]) -> ContainerLost:
    """Return the error for an engine that went away while services started, with what was seen last."""
    last = ", ".join(f"{name} was {step_of(seen.get(name))}" for name in services)
    return ContainerLost(
        "the Docker Engine went away in the middle",
        where=error.where,
        why=f"{error.why or error.what}; {last}",
        hint="start it again and run the same command: it goes on from there, and data is kept",
    )


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """How one service is. Uptime in seconds, CPU in percent of one processor, memory in bytes; None: not known."""

    name: str
    service: str
    state: str
    health: str = ""
    uptime: int | None = None
    cpu_percent: float | None = None
    memory: int | None = None
    memory_limit: int | None = None
    ports: tuple[Port, ...] = ()
    restarts: int = 0
    said: str = ""
    """What the last health check printed."""


def watch(compose: Compose, services: Sequence[str]) -> Iterator[list[ServiceStatus]]:
    """Yield how services are, each time that it is asked; CPU use is since the look before.

    They come in the order of the stack, those without a container too. Raises EngineUnavailable.
    """
    containers = compose.containers()
    before, at = _usage(containers), time.monotonic()
    while True:
        time.sleep(max(0.0, at + WINDOW - time.monotonic()))
        if time.monotonic() - at > 2 * WINDOW:
            containers = compose.containers()
        seconds = time.monotonic() - at
        used, at = _usage(containers), at + seconds
        names = replicas(services, containers)
        yield [_status(name, containers.get(name), before, used, seconds) for name in names]
        before = used


def _usage(containers: Mapping[str, Container]) -> dict[str, Usage]:
    return cache.statistics([one.id for one in containers.values() if one.state.status == "running"])


def cpu_percent(before: Usage | None, after: Usage | None, seconds: float) -> float | None:
    """Return what was used between two looks, in percent of one processor; None where that is not known."""
    if before is None or after is None or seconds <= 0 or after.cpu_ns < before.cpu_ns:
        return None
    return round((after.cpu_ns - before.cpu_ns) / (seconds * 1e9) * 100, 1)


def _status(
    name: str,
    container: Container | None,
    before: Mapping[str, Usage],
    used: Mapping[str, Usage],
    seconds: float,
) -> ServiceStatus:
    if container is None:
        return ServiceStatus(name=name, service=name, state="missing")
    state, started, usage = container.state, container.state.started_at, used.get(container.id)
    runs = state.status == "running"
    return ServiceStatus(
        name=name,
        service=service_of(container),
        state=state.status or "",
        health=(state.health.status or "") if runs and state.health else "",
        uptime=int((dt.datetime.now(dt.UTC) - started).total_seconds()) if runs and started else None,
        cpu_percent=cpu_percent(before.get(container.id), usage, seconds),
        memory=usage.memory if usage else None,
        memory_limit=usage.memory_limit if usage else None,
        ports=ports_of(container),
        restarts=container.restart_count,
        said=check_output(container) if runs else "",
    )


def ports_of(container: Container) -> tuple[Port, ...]:
    """Return the ports that a running container publishes, as the engine chose them."""
    found = []
    for inside, bindings in sorted((container.network_settings.ports or {}).items()):
        number, _, protocol = inside.partition("/")
        for one in bindings or ():
            where = {"address": one["HostIp"], "host_port": int(one["HostPort"])}
            found.append(Port(**where, container_port=int(number), protocol=protocol))
    return tuple(found)


def rows(found: Sequence[ServiceStatus]) -> list[list[str]]:
    """Return the rows of the table."""
    return [
        [
            one.name,
            one.health or one.state,
            "" if one.uptime is None else human_seconds(one.uptime),
            "" if one.cpu_percent is None else f"{one.cpu_percent:.1f} %",
            memory(one.memory, one.memory_limit),
            str(one.restarts),
            ", ".join(f"{port.address}:{port.host_port}->{port.container_port}" for port in one.ports),
        ]
        for one in found
    ]


def memory(used: int | None, limit: int | None) -> str:
    """Return memory and its limit in MB (1,048,576 bytes)."""
    if used is None:
        return ""
    return f"{used / MEGABYTE:.0f} of {limit / MEGABYTE:.0f} MB" if limit else f"{used / MEGABYTE:.0f} MB"
