"""What a person sees of a build: one line per stage, live in a terminal, plain otherwise."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Self

from synos_tasks import console
from synos_tasks.iso import protocol
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress, TaskID


class History:
    """Seconds that each stage of a profile took last time, kept in .synos/history.json."""

    def __init__(self, path: Path, profile: str) -> None:
        """Read the file; a damaged one counts as empty."""
        self._path, self._profile = path, profile
        self._all: dict[str, dict[str, float]] = {}
        try:
            for name, stages in json.loads(path.read_text()).items():
                self._all[str(name)] = {str(stage): float(seconds) for stage, seconds in stages.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._all = {}
        self.seconds = self._all.get(profile, {})

    def save(self, stages: list[dict[str, Any]]) -> None:
        """Store the seconds of the stages that a finished build made, not of those it found."""
        made = {stage["name"]: stage["seconds"] for stage in stages if not stage["hit"]}
        self._all[self._profile] = {**self.seconds, **made}
        write_whole(self._path, json.dumps(self._all, indent=1))


class PlainView:
    """Print a line when a stage ends, for logs and pipes."""

    def __enter__(self) -> Self:
        """Start to show events."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave the screen as it is."""

    def handle(self, event: protocol.Event) -> None:
        """Show one event."""
        if isinstance(event, protocol.Start):
            console.say(f"{event.stage:<24} started")
        elif isinstance(event, protocol.Done):
            how = "in store" if event.hit else "done"
            size = console.human_bytes(event.bytes)
            console.say(f"{event.name:<24} {how:<8} {event.seconds:>6.1f} s  {size:>9}")


class LiveView(PlainView):
    """Draw a bar per stage: the fraction that its tool reports, else by the seconds of the last build."""

    def __init__(self, stages: list[str], history: History) -> None:
        """Prepare a bar for each stage, on standard error."""
        from rich.console import Console  # noqa: PLC0415  (heavy)
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        self._history = history
        self._started: dict[str, float] = {}
        self._progress: Progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[size]:>9}"),
            TextColumn("{task.fields[time]}"),
            console=Console(stderr=True),
            refresh_per_second=4,
            get_time=time.monotonic,
        )
        self._tasks: dict[str, TaskID] = {
            stage: self._progress.add_task(stage, total=None, start=False, size="", time="waiting")
            for stage in stages
        }

    def __enter__(self) -> Self:
        """Start to draw."""
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop drawing; what was drawn stays."""
        for stage in self._started:
            self._set(stage, time="stopped")
        self._progress.stop()

    def handle(self, event: protocol.Event) -> None:
        """Draw one event; any event moves the clocks of running stages."""
        if isinstance(event, protocol.Start):
            self._started[event.stage] = time.monotonic()
            self._progress.start_task(self._tasks[event.stage])
        elif isinstance(event, protocol.Progress):
            self._set(event.stage, total=1.0, completed=event.fraction)
        elif isinstance(event, protocol.Done):
            self._started.pop(event.name, None)
            took = "in store" if event.hit else f"{event.seconds:.1f} s"
            self._set(event.name, total=1.0, completed=1.0, size=console.human_bytes(event.bytes), time=took)
        for running, began in self._started.items():
            self._show_clock(running, time.monotonic() - began)

    def _show_clock(self, stage: str, elapsed: float) -> None:
        expected = self._history.seconds.get(stage)
        if expected:
            fraction, text = min(0.99, elapsed / expected), f"{elapsed:.0f} s of about {expected:.0f} s"
            self._set(stage, total=1.0, completed=fraction, time=text)
        else:
            self._set(stage, time=f"{elapsed:.0f} s")

    def _set(self, stage: str, **fields: Any) -> None:  # noqa: ANN401
        if stage in self._tasks:
            self._progress.update(self._tasks[stage], **fields)


def view_for(stages: list[str], history: History) -> PlainView:
    """Return the view that fits the output."""
    return PlainView() if console.is_plain() else LiveView(stages, history)
