"""All images of ours: docker/build's, and those that the compose files of the stacks name."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import ImageBuildFailed, SettingsError
from synos_tasks.images.catalog import RECIPES, every, stack_files
from synos_tasks.settings import ServicesSettings, Settings
from tests.build_helpers import ROOT
from tests.unit.fake_compose import lay_services

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(root=tmp_path, project_id="synos-test")
    lay_services(made)
    return made


def names(settings: Settings) -> list[str]:
    return [recipe.name for recipe in every(settings)]


def test_builds_images_come_first_and_then_the_services(settings: Settings) -> None:
    assert names(settings) == [*RECIPES, "nats", "postgres", "redis", "nats-box"]


def test_what_two_stacks_have_in_common_is_one_image(settings: Settings) -> None:
    path = stack_files(settings.root)["unified"]
    path.with_name("docker-compose.small.yml").write_text(
        "services:\n  redis: {build: {dockerfile: docker/services/Dockerfile.redis}}\n"
    )
    assert sorted(names(settings)) == sorted([*RECIPES, "nats", "postgres", "redis", "nats-box"])


def test_an_image_of_the_settings_is_not_ours(settings: Settings) -> None:
    replaced = dataclasses.replace(settings, services=ServicesSettings(redis_image="redis:8"))
    assert "redis" not in names(replaced)


def test_without_stacks_there_are_those_of_build(tmp_path: Path) -> None:
    assert names(Settings(root=tmp_path, project_id="x")) == list(RECIPES)


def test_a_compose_file_with_a_mistake_and_a_missing_dockerfile_are_told(settings: Settings) -> None:
    (settings.root / "docker/services/Dockerfile.redis").unlink()
    with pytest.raises(ImageBuildFailed, match="service redis has no Dockerfile"):
        every(settings)
    stack_files(settings.root)["unified"].write_text("services: [")
    with pytest.raises(SettingsError, match="cannot be read"):
        every(settings)


def test_each_of_this_project_has_its_dockerfile() -> None:
    assert all((ROOT / recipe.dockerfile).is_file() for recipe in every(Settings(root=ROOT, project_id="x")))
