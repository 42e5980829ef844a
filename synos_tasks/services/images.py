"""The images of a stack: ours, named by what they are made of, or those that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ImageBuildFailed
from synos_tasks.images.base import TRIXIE
from synos_tasks.images.building import ensure_image
from synos_tasks.images.recipe import Recipe, tag_of
from synos_tasks.services.stack import FOLDER, file_of, raw_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.settings import Settings

PULL_TIMEOUT = 30.0
"""Seconds a registry has to answer for an image that somebody asked for."""


def recipes(settings: Settings, stack: str) -> dict[str, Recipe]:
    """Give how each image of a stack that is ours is made, by service. Raises SettingsError."""
    return _recipes(settings, raw_services(file_of(settings, stack)))


def _recipes(settings: Settings, services: Mapping[str, Any]) -> dict[str, Recipe]:
    found = {}
    for name, told in services.items():
        build = told.get("build")
        if isinstance(build, dict) and build.get("dockerfile") and not replacement(settings, name):
            copied = f"{FOLDER}/{name}" if copies(settings, build["dockerfile"], name) else ""
            found[name] = Recipe(
                name=name, dockerfile=build["dockerfile"], copied=copied, base=TRIXIE, role="services"
            )
    return found


def copies(settings: Settings, dockerfile: str, service: str) -> bool:
    """Tell whether a Dockerfile copies the folder of its service, which then belongs to its tag."""
    try:
        text = (settings.root / dockerfile).read_text()
    except OSError as error:
        raise ImageBuildFailed(
            f"service {service} has no Dockerfile", where=str(settings.root / dockerfile), why=str(error)
        ) from error
    return f"COPY {FOLDER}/{service}" in text


def replacement(settings: Settings, service: str) -> str:
    """Give the image that the settings put in the place of ours; '' for none."""
    return str(getattr(settings.services, f"{service.replace('-', '_')}_image", ""))


def tags(settings: Settings, stack: str) -> dict[str, str]:
    """Give the image of each service, by its name; asks no engine."""
    services = raw_services(file_of(settings, stack))
    ours = {name: tag_of(settings.root, recipe) for name, recipe in _recipes(settings, services).items()}
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
