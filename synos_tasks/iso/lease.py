"""The container's side of its lease; the other side is synos_tasks/engine/run.py.

Standard input brings one request line, then a newline every two seconds, and replies between them. At its end, or when nothing
comes for SILENCE_SECONDS, the host is gone. Silence counts because a killed engine ends nothing:
the container's shim keeps its standard input open.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SILENCE_SECONDS = 10.0
PR_SET_DUMPABLE = 4
"""See prctl(2)."""


def read_request() -> bytes:
    """Read the request line; b"" where the host was gone before it was written."""
    text = b""
    while b"\n" not in text:
        heard = _hear()
        if not heard:
            return b""
        text += heard
    return text


def continue_in_child() -> None:
    """Return in a child, which hears the same. This process ends with the child, or at the end of the lease.

    As the container's first, no signal from inside it stops or kills this process, and with it the kernel ends all others.
    Nor can anybody in it trace this process, or write to its lease.
    """
    heard, hears = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(heard, sys.stdin.fileno())
        os.close(hears)
        return

    def pass_on() -> None:
        with suppress(BrokenPipeError):  # the child ends, with a code of its own
            while text := _hear():
                os.write(hears, text)
            os._exit(130)

    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.close(heard)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    threading.Thread(target=pass_on, daemon=True).start()
    ended = 0
    while ended != child:  # others are those whose parent has ended
        ended, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def watch(stop: Callable[[], None], on_line: Callable[[bytes], object]) -> None:
    """Call ``on_line`` for each line that is not empty, and ``stop`` when the lease ends, from a thread.

    ``stop`` ends the process. It writes nothing: with the engine dead the pipe is full, and that waits for ever.
    """

    def wait() -> None:
        text = b""
        while heard := _hear():
            *lines, text = (text + heard).split(b"\n")
            for line in filter(None, lines):
                on_line(line)
        stop()

    threading.Thread(target=wait, daemon=True).start()


def _hear() -> bytes:
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], SILENCE_SECONDS)
    return os.read(sys.stdin.fileno(), 65536) if ready else b""
