"""What the engine tells the outside: JSON lines on standard output, and a log file beside the work."""

from __future__ import annotations

import json
import os
import threading
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Events:
    """Writes events; safe to use from several threads."""

    def __init__(self, log: Path, descriptor: int) -> None:
        """Events go to ``descriptor``, which must stay theirs alone; logged lines to ``log`` too."""
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._log: IO[str] = log.open("w", encoding="utf-8")
        self.log_path = log

    def send(self, event: str, **fields: Any) -> None:  # noqa: ANN401
        """Send one event."""
        line = json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n"
        with self._lock:
            _write_all(self._descriptor, line.encode())

    def log(self, stage: str, line: str) -> None:
        """Send one line of a tool's output, and keep it."""
        with self._lock:
            self._log.write(f"[{stage}] {line}\n")
        self.send("log", stage=stage, line=line)

    def finish_log(self) -> None:
        """Flush the log to disk."""
        self._log.flush()
        os.fsync(self._log.fileno())


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
