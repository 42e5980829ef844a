"""A container that lives as long as its command, and processes with a stream in and a stream out."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections import deque
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, Self, cast

from synos_tasks.errors import ContainerLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from synos_tasks.engine.client import Docker
    from synos_tasks.engine.spec import ContainerSpec

RENEWAL_SECONDS = 2.0
TICK_SECONDS = 0.5
PATIENCE_SECONDS = 4.0
KEPT_LINES = 20
LINE_BYTES = 2**24
"""What is kept of a line: the largest events list every file of two ISOs, about 100 bytes for each."""
WAITING_LINES = 4
"""Lines that are read ahead of who follows the events; then the container waits."""
CHUNK = 2**20
MESSAGE_BYTES = 2**16
ENGINE_SPEAKS = ("Error response from daemon", "Error: failed to start containers")
"""How the client's own complaints begin; its exit code 1 may be the program's too."""


class Leased:
    """A container whose life is tied to this command's: its lines, and what the client complained of.

    Standard input is the lease: the request, then a newline every two seconds. The other side is iso/lease.py,
    which stops the container at end-of-file, or after ten seconds of silence.
    """

    def __init__(
        self, docker: Docker, spec: ContainerSpec, request: Mapping[str, Any], seconds: float | None = None
    ) -> None:
        """Start it and write ``request``; its lines are followed for ``seconds``, None: as long as it runs."""
        self._docker, self._spec = docker, spec
        self._process = docker.attach(spec)
        self._stderr: deque[str] = deque(maxlen=KEPT_LINES)
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._lines: queue.Queue[bytes | None] = queue.Queue(WAITING_LINES)
        self._released = threading.Event()
        self._writing = threading.Lock()
        self._errors = threading.Thread(target=self._read_stderr, daemon=True)
        text = json.dumps(request).encode() + b"\n"
        others = [
            threading.Thread(target=work, daemon=True)
            for work in (self._read_lines, lambda: self._renew(text))
        ]
        self._threads = [self._errors, *others]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that the container prints until it ends or the deadline is past.

        An empty one comes every half second without any, so that clocks can move.
        """
        while self._deadline is None or time.monotonic() < self._deadline:
            try:
                line = self._lines.get(timeout=TICK_SECONDS)
            except queue.Empty:
                yield b""
                continue
            if line is None:
                return
            yield line

    def send(self, message: Mapping[str, Any]) -> None:
        """Write a line to the container's standard input; if it is gone, those who read from it report why."""
        with contextlib.suppress(OSError, ValueError), self._writing:
            self._write(json.dumps(message).encode() + b"\n")

    def release(self) -> None:
        """End the lease: the container stops."""
        self._released.set()

    def code(self) -> tuple[int, str]:
        """Wait until the container ends or is released; return its exit code, and why the engine could not run it."""
        code = None
        while code is None and not self._released.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(TICK_SECONDS)
        if code is None:
            return 137, "the build ended"
        self._errors.join(1)
        stderr = "\n".join(self._stderr).strip()
        return code, stderr if code and stderr.startswith(ENGINE_SPEAKS) else ""

    def succeeded(self) -> bool:
        """Return whether the container has ended by itself, with exit code 0; waits a little for its end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=PATIENCE_SECONDS) == 0
        return False

    def lost(self, what: str, hint: str) -> ContainerLost:
        """Return the error for a container that ended without its last event."""
        code = self._process.poll()
        ending = "it did not end in time"
        if code is not None:
            self._errors.join(1)
            ending = f"the container ended with exit code {code}"
        why = "\n".join(self._stderr).strip() or ending
        return ContainerLost(what, where=self._spec.name, why=why, hint=hint)

    def __exit__(self, *_: object) -> None:
        """Release the lease, and remove the container if it does not stop in time."""
        self._released.set()
        try:
            self._process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # first: an engine that is gone removes nothing
            self._process.wait()
            self._docker.remove_container(self._spec.name, force=True)
        for thread in self._threads:
            thread.join(1)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read_stderr(self) -> None:
        for line in _lines(self._process.stderr, 2**16):
            self._stderr.append(line.decode(errors="replace").rstrip())

    def _read_lines(self) -> None:
        for line in chain(_lines(self._process.stdout, LINE_BYTES), [None]):
            # once released, nobody follows: the rest is read, so that the client can end
            while not self._released.is_set():
                with contextlib.suppress(queue.Full):
                    self._lines.put(line, timeout=TICK_SECONDS)
                    break

    def _renew(self, request: bytes) -> None:
        # end-of-file alone would not do: when the engine is killed, the container never sees one
        with contextlib.suppress(OSError):  # those who read from it report why it went away
            with self._writing:
                self._write(request)
            while not self._released.wait(RENEWAL_SECONDS):
                with self._writing:
                    self._write(b"\n")
        with contextlib.suppress(OSError), self._writing:
            cast("IO[bytes]", self._process.stdin).close()

    def _write(self, line: bytes) -> None:
        stdin = cast("IO[bytes]", self._process.stdin)
        stdin.write(line)
        stdin.flush()


def _lines(stream: IO[bytes] | None, limit: int) -> Iterator[bytes]:
    """Yield lines without their ends; what goes beyond ``limit`` bytes is read and forgotten."""
    rest = False
    while stream is not None and (part := stream.readline(limit)):
        if not rest:
            yield part.rstrip(b"\r\n") or b" "  # never empty: for lines() that is half a second
        rest = not part.endswith(b"\n")


@contextlib.contextmanager
def afterwards(argv: Sequence[str]) -> Iterator[None]:
    """Run a command when the block is left by an exception, or when this process is killed in it."""
    # a process of its own that waits for a line, or for the end of file that it sees when this one is gone
    with subprocess.Popen(
        ["sh", "-c", 'read -r line || exec "$@"', "sh", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as waiting:  # whose end it waits for
        yield
        with contextlib.suppress(BrokenPipeError):
            cast("IO[bytes]", waiting.stdin).write(b"\n")


def piped(
    argv: Sequence[str], stdin: bytes | IO[bytes] | None, take: Callable[[bytes], object]
) -> tuple[int, str]:
    """Run a process with a file, or a few bytes, as its input, and call ``take`` with chunks of its output.

    Return its exit code, and the end of what it wrote to standard error. After an exception it is killed.
    """
    with tempfile.TemporaryFile() as stderr:  # a pipe would fill up while nobody reads it
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        ) as process:
            try:
                if process.stdin is not None and isinstance(stdin, bytes):
                    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                        pipe.write(stdin)
                output = cast("IO[bytes]", process.stdout).fileno()
                while chunk := os.read(output, CHUNK):
                    take(chunk)
            except BaseException:
                process.kill()
                raise
        stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - MESSAGE_BYTES))
        return process.returncode, stderr.read().decode(errors="replace").strip()
