"""All images of this project: those of docker/build, and those of the services, which compose files name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from synos_tasks.errors import ImageBuildFailed, ProjectMissing, SettingsError
from synos_tasks.iso.digests import of_folder
from synos_tasks.iso.scratch import entries
from synos_tasks.iso.suites import DEFAULT, SUITES, base_image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.project import Project
    from synos_tasks.settings import Settings


BOOKWORM, TRIXIE = base_image("bookworm"), base_image("trixie")
"""What other images are built on: minimal roots of Debian's suites. A bootstrapped one gets Debian's own name too."""


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
    base: str = BOOKWORM
    """What the Dockerfile's ``FROM ${BASE}`` is. A Dockerfile's default must be bookworm."""
    role: str = "build"
    """The image's label ``io.synos.role``."""
    suite: str = ""
    """What the Dockerfile's ``ARG SUITE`` is, where it has one; the base is then of that suite."""
    parent: Recipe | None = None
    """Another image of this project, which is what the Dockerfile's ``FROM ${BUILDER}`` is; the base is then the parent's."""

    def build_args(self, project: Project) -> dict[str, str]:
        """Return none for the default base, so that a plain `docker build` makes the same image."""
        if self.parent:
            return {"BUILDER": self.parent.tag(project)}
        if self.suite:
            return {"SUITE": self.suite}
        return {} if self.base == BOOKWORM else {"BASE": self.base}

    def tag(self, project: Project) -> str:
        """Return the image's tag: it changes with all that it is made of, so a stale image is never used.

        Raises ProjectMissing where the project lacks the files.
        """
        try:
            found = hashlib.sha256((project.root / self.dockerfile).read_bytes())
            if self.copied:
                found.update(of_folder(project.root / self.copied, ("__pycache__",)).encode())
        except FileNotFoundError as error:
            raise ProjectMissing(
                f"the files of image {self.name} are missing",
                where=str(error.filename),
                hint="`inv init` writes docker/ into an empty folder",
            ) from error
        for key, value in self.build_args(project).items():
            found.update(f"\0{key}={value}".encode())
        return project.image(self.name, found.hexdigest()[:12])


DOCKERFILE = "docker/build/Dockerfile"
BUILDER = Recipe("builder", DOCKERFILE, "runtime", "docker/build/image")
TOOLCHAINS = {
    suite: Recipe(
        f"toolchain-{suite}", DOCKERFILE, "toolchain", "docker/build/image", base_image(suite), suite=suite
    )
    for suite in SUITES
}
"""By the suite that they compile for: what is compiled needs the libraries of that suite, or newer ones."""
TOOLCHAIN = TOOLCHAINS[DEFAULT]
BOOT = Recipe("boot", "docker/build/boot.Dockerfile")
RESTIC = Recipe("restic", "docker/services/Dockerfile.restic", base=TRIXIE, role="services")
"""What copies backups off-site; made at its first use."""
RECIPES = {recipe.name: recipe for recipe in (BUILDER, *TOOLCHAINS.values(), BOOT)}
"""What makes ISOs, what compiles components, what boots ISOs in QEMU."""
SERVICES = "docker/services"
PREFIX, SUFFIX = "docker-compose.", ".yml"


def every(settings: Settings) -> list[Recipe]:
    """Return the recipes of docker/build and of all stacks, each once.

    Raises SettingsError where a compose file has a mistake, ImageBuildFailed where it names a missing Dockerfile.
    """
    restic = [RESTIC] * (settings.project.root / RESTIC.dockerfile).is_file()  # older projects lack it
    found = dict.fromkeys([*RECIPES.values(), *restic])
    for path in stack_files(settings.project.root).values():
        found |= dict.fromkeys(service_recipes(settings, raw_services(path)).values())
    return list(found)


def stack_files(root: Path) -> dict[str, Path]:
    """Return the compose file of each stack of services, by the stack's name."""
    paths = [path for path in entries(root / SERVICES, f"{PREFIX}*{SUFFIX}") if path.is_file()]
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
    for name, service in services.items():
        if not isinstance(name, str) or not isinstance(service, dict):
            raise SettingsError(f"service {name} is not a mapping", where=str(path))
    return services


def service_recipes(settings: Settings, services: Mapping[str, Any]) -> dict[str, Recipe]:
    """Return the recipes of a stack's images that are built here, by service; ``services`` is that part of its compose file.

    Raises ImageBuildFailed where a Dockerfile is missing.
    """
    found = {}
    for name, service in services.items():
        build = service.get("build")
        if not isinstance(build, dict) or not build.get("dockerfile") or replacement(settings, name):
            continue
        path = settings.project.root / build["dockerfile"]
        try:
            text = path.read_text()
        except OSError as error:
            raise ImageBuildFailed(
                f"service {name} has no Dockerfile", where=str(path), why=str(error)
            ) from error
        # services with one Dockerfile share its image
        image = path.name.removeprefix("Dockerfile.")
        copied = f"{SERVICES}/{image}" if f"COPY {SERVICES}/{image}" in text else ""
        parent = BUILDER if "FROM ${BUILDER}" in text else None
        base = parent.base if parent else TRIXIE
        found[name] = Recipe(
            image, build["dockerfile"], copied=copied, base=base, role="services", parent=parent
        )
    return found


def replacement(settings: Settings, service: str) -> str:
    """Return the image that the settings name instead of the built one; '' for none."""
    return str(getattr(settings.services, f"{service.replace('-', '_')}_image", ""))
