"""What this clone had built, in .synos/images.json: whose an image is that lost its name, and what it cost.

Labels cannot tell: an image that somebody builds on one of ours inherits them.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks.host.locks import held
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FILE = "images.json"


@dataclass(frozen=True, kw_only=True)
class Made:
    """One image: the name it was made under, and seconds that took, 0 where that is not known."""

    tag: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All that is remembered. Images by id; steps as images/dockerfile.py names them."""

    images: Mapping[str, Made] = field(default_factory=dict)
    steps: frozenset[str] = frozenset()

    def seconds_of(self, name: str) -> float | None:
        """Give what an image of that name took to make at most; None where none was made here.

        At most, because most of a build's steps come out of the cache.
        """
        known = [made.seconds for made in self.images.values() if made.tag.partition(":")[0] == name]
        return max(known, default=None)


def read(state: Path) -> Ledger:
    """Read the ledger of a clone, whose ``.synos`` is ``state``; a missing or damaged one is empty."""
    told = _read(state)
    images = {
        ident: Made(tag=str(one["tag"]), seconds=float(one["seconds"]))
        for ident, one in told["images"].items()
    }
    return Ledger(images=images, steps=frozenset(told["steps"]))


def remember(state: Path, *, ident: str, tag: str, seconds: float = 0.0, steps: Iterable[str] = ()) -> None:
    """Add an image, and the steps of its Dockerfile."""
    with _alone(state):
        told = _read(state)
        before = told["images"].pop(ident, {"seconds": 0.0})  # the last made comes last
        images = {
            **told["images"],
            ident: {
                "tag": tag,
                "seconds": round(max(seconds, before["seconds"]), 2),
                "seen": round(time.time()),
            },
        }
        _write(state, {"images": images, "steps": sorted({*told["steps"], *steps})})


def forget(state: Path, gone: Iterable[str]) -> None:
    """Drop images that are no longer there, but for the last of each name: it knows what the next will cost."""
    going = set(gone)
    with _alone(state):
        told = _read(state)
        last = {one["tag"].partition(":")[0]: ident for ident, one in told["images"].items()}
        kept = {
            ident: one
            for ident, one in told["images"].items()
            if ident not in going or ident in last.values()
        }
        if kept != told["images"]:
            _write(state, {**told, "images": kept})


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Let no other command write meanwhile."""
    state.mkdir(parents=True, exist_ok=True)
    with held(state / "ledger.lock"):
        yield


def _read(state: Path) -> dict[str, Any]:
    try:
        told = json.loads((state / FILE).read_text())
        images = {
            str(ident): {"tag": str(one["tag"]), "seconds": float(one["seconds"]), "seen": one.get("seen", 0)}
            for ident, one in told["images"].items()
        }
        return {"images": images, "steps": [str(step) for step in told["steps"]]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"images": {}, "steps": []}


def _write(state: Path, told: Mapping[str, Any]) -> None:
    write_whole(state / FILE, json.dumps(told, indent=1) + "\n")
