"""Containers that run once with open streams: one that lives as long as its command, and one that is a filter."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from synos_tasks.errors import ContainerLost, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from synos_tasks.engine.client import Docker
    from synos_tasks.engine.spec import ContainerSpec

RENEWAL_SECONDS = 2.0
TICK_SECONDS = 0.5
PATIENCE_SECONDS = 4.0
KEPT_LINES = 20
ENGINE_SPEAKS = ("Error response from daemon", "Error: failed to start containers")
"""How the client's own complaints begin; its exit code 1 may be the program's too."""


# ---- a container whose life is tied to the command's


class Leased:
    """A started container: its events, and what the client complained of.

    Standard input is the lease: the request, then a newline every two seconds. The other side is iso/lease.py,
    which stops the container at end-of-file, or after ten seconds of silence.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], request: bytes, deadline: float | None
    ) -> None:
        """Write ``request`` to ``process`` and follow it; ``deadline`` is on time.monotonic()'s clock."""
        self.name, self._process, self._deadline = name, process, deadline
        self._complaints: list[str] = []
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._released = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._read_events, self._read_complaints, lambda: self._renew(request))
        ]
        for thread in self._threads:
            thread.start()

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the container's events until it ends or the deadline is past.

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
        """Return the error for a container that ended without its last event."""
        code = self._process.poll()
        if code is not None:
            self._threads[1].join(1)
        why = "".join(self._complaints[-KEPT_LINES:]).strip()
        return ContainerLost(
            what,
            where=self.name,
            why=why
            or ("it did not end in time" if code is None else f"the container ended with exit code {code}"),
            hint=hint,
        )

    def release(self) -> None:
        """Close standard input: the container's sign to stop."""
        self._released.set()

    def close(self) -> None:
        """Close the streams, once the client has ended."""
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
        self._complaints.extend(line.decode(errors="replace") for line in self._process.stderr or ())

    def _renew(self, request: bytes) -> None:
        # end-of-file alone would not do: when the engine is killed, the container never sees one
        stdin = self._process.stdin
        if stdin is None:
            return
        with contextlib.suppress(OSError):  # those who read from it report why it went away
            stdin.write(request)
            stdin.flush()
            while not self._released.wait(RENEWAL_SECONDS):
                stdin.write(b"\n")
                stdin.flush()
        with contextlib.suppress(OSError):
            stdin.close()


@contextmanager
def leased(
    docker: Docker, spec: ContainerSpec, request: Mapping[str, Any], *, seconds: float | None = None
) -> Iterator[Leased]:
    """Start a container and write its request; on leaving it is gone, whatever happened.

    ``seconds`` is how long its events are followed at most; None: as long as it runs.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    process = docker.attach(spec)
    container = Leased(spec.name, process, json.dumps(request).encode() + b"\n", deadline)
    try:
        yield container
    finally:
        container.release()
        try:
            process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            docker.remove_container(spec.name, force=True)
            process.kill()
            process.wait()
        container.close()


def _event(line: bytes) -> dict[str, Any]:
    text = line.decode(errors="replace").rstrip()
    with contextlib.suppress(ValueError):
        event = json.loads(text)
        if isinstance(event, dict) and "event" in event:
            return event
    return {"event": "log", "stage": "container", "line": text}


# ---- a container that reads a stream and writes another


@dataclass(frozen=True, kw_only=True)
class ExitResult:
    """How a container ended, and the last lines of its standard error."""

    code: int
    stderr: str


class Stream:
    """A running container whose output the caller reads. Input and errors have threads of their own."""

    def __init__(self, docker: Docker, spec: ContainerSpec, given: Iterable[bytes]) -> None:
        """Start it; ``given`` is written to its standard input."""
        self._docker, self._spec = docker, spec
        self._stderr: list[str] = []
        self._failure: BaseException | None = None
        self._process = docker.attach(spec)
        self._threads = [
            threading.Thread(target=self._write, args=(given,), daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def out(self) -> IO[bytes]:
        """Its standard output."""
        assert self._process.stdout is not None  # noqa: S101  (for the type checker)
        return self._process.stdout

    def finish(self) -> ExitResult:
        """Wait until it has ended, once its output was read; raises what kept its input from being written."""
        code = self._process.wait()
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        stderr = "\n".join(self._stderr).strip()
        if code and stderr.startswith(ENGINE_SPEAKS):
            raise EngineUnavailable("a container could not be started", where=self._spec.image, why=stderr)
        return ExitResult(code=code, stderr=stderr)

    def close(self) -> None:
        """End it, if it has not ended, and close the streams."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._docker.remove_container(self._spec.name, force=True)
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _write(self, given: Iterable[bytes]) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101  (for the type checker)
        try:
            for chunk in given:
                stdin.write(chunk)
        except BrokenPipeError:
            pass  # it ended before it had read all: its exit code tells why
        except BaseException as error:  # noqa: BLE001  (raised where it can be seen, by finish())
            self._failure = error
        with contextlib.suppress(OSError):
            stdin.close()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101  (for the type checker)
        for line in self._process.stderr:
            self._stderr = [*self._stderr, line.decode(errors="replace").rstrip()][-KEPT_LINES:]


@contextmanager
def streaming(docker: Docker, spec: ContainerSpec, given: Iterable[bytes] = ()) -> Iterator[Stream]:
    """Run a container whose input is ``given``, read in a thread; on leaving it is gone, whatever happened."""
    stream = Stream(docker, spec, given)
    try:
        yield stream
    finally:
        stream.close()
