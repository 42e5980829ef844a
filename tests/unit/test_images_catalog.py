"""All images of this project, and what their tags follow."""

from __future__ import annotations

import dataclasses
import re

import pytest

from synos_tasks.errors import ImageBuildFailed, SettingsError
from synos_tasks.images.catalog import BOOKWORM, RECIPES, TRIXIE, Recipe, every, stack_files
from synos_tasks.iso.suites import DEFAULT, SUITES
from synos_tasks.settings import ServicesSettings, Settings
from tests.build_helpers import ROOT
from tests.unit.fake_compose import lay_services

FULL = Recipe("full", "docker/build/Dockerfile", "small", "docker/build/image", TRIXIE, "services")


@pytest.fixture
def with_services(settings: Settings) -> Settings:
    lay_services(settings)
    return settings


BUILDERS = {"builder", *(f"toolchain-{suite}" for suite in SUITES)}
MADE_OF = {
    "Dockerfile": BUILDERS, "image/sudoers": BUILDERS, "image/new": BUILDERS, "boot.Dockerfile": {"boot"},
    "profiles/x.yaml": set(),
}  # fmt: skip


@pytest.mark.parametrize(("edited", "stale"), MADE_OF.items(), ids=MADE_OF)
def test_a_tag_changes_with_what_its_image_is_made_of(
    settings: Settings, edited: str, stale: set[str]
) -> None:
    before = {name: recipe.tag(settings.project) for name, recipe in RECIPES.items()}
    path = settings.project.root / "docker/build" / edited
    if edited.endswith("sudoers"):
        path.chmod(0o755)  # counts like another text
    else:
        path.write_text("edited")
    assert {name for name, tag in before.items() if RECIPES[name].tag(settings.project) != tag} == stale


def test_a_tag_changes_with_the_base(settings: Settings) -> None:
    other = dataclasses.replace(FULL, base=BOOKWORM)
    assert other.tag(settings.project) != FULL.tag(settings.project)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_plain_docker_build_makes_the_same_image(settings: Settings, recipe: Recipe) -> None:
    assert re.fullmatch(f"synos-{recipe.name}:[0-9a-f]{{12}}", recipe.tag(settings.project))
    text = (ROOT / recipe.dockerfile).read_text()
    assert recipe.target in {"", *re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)}
    defaults = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))
    args = recipe.build_args(settings.project)
    if recipe.suite:
        assert (args, defaults["SUITE"]) == ({"SUITE": recipe.suite}, DEFAULT)
    else:
        assert (args, defaults["BASE"]) == ({}, recipe.base)
    assert FULL.build_args(settings.project) == {"BASE": "debian:trixie-slim"}


def names(settings: Settings) -> list[str]:
    return [recipe.name for recipe in every(settings)]


def test_an_image_that_the_settings_name_is_not_built(with_services: Settings) -> None:
    replaced = dataclasses.replace(with_services, services=ServicesSettings(redis_image="redis:8"))
    assert "redis" not in names(replaced)


def test_a_compose_file_with_a_mistake_and_a_missing_dockerfile_are_errors(with_services: Settings) -> None:
    (with_services.project.root / "docker/services/Dockerfile.redis").unlink()
    with pytest.raises(ImageBuildFailed, match="service redis has no Dockerfile"):
        every(with_services)
    stack_files(with_services.project.root)["unified"].write_text("services: [")
    with pytest.raises(SettingsError, match="cannot be read"):
        every(with_services)
