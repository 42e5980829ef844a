"""A container that a test writes as a function: it reads and writes real pipes, in a thread."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO


class Guest:
    """Stands for `docker run`: a function in a thread, with three pipes. It ends with the last of ``codes``."""

    def __init__(
        self, body: Callable[[int, IO[bytes], IO[bytes]], object], codes: Sequence[int] = (0,)
    ) -> None:
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()
        read_err, write_err = os.pipe()
        self.stdin, self.stdout, self.stderr = (
            os.fdopen(write_in, "wb"), os.fdopen(read_out, "rb"), os.fdopen(read_err, "rb"),
        )  # fmt: skip
        self.killed, self._codes = False, codes

        def run() -> None:
            with (
                os.fdopen(write_out, "wb", 0) as out,
                os.fdopen(write_err, "wb", 0) as err,
                suppress(OSError),
            ):
                body(read_in, out, err)
            os.close(read_in)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def wait(self, timeout: float | None = None) -> int:
        if not self.killed:
            self._thread.join(timeout)
        if self._thread.is_alive() and not self.killed:
            raise subprocess.TimeoutExpired("docker", timeout or 0)
        return self._codes[-1]

    def poll(self) -> int | None:
        return None if self._thread.is_alive() else self._codes[-1]

    def kill(self) -> None:
        self.killed = True


def until_end(descriptor: int) -> bytes:
    """Read to end-of-file: until the lease ends."""
    found = b""
    while chunk := os.read(descriptor, 4096):
        found += chunk
    return found


def request_of(descriptor: int) -> bytes:
    """Read to the end of a line, as a lease stays open, or to end-of-file."""
    found = b""
    while b"\n" not in found and (chunk := os.read(descriptor, 2**16)):
        found += chunk
    return found
