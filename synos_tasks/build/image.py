"""The images of docker/build by their names in images/catalog.py, for the settings of this clone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.images import building
from synos_tasks.images import recipe as recipes
from synos_tasks.images.catalog import RECIPES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.images.building import Built
    from synos_tasks.settings import Settings


def tag_of(settings: Settings, name: str) -> str:
    """Give the tag of an image of RECIPES; see images/recipe.py."""
    return recipes.tag_of(settings.root, RECIPES[name])


def ensure_image(settings: Settings, engine: Engine, name: str, say: Callable[[str], None]) -> str:
    """Build an image of RECIPES unless it is there; returns its tag, and raises as images/building.py does."""
    return building.ensure_image(settings, engine, RECIPES[name], say)


def build_images(
    settings: Settings,
    engine: Engine,
    say: Callable[[str], None],
    *,
    names: Sequence[str] = ("toolchain", "builder"),
    cached: bool = True,
) -> list[Built]:
    """Build images of RECIPES, whether they are there or not. Raises as ensure_image() does."""
    return building.build_images(settings, engine, say, [RECIPES[name] for name in names], cached=cached)
