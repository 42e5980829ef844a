"""What a person sees of services: their way to healthy, and tables of how they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from synos_tasks import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.live import Live
    from rich.table import Table

    from synos_tasks.services.health import Progress
    from synos_tasks.services.status import ServiceStatus

COLOURS = {
    "healthy": "green",
    "unhealthy": "red",
    "exited": "red",
    "dead": "red",
    "restarting": "red",
    "missing": "dim",
}
MEGABYTE = 2**20


class View(Protocol):
    """Shows how far services are."""

    def __enter__(self) -> Self:
        """Start to draw."""
        ...

    def __exit__(self, *exc: object) -> None:
        """Leave the screen as it is."""
        ...

    def show(self, progress: Sequence[Progress]) -> None:
        """Draw one look."""
        ...


class PlainView:
    """A line when a service gets a step further, for logs and pipes."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._steps: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing to end."""

    def show(self, progress: Sequence[Progress]) -> None:
        """Print what is new."""
        for one in progress:
            if self._steps.get(one.service) != one.step:
                self._steps[one.service] = one.step
                console.say(f"{one.service:<12} {one.step:<10} {one.seconds:>5.1f} s")


class LiveView:
    """A line per service that changes in place, with what its health check says until it is healthy."""

    def __init__(self) -> None:
        """Nothing is drawn yet."""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Take over the lines below the cursor."""
        from rich.console import Console  # noqa: PLC0415  (heavy: only where something is drawn)
        from rich.live import Live  # noqa: PLC0415

        self._live = Live(console=Console(stderr=True), refresh_per_second=8)
        self._live.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave the last look on the screen."""
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def show(self, progress: Sequence[Progress]) -> None:
        """Draw one look."""
        if self._live is not None:
            self._live.update(_steps(progress))


def make_view() -> View:
    """Give the view that fits the output."""
    return PlainView() if console.is_plain() else LiveView()


def _steps(progress: Sequence[Progress]) -> Table:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2))
    for name in ("service", "step", "seconds"):
        table.add_column(name, no_wrap=True, justify="right" if name == "seconds" else "left")
    table.add_column("said", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in progress:
        step = Text(one.step, style=COLOURS.get(one.step, "yellow"))
        said = "" if one.ready else one.said
        table.add_row(one.service, step, f"{one.seconds:.1f} s", Text(said, style="dim"))
    return table


def rows(found: Sequence[ServiceStatus]) -> list[list[str]]:
    """Give the rows of the table of `services.status`."""
    return [
        [
            one.name,
            one.step,
            duration(one.uptime),
            "" if one.cpu_percent is None else f"{one.cpu_percent:.1f} %",
            memory(one.memory, one.memory_limit),
            str(one.restarts),
            ", ".join(one.ports),
        ]
        for one in found
    ]


COLUMNS = ("service", "state", "up for", "CPU", "memory", "restarts", "ports")


def duration(seconds: int | None) -> str:
    """Give seconds as people say them, with the two biggest units: 2 d 3 h, 4 min 5 s."""
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
    """Give memory of its limit in MB (1,048,576 bytes)."""
    if used is None:
        return ""
    return f"{used / MEGABYTE:.0f} of {limit / MEGABYTE:.0f} MB" if limit else f"{used / MEGABYTE:.0f} MB"
