"""Wait until services are healthy; where one fails, say so with its own words."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from synos_tasks.errors import ContainerLost, DiskFull, EngineUnavailable, ServiceUnhealthy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from synos_tasks.engine.client import Container
    from synos_tasks.services.stack import StackContext

POLL = 0.2
"""Seconds between two looks."""
MOST_RESTARTS = 3
"""Restarts in a row after which a service is given up."""
LOG_LINES = 12
FULL = "no space left on device"
READY = frozenset({"healthy", "running"})
"""Steps of a service that works; running: it has no health check."""


def step_of(container: Container | None) -> str:
    """Return the word for how far a container is: its health once it runs, else its state."""
    if container is None:
        return "missing"
    state = container.state
    if state.status == "running" and state.health is not None:
        return state.health.status or "running"
    return state.status or ""


def check_output(container: Container) -> str:
    """Return what the last health check printed."""
    health = container.state.health
    checks = (health.log if health else None) or ()
    return (checks[-1].output or "").strip() if checks else ""


def wait(
    context: StackContext,
    services: Sequence[str],
    began: float | None = None,
    seen: Mapping[str, Container] | None = None,
) -> dict[str, float]:
    """Wait until services are ready, and say each step; returns the seconds that each took since ``began``.

    ``began`` is on the clock of time.monotonic(); ``seen`` is a first look that was taken. Raises ServiceUnhealthy, DiskFull, or ContainerLost when the
    engine goes away.
    """
    began = time.monotonic() if began is None else began
    steps: dict[str, str] = {}
    took: dict[str, float] = {}
    last: dict[str, Container] = {}
    look = seen
    restarts: dict[str, int] = {}
    while True:
        try:
            look = context.containers() if look is None else look
        except EngineUnavailable as error:
            raise lost(error, services, last) from error
        last, look = {name: one for name, one in look.items() if name in services}, None
        now = time.monotonic() - began
        for name in services:
            step = step_of(last.get(name))
            if step != steps.get(name):
                context.say(f"{name:<12} {step:<10} {now:>5.1f} s")
                steps[name], took[name] = step, round(now, 2)
        for name, one in last.items():
            restarts.setdefault(name, one.restart_count)
        if READY.issuperset(steps.values()):
            return took
        failed = [one for name, one in last.items() if _failed(one, restarts[name])]
        if failed or now > context.timeout:
            raise _unhealthy(context, services, failed, last, now)
        time.sleep(POLL)


def _failed(container: Container, restarts_before: int) -> bool:
    return (
        step_of(container) in {"unhealthy", "exited", "dead"}
        or container.restart_count - restarts_before >= MOST_RESTARTS
    )


def states(services: Iterable[str], seen: Mapping[str, Container]) -> str:
    """Say how each service is."""
    return ", ".join(f"{name} is {step_of(seen.get(name))}" for name in services)


def _unhealthy(
    context: StackContext,
    services: Sequence[str],
    failed: Sequence[Container],
    seen: Mapping[str, Container],
    seconds: float,
) -> ServiceUnhealthy | DiskFull:
    """Return the error: each failed service with its check's output and last log lines, and how the others are."""
    bad = {name: one for name, one in seen.items() if one in failed}
    bad = bad or {name: seen[name] for name in services if name in seen and step_of(seen[name]) not in READY}
    missing = [name for name in services if name not in seen]
    names = [*bad, *missing]
    reports = [_report(context, name, one) for name, one in bad.items()]
    why = "\n".join([*reports, *(f"{name}: has no container" for name in missing)])
    where = f"compose project {context.compose.file.project}, after {seconds:.0f} s"
    hint = (
        f"left as it is: {states(services, seen)}; inv services.logs --only {names[0]} tells more, "
        "inv services.down stops all and keeps the data"
    )
    if FULL in why.lower():
        return DiskFull(
            f"{', '.join(names)}: no space left for its data",
            where=where,
            why=why,
            hint=f"free some space (`docker system df` shows what is used); {hint}",
        )
    return ServiceUnhealthy(f"not healthy: {', '.join(names)}", where=where, why=why, hint=hint)


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


def lost(
    error: EngineUnavailable, services: Iterable[str], seen: Mapping[str, Container] | None = None
) -> ContainerLost:
    """Return the error for an engine that went away while services started, with what was seen last."""
    left = ", ".join(f"{name} was {step_of((seen or {}).get(name))}" for name in services)
    return ContainerLost(
        "the Docker Engine went away in the middle",
        where=error.where,
        why=f"{error.why or error.what}; {left}",
        hint="start it again (./scripts/synos does) and run the same command: it goes on from there, and data is kept",
    )
