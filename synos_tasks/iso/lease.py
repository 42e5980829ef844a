"""The container's side of its lease; the other side is synos_tasks/engine/run.py.

Standard input brings one request line, then a newline every two seconds. At its end, or when nothing
comes for SILENCE_SECONDS, the host is gone. Silence counts because a killed engine ends nothing:
the container's shim keeps its standard input open.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SILENCE_SECONDS = 10.0


def read_request() -> bytes:
    """Read the request line; b"" where the host was gone before it was written."""
    text = b""
    while b"\n" not in text:
        heard = _hear()
        if not heard:
            return b""
        text += heard
    return text


def watch(stop: Callable[[], None]) -> None:
    """Call ``stop`` when the lease ends, from a thread.

    ``stop`` ends the process. It writes nothing: with the engine dead the pipe is full, and that waits for ever.
    """

    def wait() -> None:
        while _hear():
            pass
        stop()

    threading.Thread(target=wait, daemon=True).start()


def _hear() -> bytes:
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], SILENCE_SECONDS)
    return os.read(sys.stdin.fileno(), 65536) if ready else b""
