"""How an image of this project is made, and the tag that follows from it. Pure: reads files, asks no docker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.errors import ProjectMissing
from synos_tasks.images.base import BOOKWORM, Base
from synos_tasks.iso.digests import of_folder

if TYPE_CHECKING:
    from synos_tasks.project import Project


@dataclass(frozen=True)
class Recipe:
    """How an image is made. Paths are relative to the project's root, which is also the build's context."""

    name: str
    """Of the image, without the project's name."""
    dockerfile: str
    target: str = ""
    """Stage of the Dockerfile; '' is its last one."""
    copied: str = ""
    """Folder whose files the stage copies; '' is none."""
    base: Base = BOOKWORM
    """What the Dockerfile's ``FROM ${BASE}`` is. A Dockerfile's default must be bookworm."""
    role: str = "build"
    """The image's label ``io.synos.role``."""
    args: tuple[str, ...] = ()
    """Further build arguments, as ``NAME=value``."""

    @property
    def build_args(self) -> tuple[str, ...]:
        """All build arguments; none for the default base, so that a plain `docker build` makes the same image."""
        return self.args if self.base == BOOKWORM else (f"BASE={self.base.tag}", *self.args)


def tag_of(project: Project, recipe: Recipe) -> str:
    """Return the tag of an image: it changes with all that it is made of, so a stale image is never used.

    Raises ProjectMissing where the project lacks the files.
    """
    try:
        found = hashlib.sha256((project.root / recipe.dockerfile).read_bytes())
        if recipe.copied:
            found.update(of_folder(project.root / recipe.copied, ("__pycache__",)).encode())
    except FileNotFoundError as error:
        raise ProjectMissing(
            f"there is nothing to build the image {recipe.name} of",
            where=str(error.filename),
            hint="`inv init` writes docker/ into an empty folder",
        ) from error
    for argument in recipe.build_args:
        found.update(f"\0{argument}".encode())
    return project.image(recipe.name, found.hexdigest()[:12])
