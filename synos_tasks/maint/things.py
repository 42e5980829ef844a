"""What cleaning up decides about: things of this clone, each with what speaks against its going."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "container",
    "build container",
    "dev container",
    "network",
    "image",
    "base image",
    "scratch volume",
    "cache volume",
    "data volume",
    "cache",
    "store",
]
"""A build container ends with its command, and a scratch volume too: one that is there was left by a kill."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One thing. Sizes in bytes, times in seconds since 1970."""

    kind: Kind
    id: str
    """What the engine, or the store, is asked for to remove it."""
    name: str
    """As a person knows it."""
    bytes: int
    """What its going frees, at most: a layer of an image may be shared with the cache."""
    used: float
    """When it was last used, as far as is known, else made."""
    held: str = ""
    """Why it cannot go at all."""
    group: str = ""
    """Of which the newest are kept; '' for none."""
    seconds: float | None = None
    """What it took to make, from history; None where that is not known."""
    above: tuple[str, ...] = ()
    """Ids of what needs it: it cannot go while one of them stays."""
    backup: str = ""
    """A fresh backup of what it holds, with its age."""
    names: tuple[str, ...] = ()
    """Of an image: those that are ours to take."""
