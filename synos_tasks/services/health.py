"""Waiting until services are healthy: shown meanwhile, and with each failed one's own words when it fails."""

from __future__ import annotations

import contextlib
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks import console
from synos_tasks.errors import ContainerLost, DiskFull, EngineUnavailable, ServiceUnhealthy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.table import Table

    from synos_tasks.engine.client import Container
    from synos_tasks.services.stack import StackContext

POLL = 0.2
"""Seconds between two looks."""
MOST_RESTARTS = 3
"""Restarts in a row after which a service is given up."""
LOG_LINES = 12
FULL = "no space left on device"
COLOURS = {
    "healthy": "green",
    "unhealthy": "red",
    "exited": "red",
    "dead": "red",
    "restarting": "red",
    "missing": "dim",
}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one service is. Seconds since the start began."""

    service: str
    step: str
    """missing, or the container's state, or its health where it is running"""
    output: str
    """Last line of its last health check."""
    seconds: float
    ready: bool


def step_of(container: Container | None) -> str:
    """Return the word for how far a container is: its health once it runs, else its state."""
    if container is None:
        return "missing"
    state = container.state
    if state.status == "running" and state.health is not None:
        return state.health.status or "running"
    return state.status or ""


def is_ready(container: Container | None) -> bool:
    """Tell whether a service works: its container runs, and is healthy where it has a health check."""
    return step_of(container) in {"healthy", "running"}


def check_output(container: Container) -> str:
    """Return what the last health check printed."""
    health = container.state.health
    checks = (health.log if health else None) or ()
    return (checks[-1].output or "").strip() if checks else ""


def wait(context: StackContext, services: Sequence[str], began: float | None = None) -> dict[str, float]:
    """Show services until all are ready; returns the seconds that each took since ``began`` (time.monotonic()).

    Raises ServiceUnhealthy, DiskFull, or ContainerLost when the engine goes away.
    """
    began = time.monotonic() if began is None else began
    took: dict[str, float] = {}
    seen: dict[str, Container] = {}
    restarts: dict[str, int] = {}
    with progress_view() as show:
        while True:
            try:
                seen = {name: one for name, one in context.containers().items() if name in services}
            except EngineUnavailable as error:
                raise lost(error, services, seen) from error
            now = time.monotonic() - began
            for name, one in seen.items():
                restarts.setdefault(name, one.restart_count)
                if is_ready(one):
                    took.setdefault(name, round(now, 2))
                else:
                    took.pop(name, None)
            show([_progress(name, seen.get(name), took.get(name, now)) for name in services])
            if len(took) == len(services):
                return took
            failed = [one for name, one in seen.items() if _failed(one, restarts[name])]
            if failed or now > context.timeout:
                raise _unhealthy(context, services, failed, seen, now)
            time.sleep(POLL)


def _progress(name: str, container: Container | None, seconds: float) -> Progress:
    output = check_output(container) if container else ""
    return Progress(
        service=name,
        step=step_of(container),
        output=output.splitlines()[-1] if output else "",
        seconds=round(seconds, 1),
        ready=is_ready(container),
    )


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
    bad = bad or {name: seen[name] for name in services if name in seen and not is_ready(seen[name])}
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


@contextmanager
def progress_view() -> Iterator[Callable[[Sequence[Progress]], None]]:
    """Yield what shows progress: a table that changes in place, or, without a terminal, a line for each change."""
    if console.is_plain():
        yield _plain()
        return
    from rich.console import Console  # noqa: PLC0415  (heavy: only where something is drawn)
    from rich.live import Live  # noqa: PLC0415

    with Live(console=Console(stderr=True), refresh_per_second=8) as live:
        yield lambda progress: live.update(_table(progress))


def _plain() -> Callable[[Sequence[Progress]], None]:
    steps: dict[str, str] = {}

    def show(progress: Sequence[Progress]) -> None:
        for one in progress:
            if steps.get(one.service) != one.step:
                steps[one.service] = one.step
                console.say(f"{one.service:<12} {one.step:<10} {one.seconds:>5.1f} s")

    return show


def _table(progress: Sequence[Progress]) -> Table:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2))
    for name in ("service", "step", "seconds"):
        table.add_column(name, no_wrap=True, justify="right" if name == "seconds" else "left")
    table.add_column("output", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in progress:
        step = Text(one.step, style=COLOURS.get(one.step, "yellow"))
        output = "" if one.ready else one.output
        table.add_row(one.service, step, f"{one.seconds:.1f} s", Text(output, style="dim"))
    return table
