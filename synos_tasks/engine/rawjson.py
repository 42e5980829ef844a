"""Reads `docker buildx build --progress=rawjson`: objects over several lines, as buildx 0.13 writes them, or in one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def events(lines: Iterable[str]) -> Iterator[dict[str, Any] | str]:
    """Yield each object once it is complete, and each line that belongs to none as it is."""
    parts: list[str] = []
    for line in lines:
        text = line.rstrip()
        if text.startswith("{"):  # what is inside an object is indented: the one before was cut off
            yield from parts
            parts = []
        elif not parts or not text.startswith((" ", "}")):
            yield text
            continue
        parts.append(text)
        if not text.startswith(" ") and text.endswith("}"):
            yield _parsed("\n".join(parts))
            parts = []
    yield from parts


def _parsed(text: str) -> dict[str, Any] | str:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return event if isinstance(event, dict) else text
