"""Waiting until services do their work, and saying why one does not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.errors import ContainerLost, DiskFull, EngineUnavailable, ServiceUnhealthy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from synos_tasks.engine.old_compose import Compose, ServiceContainer

POLL = 0.2
"""Seconds between two looks."""
GIVEN_UP_AFTER = 3
"""Restarts in a row after which a service is not going to get healthy."""
LOG_LINES = 12
FULL = "no space left on device"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one service is. Seconds since the wait began."""

    service: str
    step: str
    """missing, or the container's state, or its health where it is running"""
    said: str
    seconds: float
    ready: bool


def step_of(container: ServiceContainer | None) -> str:
    """Give the word for where a container is on its way: its health once it runs, else its state."""
    if container is None:
        return "missing"
    if container.state == "running":
        return container.health or "running"
    return container.state


def wait(
    compose: Compose,
    services: Sequence[str],
    timeout: float,
    show: Callable[[list[Progress]], None],
    *,
    doing: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Look until all services are ready, and hand each look on; gives the seconds that each took.

    ``doing`` tells whether they are still being started: until then, one that is missing is no failure, and neither
    is one that failed, which may be from before. Raises ServiceUnhealthy, DiskFull, or ContainerLost when the
    engine goes away.
    """
    began = time.monotonic()
    took: dict[str, float] = {}
    seen: dict[str, ServiceContainer] = {}
    restarts: dict[str, int] = {}
    while True:
        starting = doing()
        try:
            seen = {one.service: one for one in compose.containers() if one.service in services}
        except EngineUnavailable as error:
            raise lost(error, services, seen) from error
        now = time.monotonic() - began
        for name, one in seen.items():
            restarts[one.id] = min(one.restarts, restarts.get(one.id, one.restarts))
            if one.ready:
                took.setdefault(name, round(now, 2))
            else:
                took.pop(name, None)
        show([_progress(name, seen.get(name), took.get(name, now)) for name in services])
        if not starting and all(name in seen and seen[name].ready for name in services):
            return took
        failed = [one for one in seen.values() if _failed(one, restarts[one.id])]
        if not starting and (failed or now > timeout):
            raise trouble(compose, services, failed, seen, f"after {now:.0f} s")
        time.sleep(POLL)


def _progress(name: str, container: ServiceContainer | None, seconds: float) -> Progress:
    return Progress(
        service=name,
        step=step_of(container),
        said=container.said.splitlines()[-1] if container and container.said else "",
        seconds=round(seconds, 1),
        ready=bool(container and container.ready),
    )


def _failed(container: ServiceContainer, restarts_before: int) -> bool:
    return (
        container.health == "unhealthy"
        or container.restarts - restarts_before >= GIVEN_UP_AFTER
        or container.state in {"exited", "dead"}
    )


def trouble(
    compose: Compose,
    services: Iterable[str],
    failed: Sequence[ServiceContainer],
    seen: dict[str, ServiceContainer],
    when: str,
) -> ServiceUnhealthy | DiskFull:
    """Make the error: each failed service with its check's output and last words, and how the others are."""
    slow = [seen[name] for name in services if name in seen and not seen[name].ready]
    missing = [name for name in services if name not in seen]
    told = [_last_words(compose, one) for one in failed or slow]
    names = [one.service for one in failed or slow] + missing
    whole = "\n".join([*told, *(f"{name}: has no container" for name in missing)])
    left = [f"{name} is {step_of(seen.get(name))}" for name in services]
    hint = f"left as it is: {', '.join(left)}; inv services.logs --only {names[0]} tells more, inv services.down stops all and keeps the data"
    where = f"compose project {compose.file.project}, {when}"
    if FULL in whole.lower():
        return DiskFull(
            f"{', '.join(names)}: no space left for its data", where=where, why=whole,
            hint=f"free some space (`docker system df` shows what is used); {hint}",
        )  # fmt: skip
    return ServiceUnhealthy(f"not healthy: {', '.join(names)}", where=where, why=whole, hint=hint)


def _last_words(compose: Compose, container: ServiceContainer) -> str:
    state = f"{container.service}: {step_of(container)}"
    if container.state != "running":
        state += f", exit code {container.exit_code}"
    if container.restarts:
        state += f", restarted {container.restarts} times"
    if container.killed_for_memory:
        state += ", killed because it took more memory than its limit"
    try:
        log = compose.log(container.id, LOG_LINES)
    except EngineUnavailable:
        log = ""
    parts = [state]
    if container.said:
        parts.append(f"its health check says: {container.said}")
    if log:
        parts.append("its last lines:")
        parts += [f"  {line}" for line in log.splitlines()[-LOG_LINES:]]
    return "\n".join(parts)


def lost(
    error: EngineUnavailable, services: Iterable[str], seen: dict[str, ServiceContainer]
) -> ContainerLost:
    """Make the error for an engine that went away in the middle, with what was seen last."""
    left = ", ".join(f"{name} was {step_of(seen.get(name))}" for name in services)
    return ContainerLost(
        "the Docker Engine went away in the middle",
        where=error.where,
        why=f"{error.why or error.what}; {left}",
        hint="start it again (./scripts/synos does) and run the same command: it goes on from there, and data is kept",
    )
