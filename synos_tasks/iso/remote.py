"""Entries of a remote store, as the host brings them into a container: asked for by key, in FOLDER once they are whole.

The host has the network, the address and the keys that are trusted; see synos_tasks/build/remote.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping  # noqa: TC003  (codec reads the types of fields)
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.iso import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FOLDER = Path("/remote")
ENTRY = "entry.json"


@dataclass(frozen=True, kw_only=True)
class Described:
    """What is said of an entry."""

    key: str
    stage: str
    facts: Mapping[str, Any]
    files: Mapping[str, tuple[int, str]]
    """Size in bytes and SHA-256, in hex, by name."""

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(size for size, _ in self.files.values())


class Remote:
    """The host's side of a remote store. Used from several threads."""

    def __init__(self, send: Callable[[tuple[str, ...]], object]) -> None:
        """Ask for keys by ``send``; on_reply() hears the answers."""
        self._send = send
        self._answers: dict[str, Future[bool]] = {}
        self._lock = threading.Lock()

    def ask(self, keys: Iterable[str]) -> None:
        """Ask for entries, each once; do not wait."""
        with self._lock:
            new = tuple(key for key in dict.fromkeys(keys) if key not in self._answers)
            self._answers |= {key: Future() for key in new}
        if new:
            self._send(new)

    def on_reply(self, key: str, *, found: bool) -> None:
        """Note whether an entry is in FOLDER."""
        self._answers[key].set_result(found)

    def find(self, key: str) -> tuple[Described, Path] | None:
        """Return an entry and the folder of its files, which are not verified; wait until the host has it."""
        self.ask([key])
        if not self._answers[key].result():
            return None
        folder = FOLDER / key
        return codec.from_data(Described, json.loads((folder / ENTRY).read_text())), folder
