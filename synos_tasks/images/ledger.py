"""The images that this clone built, in .synos/images.json: whose an image is that lost its name, and its cost.

Labels do not say: an image that somebody builds on one of this project inherits them.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from synos_tasks.iso.scratch import write_whole
from synos_tasks.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FILE = "images.json"


@dataclass(frozen=True, kw_only=True)
class Made:
    """One image: the name it was made under, and the seconds that took, 0 where that is not known."""

    tag: str
    seconds: float

    @property
    def name(self) -> str:
        """The name without the tag."""
        return self.tag.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Images by id, the one made last at the end; steps as images/dockerfile.py names them."""

    images: Mapping[str, Made] = field(default_factory=dict)
    steps: frozenset[str] = frozenset()

    def seconds_of(self, name: str) -> float | None:
        """Return the most that an image of that name took to make, as most builds reuse steps; None without any."""
        return max((made.seconds for made in self.images.values() if made.name == name), default=None)


def read(state: Path) -> Ledger:
    """Read the ledger of a clone, whose ``.synos`` is ``state``; a missing or damaged one is empty."""
    try:
        data = json.loads((state / FILE).read_text())
        images = {
            str(ident): Made(tag=str(one["tag"]), seconds=float(one["seconds"]))
            for ident, one in data["images"].items()
        }
        return Ledger(images=images, steps=frozenset(str(step) for step in data["steps"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Ledger()


def remember(state: Path, *, ident: str, tag: str, seconds: float = 0.0, steps: Iterable[str] = ()) -> None:
    """Add an image, and the steps of its Dockerfile."""
    with _locked(state):
        known = read(state)
        images = dict(known.images)
        before = images.pop(ident, Made(tag=tag, seconds=0.0))
        images[ident] = Made(tag=tag, seconds=round(max(seconds, before.seconds), 2))
        _write(state, Ledger(images=images, steps=known.steps | frozenset(steps)))


def forget(state: Path, removed: Iterable[str]) -> None:
    """Drop images that were removed, but keep the last of each name, which says what the next will cost."""
    with _locked(state):
        known = read(state)
        last = {made.name: ident for ident, made in known.images.items()}
        dropped = set(removed) - set(last.values())
        kept = {ident: made for ident, made in known.images.items() if ident not in dropped}
        if kept != known.images:
            _write(state, Ledger(images=kept, steps=known.steps))


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    state.mkdir(parents=True, exist_ok=True)
    with exclusive(state / "ledger.lock"):
        yield


def _write(state: Path, ledger: Ledger) -> None:
    images = {ident: asdict(made) for ident, made in ledger.images.items()}
    write_whole(state / FILE, json.dumps({"images": images, "steps": sorted(ledger.steps)}, indent=1) + "\n")
