"""The images of docker/build: what they are made of, and what their tags follow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.build.image import build_images, ensure_image, tag_of
from synos_tasks.images.base import BOOKWORM
from synos_tasks.images.catalog import RECIPES
from tests.unit.fakes import FakeEngine
from tests.unit.projects import project

if TYPE_CHECKING:
    from synos_tasks.images.recipe import Recipe
    from synos_tasks.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return project(tmp_path)


@pytest.mark.parametrize(
    ("edited", "stale"),
    [
        ("docker/build/Dockerfile", {"builder", "toolchain"}),
        ("docker/build/image/sudoers", {"builder", "toolchain"}),
        ("docker/build/image/new", {"builder", "toolchain"}),
        ("docker/build/boot.Dockerfile", {"boot"}),
        ("docker/build/profiles/x.yaml", set()),
    ],
)
def test_a_tag_changes_with_what_its_image_is_made_of(
    settings: Settings, edited: str, stale: set[str]
) -> None:
    before = {name: tag_of(settings, name) for name in RECIPES}
    with (settings.root / edited).open("a") as stream:
        stream.write("edited")
    assert {name for name in RECIPES if tag_of(settings, name) != before[name]} == stale


def test_a_file_that_is_made_executable_makes_another_tag(settings: Settings) -> None:
    before = tag_of(settings, "builder")
    (settings.root / "docker/build/image/sudoers").chmod(0o755)
    assert tag_of(settings, "builder") != before


def test_tags_are_of_a_digest_and_never_latest(settings: Settings) -> None:
    for name in RECIPES:
        assert re.fullmatch(f"synos-{name}:[0-9a-f]{{12}}", tag_of(settings, name))


@pytest.mark.parametrize("name", RECIPES)
def test_an_image_that_is_not_there_is_built_on_bookworm(settings: Settings, name: str) -> None:
    engine = FakeEngine(images={BOOKWORM.tag: "sha256:base"})
    tag = ensure_image(settings, engine, name, print)
    assert tag == tag_of(settings, name)
    [words] = engine.built
    recipe = RECIPES[name]
    assert words[-1] == str(settings.root)
    assert f"--file={settings.root / recipe.dockerfile}" in words
    assert [word for word in words if word.startswith("--tag")] == [f"--tag={tag}"]
    assert [word for word in words if word.startswith("--target")] == (
        [f"--target={recipe.target}"] if recipe.target else []
    )
    assert "--label=io.synos.project=synos-test" in words
    assert "--label=io.synos.role=build" in words
    assert "--no-cache" not in words
    # as in a plain `docker build`: what the Dockerfile has as its default
    assert not any(word.startswith("--build-arg") for word in words)


def test_what_is_built_are_stages_of_the_dockerfile() -> None:
    assert {RECIPES[name].target for name in ("builder", "toolchain")} == {"runtime", "toolchain"}
    text = (ROOT / RECIPES["builder"].dockerfile).read_text()
    stages = re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)
    assert {recipe.target for recipe in RECIPES.values() if recipe.target} <= set(stages)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_their_dockerfiles_are_on_their_base_by_default(recipe: Recipe) -> None:
    text = (ROOT / recipe.dockerfile).read_text()
    assert re.findall(r"^ARG BASE=(.*)$", text, re.MULTILINE) == [recipe.base.tag]


@pytest.mark.parametrize("cached", [True, False])
def test_the_toolchain_and_the_builder_are_built_by_default(settings: Settings, cached: bool) -> None:
    engine = FakeEngine(images={BOOKWORM.tag: "sha256:base"})
    made = build_images(settings, engine, print, cached=cached)
    assert [one.name for one in made] == ["toolchain", "builder"]
    assert [one.tag for one in made] == [tag_of(settings, name) for name in ("toolchain", "builder")]
    assert [("--no-cache" in words) for words in engine.built] == [not cached] * 2
