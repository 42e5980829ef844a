"""`inv services.status`: how each service is, what it takes of the machine, and the table of it."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.engine import cache
from synos_tasks.services.health import check_output
from synos_tasks.services.stack import service_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synos_tasks.engine.cache import Usage
    from synos_tasks.engine.client import Container
    from synos_tasks.engine.compose import Compose

WINDOW = 0.02
"""Seconds at least over which CPU use is measured."""
COLUMNS = ("service", "state", "up for", "CPU", "memory", "restarts", "ports")
MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """How one service is. Uptime in seconds, CPU in percent of one processor, memory in bytes; None: not known."""

    name: str
    state: str
    health: str
    uptime: int | None
    cpu_percent: float | None
    memory: int | None
    memory_limit: int | None
    ports: tuple[str, ...]
    restarts: int
    said: str
    """What the last health check printed."""


class Watcher:
    """Looks at a stack again and again; CPU use is between two looks."""

    def __init__(self, compose: Compose, services: Sequence[str]) -> None:
        """Look for the first time. Raises EngineUnavailable."""
        self._compose, self._services = compose, services
        self._containers = compose.containers()
        self._before, self._at = self._usage(), time.monotonic()

    def _usage(self) -> dict[str, Usage]:
        return cache.statistics([one.id for one in self._containers if one.state.status == "running"])

    def look(self) -> list[ServiceStatus]:
        """Return the services in the order of the stack, those without a container too. Raises EngineUnavailable."""
        time.sleep(max(0.0, self._at + WINDOW - time.monotonic()))
        if time.monotonic() - self._at > 2 * WINDOW:
            self._containers = self._compose.containers()
        usage, now = self._usage(), time.monotonic()
        seen = {service_of(one): one for one in self._containers}
        found = []
        for name in self._services:
            ident = seen[name].id if name in seen else ""
            cpu = cpu_percent(self._before.get(ident), usage.get(ident), now - self._at)
            found.append(_status(name, seen.get(name), usage.get(ident), cpu))
        self._before, self._at = usage, now
        return found


def cpu_percent(before: Usage | None, after: Usage | None, seconds: float) -> float | None:
    """Return what was used between two looks, in percent of one processor; None where one of them is missing."""
    if before is None or after is None or seconds <= 0 or after.cpu_ns < before.cpu_ns:
        return None
    return round((after.cpu_ns - before.cpu_ns) / (seconds * 1e9) * 100, 1)


def _status(name: str, container: Container | None, usage: Usage | None, cpu: float | None) -> ServiceStatus:
    if container is None:
        state, running = "missing", None
    else:
        state = container.state.status or ""
        running = container.state if state == "running" else None
    started = running.started_at if running else None
    return ServiceStatus(
        name=name,
        state=state,
        health=(running.health.status or "") if running and running.health else "",
        uptime=int((dt.datetime.now(dt.UTC) - started).total_seconds()) if started else None,
        cpu_percent=cpu,
        memory=usage.memory if usage else None,
        memory_limit=usage.memory_limit if usage else None,
        ports=_ports(container) if container else (),
        restarts=container.restart_count if container else 0,
        said=check_output(container) if container and running else "",
    )


def _ports(container: Container) -> tuple[str, ...]:
    """Return published ports as ``127.0.0.1:5432->5432``."""
    ports = container.network_settings.ports or {}
    return tuple(
        f"{one['HostIp']}:{one['HostPort']}->{inside.partition('/')[0]}"
        for inside, bindings in sorted(ports.items())
        for one in bindings or ()
    )


def to_json(found: Sequence[ServiceStatus]) -> list[Mapping[str, object]]:
    """Return the services as JSON-ready values."""
    return [{**one.__dict__, "ports": list(one.ports)} for one in found]


def rows(found: Sequence[ServiceStatus]) -> list[list[str]]:
    """Return the rows of the table."""
    return [
        [
            one.name,
            one.health or one.state,
            duration(one.uptime),
            "" if one.cpu_percent is None else f"{one.cpu_percent:.1f} %",
            memory(one.memory, one.memory_limit),
            str(one.restarts),
            ", ".join(one.ports),
        ]
        for one in found
    ]


def duration(seconds: int | None) -> str:
    """Return seconds as people say them, with the two biggest units: 2 d 3 h, 4 min 5 s."""
    if seconds is None:
        return ""
    left = max(seconds, 0)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def memory(used: int | None, limit: int | None) -> str:
    """Return memory and its limit in MB (1,048,576 bytes)."""
    if used is None:
        return ""
    return f"{used / MEGABYTE:.0f} of {limit / MEGABYTE:.0f} MB" if limit else f"{used / MEGABYTE:.0f} MB"
