"""What a person sees of a matrix: its tree, and each ISO as it is made."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from synos_tasks import console
from synos_tasks.build.iso_build import BuildResult
from synos_tasks.iso import protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from synos_tasks.build.matrix.engine import Report
    from synos_tasks.build.matrix.tree import Iso, Segment

WAITING, RUNNING, HIT, MADE = "·", "»", "=", "#"
LEGEND = f"{WAITING} waiting  {RUNNING} running  {HIT} in store  {MADE} made"


def outline(tree: Sequence[Segment], above: Segment | None = None, indent: str = "") -> Iterator[str]:
    """Yield a line for each segment, below the one that it needs."""
    for segment in (one for one in tree if one.after is above):
        whose = segment.isos[0].name if len(segment.isos) == 1 else f"for {len(segment.isos)} ISOs"
        yield f"{indent}{whose}: {', '.join(stage.name for stage in segment.stages)}"
        yield from outline(tree, segment, f"{indent}  ")


@dataclass
class Row:
    """One ISO: the state of each of its stages, in order."""

    stages: dict[str, str]
    now: str = "waiting"
    began: float = 0.0
    seconds: float | None = None
    bytes: int = 0

    def note(self, report: Report) -> None:
        """Note what happened on the way to this ISO."""
        event, now = report.event, time.monotonic()
        self.began = self.began or now
        if isinstance(event, protocol.Start) and self.stages.get(event.stage) == WAITING:
            self.stages[event.stage], self.now = RUNNING, f"{event.stage} ({report.node})"
        elif isinstance(event, protocol.Done) and self.stages.get(event.name) in {WAITING, RUNNING}:
            self.stages[event.name] = HIT if event.hit else MADE
            self.bytes = event.bytes if event.name == "iso" else self.bytes + event.bytes
        if report.result:
            self.now = "done" if isinstance(report.result, BuildResult) else "failed"
            self.seconds = now - self.began


class PlainView(AbstractContextManager["PlainView"]):
    """Prints a line for each stage that ends, for logs and pipes."""

    def __init__(self, isos: Sequence[Iso]) -> None:
        """Make a row for each ISO."""
        self.rows = {iso.name: Row(dict.fromkeys(iso.plan.stage_names, WAITING)) for iso in isos}
        self._lock = threading.Lock()

    def __exit__(self, *exc: object) -> None:
        """Leave the screen as it is."""

    def handle(self, report: Report) -> None:
        """Show what happened; called from any thread."""
        with self._lock:
            for iso in report.segment.isos:
                self.rows[iso.name].note(report)
            self.show(report)

    def show(self, report: Report) -> None:
        """Print a line."""
        name, event, result = report.segment.name, report.event, report.result
        if isinstance(event, protocol.Done):
            how = "in store" if event.hit else f"{event.seconds:.1f} s"
            console.say(f"{name}: {event.name}  {how}  {console.human_bytes(event.bytes)}  {report.node}")
        elif result:
            console.say(f"{name}: {'done' if isinstance(result, BuildResult) else f'failed: {result.what}'}")


class LiveView(PlainView):
    """Draws a table, a row for each ISO, on standard error."""

    def __enter__(self) -> Self:
        """Start to draw."""
        from rich.console import Console  # noqa: PLC0415  (heavy)
        from rich.live import Live  # noqa: PLC0415

        self._live = Live(get_renderable=self.table, console=Console(stderr=True), refresh_per_second=4)
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop drawing; what was drawn stays."""
        self._live.stop()

    def show(self, report: Report) -> None:
        """Draw at the next refresh."""

    def table(self) -> Table:
        """Return the table, of at most 80 columns where an ISO has at most 14 stages."""
        from rich.table import Table  # noqa: PLC0415

        drawn = Table(box=None, pad_edge=False, caption=LEGEND, caption_justify="left")
        drawn.add_column("ISO", no_wrap=True, max_width=26)
        drawn.add_column("stages", no_wrap=True)
        drawn.add_column("now", no_wrap=True, max_width=22)
        drawn.add_column("time", justify="right")
        drawn.add_column("size", justify="right", no_wrap=True)
        for name, row in self.rows.items():
            running = time.monotonic() - row.began if row.began else 0.0
            seconds = running if row.seconds is None else row.seconds
            size = console.human_bytes(row.bytes)
            drawn.add_row(name, "".join(row.stages.values()), row.now, f"{seconds:.0f} s", size)
        return drawn


def view_for(isos: Sequence[Iso]) -> PlainView:
    """Return the view that fits the output."""
    return PlainView(isos) if console.is_plain() else LiveView(isos)
