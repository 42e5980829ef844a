"""All images of this project: those of docker/build, and those of the services, which compose files name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from synos_tasks.errors import ImageBuildFailed, SettingsError
from synos_tasks.images.base import TRIXIE
from synos_tasks.images.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.settings import Settings

DOCKERFILE = "docker/build/Dockerfile"
BUILDER = Recipe("builder", DOCKERFILE, "runtime", "docker/build/image")
"""Makes ISOs."""
TOOLCHAIN = Recipe("toolchain", DOCKERFILE, "toolchain", "docker/build/image")
"""Compiles components."""
BOOT = Recipe("boot", "docker/build/boot.Dockerfile")
"""Boots ISOs in QEMU."""
RECIPES = {recipe.name: recipe for recipe in (BUILDER, TOOLCHAIN, BOOT)}
"""The images of docker/build, all on bookworm."""
SERVICES = "docker/services"
PREFIX, SUFFIX = "docker-compose.", ".yml"


def every(settings: Settings) -> list[Recipe]:
    """Give how each image of ours is made: docker/build's, then those of all stacks, each once.

    Raises SettingsError where a compose file has a mistake, ImageBuildFailed where it names no Dockerfile there is.
    """
    stacks = (service_recipes(settings, raw_services(path)) for path in stack_files(settings.root).values())
    services = (recipe for stack in stacks for recipe in stack.values())
    return list(dict.fromkeys([*RECIPES.values(), *services]))


def stack_files(root: Path) -> dict[str, Path]:
    """Give the compose file of each stack of services, by the stack's name."""
    paths = sorted(path for path in (root / SERVICES).glob(f"{PREFIX}*{SUFFIX}") if path.is_file())
    return {path.name[len(PREFIX) : -len(SUFFIX)]: path for path in paths}


def raw_services(path: Path) -> dict[str, Any]:
    """Return the services of a compose file, unresolved; raises SettingsError with the place of a mistake."""
    try:
        read = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(
            "a stack's compose file cannot be read", where=str(path), why=str(error)
        ) from error
    services = read.get("services") if isinstance(read, dict) else None
    if not isinstance(services, dict) or not services:
        raise SettingsError("a stack's compose file has no services", where=str(path))
    for name, told in services.items():
        if not isinstance(name, str) or not isinstance(told, dict):
            raise SettingsError(f"service {name} says nothing of itself", where=str(path))
    return services


def service_recipes(settings: Settings, services: Mapping[str, Any]) -> dict[str, Recipe]:
    """Give how each image of a stack that is ours is made, by service; ``services`` as its compose file has them.

    Raises ImageBuildFailed where a Dockerfile is not there.
    """
    found = {}
    for name, told in services.items():
        build = told.get("build")
        if isinstance(build, dict) and build.get("dockerfile") and not replacement(settings, name):
            copied = f"{SERVICES}/{name}" if _copies(settings, build["dockerfile"], name) else ""
            found[name] = Recipe(
                name=name, dockerfile=build["dockerfile"], copied=copied, base=TRIXIE, role="services"
            )
    return found


def replacement(settings: Settings, service: str) -> str:
    """Give the image that the settings put in the place of ours; '' for none."""
    return str(getattr(settings.services, f"{service.replace('-', '_')}_image", ""))


def _copies(settings: Settings, dockerfile: str, service: str) -> bool:
    """Tell whether a Dockerfile copies the folder of its service, which then belongs to its tag."""
    try:
        text = (settings.root / dockerfile).read_text()
    except OSError as error:
        raise ImageBuildFailed(
            f"service {service} has no Dockerfile", where=str(settings.root / dockerfile), why=str(error)
        ) from error
    return f"COPY {SERVICES}/{service}" in text
