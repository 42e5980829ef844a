"""`inv services.status`: how each service is, and what it takes of the machine."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synos_tasks.engine.old_compose import Compose, ServiceContainer, Usage

WINDOW = 0.02
"""Seconds at least over which CPU use is measured."""


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

    @property
    def step(self) -> str:
        """Its health while it runs, else its state."""
        return self.health or self.state  # there is a health only while it runs


class Watcher:
    """Looks at a stack again and again; CPU use is between two looks."""

    def __init__(self, compose: Compose, services: Sequence[str]) -> None:
        """Look for the first time. Raises EngineUnavailable."""
        self._compose, self._services = compose, services
        self._containers = compose.containers()
        self._before, self._at = self._usage(), time.monotonic()

    def _usage(self) -> dict[str, Usage]:
        return self._compose.usage([one.id for one in self._containers if one.state == "running"])

    def look(self) -> list[ServiceStatus]:
        """Give the services in the order of the stack, those without a container too. Raises EngineUnavailable."""
        time.sleep(max(0.0, self._at + WINDOW - time.monotonic()))
        if time.monotonic() - self._at > 2 * WINDOW:
            self._containers = self._compose.containers()
        usage, now = self._usage(), time.monotonic()
        seen = {one.service: one for one in self._containers}
        found = []
        for name in self._services:
            one = seen.get(name)
            ident = one.id if one else ""
            cpu = cpu_percent(self._before.get(ident), usage.get(ident), now - self._at)
            found.append(_status(name, one, usage.get(ident), cpu, dt.datetime.now(dt.UTC)))
        self._before, self._at = usage, now
        return found


def cpu_percent(before: Usage | None, after: Usage | None, seconds: float) -> float | None:
    """Give what was used between two looks, in percent of one processor; None where one of them is missing."""
    if before is None or after is None or seconds <= 0 or after.cpu_ns < before.cpu_ns:
        return None
    return round((after.cpu_ns - before.cpu_ns) / (seconds * 1e9) * 100, 1)


def _status(
    name: str, container: ServiceContainer | None, usage: Usage | None, cpu: float | None, now: dt.datetime
) -> ServiceStatus:
    runs = container is not None and container.state == "running"
    return ServiceStatus(
        name=name,
        state=container.state if container else "missing",
        health=container.health if container and runs else "",
        uptime=int((now - container.started).total_seconds())
        if container and runs and container.started
        else None,
        cpu_percent=cpu,
        memory=usage.memory if usage else None,
        memory_limit=usage.memory_limit if usage else None,
        ports=container.ports if container else (),
        restarts=container.restarts if container else 0,
        said=container.said if container and runs else "",
    )


def to_json(found: Sequence[ServiceStatus]) -> list[Mapping[str, object]]:
    """Give the services as JSON-ready values."""
    return [{**one.__dict__, "ports": list(one.ports)} for one in found]
