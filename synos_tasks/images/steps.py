"""What BuildKit says while it builds an image: a line per step, and an error with a step's last words."""

from __future__ import annotations

import base64
import datetime as dt
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ImageBuildFailed, MirrorUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

LAST_WORDS = 4000
"""Bytes of a step's output that are kept for an error."""
CANCELED = "context canceled"
"""What BuildKit says of the steps beside one that fails; they are not to blame."""


class Steps:
    """Turns BuildKit's events into a line per step, and keeps the last words for an error."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._seen: set[str] = set()
        self._said: dict[str, bytes] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event; raises ImageBuildFailed or MirrorUnreachable when it tells of a failed step."""
        for log in event.get("logs") or []:
            said = self._said.get(log["vertex"], b"") + base64.b64decode(log.get("data") or "")
            self._said[log["vertex"]] = said[-LAST_WORDS:]
        for vertex in event.get("vertexes") or []:
            name, ident = vertex.get("name", ""), vertex.get("digest", "")
            if vertex.get("completed") and ident not in self._seen and not name.startswith("[internal]"):
                self._seen.add(ident)
                took = "cached" if vertex.get("cached") else f"{_seconds(vertex):.1f} s"
                self._say(f"  {took:>7}  {name.split(' && ')[0][:90]}")
            if vertex.get("error") and CANCELED not in vertex["error"]:
                lines = self._said.get(ident, b"").decode(errors="replace").splitlines()
                raise_for(name, "\n".join([*lines[-8:], vertex["error"]]))


def _seconds(vertex: dict[str, Any]) -> float:
    try:
        began, ended = (
            dt.datetime.fromisoformat(vertex[key][:26].rstrip("Z") + "+00:00")
            for key in ("started", "completed")
        )
    except (KeyError, ValueError, TypeError):
        return 0.0
    return (ended - began).total_seconds()


def raise_for(step: str, message: str) -> None:
    """Raise the error for a failed step of an image's build."""
    if "Could not resolve" in message or "Failed to fetch" in message:
        raise MirrorUnreachable("the package mirror does not answer", where=step[:200], why=message)
    raise ImageBuildFailed("a step of an image's build failed", where=step[:200], why=message)
