"""The images that this clone built, in .synos/images.json: whose an image is that lost its name, and its cost.

Labels do not say: an image that somebody builds on one of this project inherits them.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synos_tasks.iso.codec import from_data, to_data
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
    steps: tuple[str, ...] = ()

    def seconds_of(self, name: str) -> float | None:
        """Return the most that an image of that name took to make, as most builds reuse steps; None without any."""
        return max((made.seconds for made in self.images.values() if made.name == name), default=None)


def read(state: Path) -> Ledger:
    """Read the ledger of a clone, whose ``.synos`` is ``state``; a missing or damaged one is empty.

    Raises OSError for one that cannot be read: the next image would replace all that is in it.
    """
    try:
        return from_data(Ledger, json.loads((state / FILE).read_text()))
    except (FileNotFoundError, ValueError, RecursionError):
        return Ledger()


def remember(state: Path, *, ident: str, tag: str, seconds: float = 0.0, steps: Iterable[str] = ()) -> None:
    """Add an image, and the steps of its Dockerfile."""
    with _changing(state) as (images, known):
        before = images.pop(ident, Made(tag=tag, seconds=0.0))
        images[ident] = Made(tag=tag, seconds=round(max(seconds, before.seconds), 2))
        known.update(steps)


def forget(state: Path, removed: Iterable[str]) -> None:
    """Drop images that were removed, but keep the last of each name, which says what the next will cost."""
    with _changing(state) as (images, _):
        last = {made.name: ident for ident, made in images.items()}
        for ident in set(removed) & images.keys() - set(last.values()):
            del images[ident]


@contextmanager
def _changing(state: Path) -> Iterator[tuple[dict[str, Made], set[str]]]:
    """Yield images and steps, and write what becomes of them; no other command changes them meanwhile."""
    state.mkdir(parents=True, exist_ok=True)
    with exclusive(state / "ledger.lock"):
        known = read(state)
        images, steps = dict(known.images), set(known.steps)
        yield images, steps
        if images or steps:  # a clone that was reset stays without the file
            data = to_data(Ledger(images=images, steps=tuple(sorted(steps))))
            write_whole(state / FILE, json.dumps(data, indent=1) + "\n")
