"""A container whose life is tied to the command's: it ends when the command does, however that ends.

Standard input is the lease: one request line, then a newline every two seconds. The other side is
synos_tasks/iso/lease.py, which stops the container at end-of-file, or after ten seconds of silence.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ContainerLost

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.engine.spec import ContainerSpec

RENEWAL_SECONDS = 2.0
TICK_SECONDS = 0.5
PATIENCE_SECONDS = 4.0


class Leased:
    """A started container: its events, and what `docker run` complained of."""

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], request: bytes, deadline: float | None
    ) -> None:
        """Hand ``request`` to ``process`` and follow it; ``deadline`` is in time.monotonic()'s seconds."""
        self.name, self._process, self._deadline = name, process, deadline
        self._said: list[str] = []
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._left = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._read_events, self._read_complaints, lambda: self._hold(request))
        ]
        for thread in self._threads:
            thread.start()

    def events(self) -> Iterator[dict[str, Any]]:
        """Give the container's events until it ends or the deadline is past.

        A ``tick`` comes every half second without an event, so that clocks can move. A line that is no
        event comes as a ``log`` event.
        """
        while self._deadline is None or time.monotonic() < self._deadline:
            try:
                line = self._lines.get(timeout=TICK_SECONDS)
            except queue.Empty:
                yield {"event": "tick"}
                continue
            if line is None:
                return
            yield _event(line)

    def lost(self, what: str, hint: str) -> ContainerLost:
        """Make the error for a container that ended without its last event."""
        code = self._process.poll()
        if code is not None:
            self._threads[1].join(1)
        return ContainerLost(
            what,
            where=self.name,
            why="".join(self._said[-20:]).strip()
            or ("it did not end in time" if code is None else f"docker run ended with {code}"),
            hint=hint,
        )

    def give_up(self) -> None:
        """Close standard input: the container's sign to stop."""
        self._left.set()

    def close(self) -> None:
        """Let go of the streams, once `docker run` has ended."""
        for thread in self._threads:
            thread.join(1)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read_events(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line)
        self._lines.put(None)

    def _read_complaints(self) -> None:
        self._said.extend(line.decode(errors="replace") for line in self._process.stderr or ())

    def _hold(self, request: bytes) -> None:
        """Write the request, then a newline every two seconds, and close when the lease is given up.

        End-of-file alone would not do: when the engine is killed, the container never sees one.
        """
        stdin = self._process.stdin
        if stdin is None:
            return
        with contextlib.suppress(OSError):  # why it went away is told by those who read from it
            stdin.write(request)
            stdin.flush()
            while not self._left.wait(RENEWAL_SECONDS):
                stdin.write(b"\n")
                stdin.flush()
        with contextlib.suppress(OSError):
            stdin.close()


@contextmanager
def leased(
    engine: Engine, spec: ContainerSpec, request: Mapping[str, Any], *, seconds: float | None = None
) -> Iterator[Leased]:
    """Start a container and hand it its request; on leaving it is gone, whatever happened.

    ``seconds`` is how long its events are followed at most; None: as long as it runs.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    process = engine.start(spec)
    container = Leased(spec.name, process, json.dumps(request).encode() + b"\n", deadline)
    try:
        yield container
    finally:
        container.give_up()
        _end(engine, spec, process)
        container.close()


def _end(engine: Engine, spec: ContainerSpec, process: subprocess.Popen[bytes]) -> None:
    """Wait until the container has ended by its lease; use force when it takes too long."""
    try:
        process.wait(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        engine.remove_container(spec.name)
        process.kill()
        process.wait()


def _event(line: bytes) -> dict[str, Any]:
    text = line.decode(errors="replace").rstrip()
    with contextlib.suppress(ValueError):
        event = json.loads(text)
        if isinstance(event, dict) and "event" in event:
            return event
    return {"event": "log", "stage": "container", "line": text}
