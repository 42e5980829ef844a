"""A newer base: from a registry or from the mirror, all images built on it anew, and what that changed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from synos_tasks.errors import EngineTooOld, ImageBuildFailed, MirrorUnreachable
from synos_tasks.images import base as bases
from synos_tasks.images.base import BOOKWORM, TRIXIE, Base
from synos_tasks.images.catalog import BOOT, BUILDER, RECIPES
from synos_tasks.images.recipe import Recipe, tag_of
from synos_tasks.images.update_base import Updated, split
from synos_tasks.images.update_base import update as update_all
from synos_tasks.iso.lock import Change
from tests.unit.fakes import GOOD, FakeEngine
from tests.unit.projects import project

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from synos_tasks.settings import Settings

BASE = BOOKWORM.tag
OLD = "bash\t5.2\nlibc6:amd64\t2.36-9\ntzdata\t2024a\n"
NEW = "bash\t5.2\nlibc6:amd64\t2.36-10\nzlib1g\t1.2\n"
CHANGES = [
    Change(name="libc6:amd64", old="2.36-9", new="2.36-10", security=False),
    Change(name="tzdata", old="2024a", new="", security=False),
    Change(name="zlib1g", old="", new="1.2", security=False),
]


REDIS = Recipe("redis", "Dockerfile.redis", base=TRIXIE, role="services")


def update(settings: Settings, engine: Engine, *more: Recipe) -> list[Updated]:
    return update_all(settings, engine, [*RECIPES.values(), *more], print)


class Engine(FakeEngine):
    """Has images, and a registry that may have a newer base. What is in an image goes by its id."""

    registry: str | None = "sha256:new-base"
    held: dict[str, str]

    def pull(self, tag: str, *, timeout: float) -> bool:
        if self.registry is None:
            return False
        self.images[tag] = self.registry
        return True

    def output_of(self, image: str, command: Sequence[str]) -> str:
        assert command == ("dpkg-query", "--show")
        return self.held.get(self.images[image], NEW)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / REDIS.dockerfile).write_text("FROM base\n")
    return project(tmp_path)


@pytest.fixture
def engine(settings: Settings) -> Engine:
    made = Engine(images={BASE: "sha256:old-base"})
    made.images |= {tag_of(settings.root, recipe): f"sha256:old-{name}" for name, recipe in RECIPES.items()}
    made.held = dict.fromkeys(made.images.values(), OLD)
    return made


@pytest.fixture
def bootstrapped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []

    def bootstrap(_settings: Settings, engine: Engine, base: Base) -> None:
        made.append(base.tag)
        engine.images[base.tag] = "sha256:bootstrapped"

    monkeypatch.setattr(bases, "bootstrap", bootstrap)
    return made


def test_a_registry_that_answers_is_enough(
    settings: Settings, engine: Engine, bootstrapped: list[str]
) -> None:
    update(settings, engine)
    assert bootstrapped == []
    assert engine.images[BASE] == "sha256:new-base"


def test_without_a_registry_the_base_is_bootstrapped_though_there_is_one(
    settings: Settings, engine: Engine, bootstrapped: list[str]
) -> None:
    engine.registry = None
    update(settings, engine)
    assert bootstrapped == [BASE]
    assert engine.images[BASE] == "sha256:bootstrapped"


def test_every_image_is_built_on_it_without_cache(settings: Settings, engine: Engine) -> None:
    update(settings, engine)
    tags = [f"--tag={tag_of(settings.root, recipe)}" for recipe in RECIPES.values()]
    assert [word for words in engine.built for word in words if word.startswith("--tag=")] == tags
    assert all("--no-cache" in words for words in engine.built)


def test_what_changed_is_told_for_each_image(settings: Settings, engine: Engine) -> None:
    found = update(settings, engine)
    assert [one.image for one in found] == [
        BASE,
        *(tag_of(settings.root, recipe) for recipe in RECIPES.values()),
    ]
    assert all(one.changes == CHANGES for one in found)
    assert {one.packages for one in found} == {3}


def test_nothing_changed_is_no_change(settings: Settings, engine: Engine) -> None:
    engine.held = dict.fromkeys(engine.held, NEW)
    assert [one.changes for one in update(settings, engine)] == [[]] * 4


def test_an_image_that_was_not_there_has_no_changes(settings: Settings, engine: Engine) -> None:
    del engine.images[tag_of(settings.root, BOOT)]
    changes = {one.image: one.changes for one in update(settings, engine)}
    assert changes[tag_of(settings.root, BOOT)] == []
    assert changes[tag_of(settings.root, BUILDER)] == CHANGES


def test_what_the_new_images_took_the_names_of_goes_and_nothing_else(
    settings: Settings, engine: Engine
) -> None:
    update(settings, engine)
    assert sorted(engine.removed) == sorted(engine.held)
    assert not set(engine.removed) & set(engine.images.values())


def test_an_image_that_is_the_same_as_before_stays(settings: Settings, engine: Engine) -> None:
    engine.registry = "sha256:old-base"
    update(settings, engine)
    assert "sha256:old-base" not in engine.removed


def test_a_mirror_that_fails_leaves_all_images_as_they_were(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.registry, before = None, dict(engine.images)

    def fails(*_: object) -> NoReturn:
        raise MirrorUnreachable("the base image could not be bootstrapped")

    monkeypatch.setattr(bases, "bootstrap", fails)
    with pytest.raises(MirrorUnreachable):
        update(settings, engine)
    assert (engine.images, engine.built, engine.removed) == (before, [], [])


def test_a_build_that_fails_leaves_the_images_that_were_there(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(engine.images)

    def fails(_arguments: Sequence[str], _on_event: Callable[[dict[str, Any]], None]) -> NoReturn:
        raise ImageBuildFailed("a step of an image's build failed")

    monkeypatch.setattr(engine, "build", fails)
    with pytest.raises(ImageBuildFailed):
        update(settings, engine)
    assert {**engine.images, BASE: ""} == {**before, BASE: ""}
    assert engine.removed == []


def test_an_engine_that_is_too_old_is_asked_for_nothing(settings: Settings, engine: Engine) -> None:
    engine.known = dataclasses.replace(GOOD, version="20.10")
    with pytest.raises(EngineTooOld):
        update(settings, engine)
    assert engine.images[BASE] == "sha256:old-base"


def test_each_base_is_renewed_once_and_each_image_goes_on_its_own(
    settings: Settings, engine: Engine, bootstrapped: list[str]
) -> None:
    engine.registry = None
    found = update(settings, engine, REDIS)
    assert bootstrapped == [BASE, TRIXIE.tag]
    redis = tag_of(settings.root, REDIS)
    assert [one.image for one in found[:2]] == [BASE, TRIXIE.tag]
    assert found[-1].image == redis
    on = {words[0]: [word for word in words if word.startswith("--build-arg")] for words in engine.built}
    assert on[f"--tag={redis}"] == [f"--build-arg=BASE={TRIXIE.tag}"]
    assert on[f"--tag={tag_of(settings.root, BOOT)}"] == []


def test_a_base_that_no_image_is_on_is_left_alone(settings: Settings, engine: Engine) -> None:
    before = engine.images[BASE]
    found = update_all(settings, engine, [REDIS], print)
    assert [one.image for one in found] == [TRIXIE.tag, tag_of(settings.root, REDIS)]
    assert engine.images[BASE] == before


def test_what_is_there_is_told_from_what_is_not_built(settings: Settings, engine: Engine) -> None:
    del engine.images[tag_of(settings.root, BOOT)]
    there, missing = split(settings, engine, [*RECIPES.values(), REDIS])
    assert [one.name for one in there] == ["builder", "toolchain"]
    assert [one.name for one in missing] == ["boot", "redis"]


def test_people_are_told_no_more_than_they_asked_for() -> None:
    one = Updated(image="a:1", there=True, packages=9, changes=CHANGES)
    lines = ["a:1: 9 packages, 3 changed", "  libc6:amd64  2.36-9 -> 2.36-10", "  - tzdata  2024a"]
    assert one.lines(3) == [*lines, "  + zlib1g  1.2"]
    assert one.lines(2) == [*lines, "  …"]
    assert dataclasses.replace(one, there=False, changes=[]).lines(2) == [
        "a:1: 9 packages, was not there before"
    ]


def test_json_has_all() -> None:
    told = Updated(image="a:1", there=True, packages=9, changes=CHANGES[:1]).to_json()
    change = {"name": "libc6:amd64", "old": "2.36-9", "new": "2.36-10", "security": False}
    assert told == {"image": "a:1", "there": True, "packages": 9, "changes": [change]}
