"""What a person sees of a build: one line per stage, live in a terminal, plain otherwise."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Protocol, Self

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
        try:
            known = json.loads(path.read_text())
            self._all: dict[str, dict[str, float]] = {
                str(name): {str(stage): float(seconds) for stage, seconds in stages.items()}
                for name, stages in known.items()
            }
        except (OSError, ValueError, AttributeError, TypeError):
            self._all = {}
        self.seconds = self._all.get(profile, {})

    def save(self, stages: list[dict[str, Any]]) -> None:
        """Remember what a finished build made; what it found says nothing of how long it takes."""
        made = {stage["name"]: stage["seconds"] for stage in stages if not stage["hit"]}
        self._all[self._profile] = {**self.seconds, **made}
        write_whole(self._path, json.dumps(self._all, indent=1))


class View(Protocol):
    """Renders the events of a build."""

    def __enter__(self) -> Self:
        """Start to draw."""
        ...

    def __exit__(self, *exc: object) -> None:
        """Leave the screen as it is."""
        ...

    def handle(self, event: protocol.Event) -> None:
        """Draw one event."""
        ...


class PlainView:
    """A line when a stage ends, for logs and pipes."""

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing to end."""

    def handle(self, event: protocol.Event) -> None:
        """Print finished stages."""
        if isinstance(event, protocol.Start):
            console.say(f"{event.stage:<24} started")
        elif isinstance(event, protocol.Done):
            how = "in store" if event.hit else "done"
            size = console.human_bytes(event.bytes)
            console.say(f"{event.name:<24} {how:<8} {event.seconds:>6.1f} s  {size:>9}")


class LiveView:
    """A bar per stage: fraction from the tool where it tells, else from the last build's seconds."""

    def __init__(self, stages: list[str], history: History) -> None:
        """Prepare a bar for each stage."""
        self._stages, self._history = stages, history
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        """Start to draw on standard error."""
        from rich.console import Console  # noqa: PLC0415  (heavy)
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        self._progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[size]:>9}"),
            TextColumn("{task.fields[time]}"),
            console=Console(stderr=True),
            refresh_per_second=4,
            get_time=time.monotonic,
        )
        for stage in self._stages:
            self._tasks[stage] = self._progress.add_task(
                stage, total=None, start=False, size="", time="waiting"
            )
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop drawing; what was drawn stays."""
        if self._progress is not None:
            for stage in self._started:
                self._set(stage, time="stopped")
            self._progress.stop()

    def handle(self, event: protocol.Event) -> None:
        """Draw one event; any event moves the clocks of running stages."""
        if isinstance(event, protocol.Start) and self._progress is not None:
            self._started[event.stage] = time.monotonic()
            self._progress.start_task(self._tasks[event.stage])
        elif isinstance(event, protocol.Progress):
            self._set(event.stage, total=1.0, completed=event.fraction)
        elif isinstance(event, protocol.Done):
            self._started.pop(event.name, None)
            self._set(
                event.name,
                total=1.0,
                completed=1.0,
                size=console.human_bytes(event.bytes),
                time="in store" if event.hit else f"{event.seconds:.1f} s",
            )
        self._tick()

    def _tick(self) -> None:
        for stage, began in self._started.items():
            elapsed = time.monotonic() - began
            expected = self._history.seconds.get(stage)
            if not expected:
                self._set(stage, time=f"{elapsed:.0f} s")
                continue
            self._set(
                stage,
                total=1.0,
                completed=min(0.99, elapsed / expected),
                time=f"{elapsed:.0f} s of about {expected:.0f} s",
            )

    def _set(self, stage: str, **fields: Any) -> None:  # noqa: ANN401
        if self._progress is not None and stage in self._tasks:
            self._progress.update(self._tasks[stage], **fields)


def view_for(stages: list[str], history: History) -> View:
    """Give the view that fits the output."""
    return PlainView() if console.is_plain() else LiveView(stages, history)
