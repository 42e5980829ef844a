"""What BuildKit reports while it builds an image: a line per step, and an error with a step's last output."""

from __future__ import annotations

import base64
import datetime as dt
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ImageBuildFailed, MirrorUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

LAST_OUTPUT = 4000
"""Bytes of a step's output that are kept for an error."""


class Steps:
    """Turn BuildKit's events into a line per step, and keep the last output for an error."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._shown: set[str] = set()
        self._output: dict[str, bytes] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event; raises ImageBuildFailed or MirrorUnreachable for a failed step."""
        for log in event.get("logs") or []:
            output = self._output.get(log["vertex"], b"") + base64.b64decode(log.get("data") or "")
            self._output[log["vertex"]] = output[-LAST_OUTPUT:]
        for vertex in event.get("vertexes") or []:
            name, ident, error = (vertex.get(key, "") for key in ("name", "digest", "error"))
            if vertex.get("completed") and ident not in self._shown and not name.startswith("[internal]"):
                self._shown.add(ident)
                took = "cached" if vertex.get("cached") else f"{_seconds(vertex):.1f} s"
                self._say(f"  {took:>7}  {name.split(' && ')[0][:90]}")
            # other steps are canceled when one fails; they are not the cause
            if error and "context canceled" not in error:
                lines = self._output.get(ident, b"").decode(errors="replace").splitlines()
                raise _error_of(name, "\n".join([*lines[-8:], error]))


def _seconds(vertex: dict[str, Any]) -> float:
    try:
        began, ended = (dt.datetime.fromisoformat(vertex[key]) for key in ("started", "completed"))
    except (KeyError, ValueError, TypeError):
        return 0.0
    return (ended - began).total_seconds()


def _error_of(step: str, message: str) -> ImageBuildFailed | MirrorUnreachable:
    if "Could not resolve" in message or "Failed to fetch" in message:
        return MirrorUnreachable("the package mirror does not answer", where=step[:200], why=message)
    return ImageBuildFailed("a step of an image's build failed", where=step[:200], why=message)
