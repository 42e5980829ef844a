"""How an image of ours is made, and the tag that follows from it. Pure: reads files, asks no engine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.images.base import BOOKWORM, Base
from synos_tasks.iso.digests import of_tree

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Recipe:
    """How an image is made. Paths are relative to the project's root, which is also the context of the build."""

    name: str
    """Of the image, without ``synos-``."""
    dockerfile: str
    target: str = ""
    """Stage of the Dockerfile; its last one where this is empty."""
    copied: str = ""
    """Folder whose files the stage copies; none where this is empty."""
    base: Base = BOOKWORM
    """What the Dockerfile's ``FROM ${BASE}`` is."""
    role: str = "build"
    """The image's label ``io.synos.role``."""
    args: tuple[str, ...] = ()
    """Further arguments of the build, as ``NAME=value``."""

    @property
    def build_args(self) -> tuple[str, ...]:
        """All arguments of the build. Without bookworm, which a Dockerfile must have as its default of ``BASE``.

        So an image on bookworm is the one that a plain `docker build` makes, step for step.
        """
        base = () if self.base == BOOKWORM else (f"BASE={self.base.tag}",)
        return (*base, *self.args)


def tag_of(root: Path, recipe: Recipe) -> str:
    """Give the tag of an image of ours: it changes with all that it is made of, so a stale image is never used."""
    found = hashlib.sha256((root / recipe.dockerfile).read_bytes())
    if recipe.copied:
        found.update(of_tree(root / recipe.copied, ("__pycache__",)).encode())
    for argument in recipe.build_args:
        found.update(f"\0{argument}".encode())
    return f"synos-{recipe.name}:{found.hexdigest()[:12]}"
