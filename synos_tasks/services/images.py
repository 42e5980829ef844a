"""The images of a stack: ours, named by what they are made of, or those that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.engine.old_compose import raw_services
from synos_tasks.errors import ImageBuildFailed
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import replacement, service_recipes
from synos_tasks.images.recipe import tag_of
from synos_tasks.services.stack import file_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.images.recipe import Recipe
    from synos_tasks.settings import Settings

PULL_TIMEOUT = 30.0
"""Seconds a registry has to answer for an image that somebody asked for."""


def recipes(settings: Settings, stack: str) -> dict[str, Recipe]:
    """Give how each image of a stack that is ours is made, by service. Raises SettingsError."""
    return service_recipes(settings, raw_services(file_of(settings, stack)))


def tags(settings: Settings, stack: str) -> dict[str, str]:
    """Give the image of each service, by its name; asks no engine."""
    services = raw_services(file_of(settings, stack))
    ours = {
        name: tag_of(settings.root, recipe) for name, recipe in service_recipes(settings, services).items()
    }
    theirs = {name: image for name in services if (image := replacement(settings, name))}
    return {**ours, **theirs}


def ensure(
    settings: Settings, engine: Engine, stack: str, services: Iterable[str], say: Callable[[str], None]
) -> None:
    """Build or pull the images of services that are not there.

    Raises ImageBuildFailed, MirrorUnreachable, HostUnfit, EngineUnavailable or EngineTooOld.
    """
    made = recipes(settings, stack)
    for name in services:
        if name in made:
            ensure_image(settings, engine, made[name], say)
        elif image := replacement(settings, name):
            _have(engine, name, image, say)


def _have(engine: Engine, service: str, image: str, say: Callable[[str], None]) -> None:
    if engine.image_id(image):
        return
    say(f"pulling {image}")
    if not engine.pull(image, timeout=PULL_TIMEOUT):
        raise ImageBuildFailed(
            f"the image of service {service} is not there, and no registry gives it",
            where=image,
            hint=f"load it with `docker load`, or take synos.services.{service}_image out of invoke.yaml",
        )
