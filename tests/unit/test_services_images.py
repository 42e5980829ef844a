"""Images of a stack: ours by what they are made of, others by their name, and had before they are needed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import EngineTooOld, ImageBuildFailed
from synos_tasks.images import catalog
from synos_tasks.images.base import TRIXIE
from synos_tasks.images.recipe import tag_of
from synos_tasks.services import images
from synos_tasks.settings import ServicesSettings, Settings
from tests.unit.fake_compose import lay_services
from tests.unit.fakes import GOOD, FakeEngine

if TYPE_CHECKING:
    from pathlib import Path

THEIRS = "docker.io/library/redis:7"


class Registry(FakeEngine):
    """Gives some images."""

    gives: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    def pull(self, tag: str, *, timeout: float) -> bool:
        assert timeout == images.PULL_TIMEOUT
        self.asked = (*self.asked, tag)
        if tag in self.gives:
            self.images[tag] = "sha256:pulled"
        return tag in self.gives


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(root=tmp_path, project_id="synos-test")
    lay_services(made)
    return made


@pytest.fixture
def replaced(settings: Settings) -> Settings:
    return dataclasses.replace(settings, services=ServicesSettings(redis_image=THEIRS))


@pytest.fixture
def engine() -> Registry:
    return Registry(images={TRIXIE.tag: "sha256:base"})


def test_what_has_a_dockerfile_is_ours_on_trixie(settings: Settings) -> None:
    made = images.recipes(settings, "unified")
    assert list(made) == ["nats", "postgres", "redis", "nats-box"]
    redis = made["redis"]
    assert (redis.name, redis.dockerfile) == ("redis", "docker/services/Dockerfile.redis")
    assert (redis.base, redis.role, redis.copied) == (TRIXIE, "services", "")


def test_a_folder_that_is_copied_belongs_to_the_tag(settings: Settings) -> None:
    folder = settings.root / "docker/services"
    before = images.tags(settings, "unified")["redis"]
    (folder / "redis/start").write_text("anything else\n")
    assert images.tags(settings, "unified")["redis"] == before  # mounted, not copied
    (folder / "Dockerfile.redis").write_text("FROM base\nCOPY docker/services/redis /src\n")
    assert images.recipes(settings, "unified")["redis"].copied == "docker/services/redis"
    copied = images.tags(settings, "unified")["redis"]
    (folder / "redis/start").write_text("exec redis\n")
    assert len({before, copied, images.tags(settings, "unified")["redis"]}) == 3


def test_an_image_of_the_settings_takes_the_place_of_ours(replaced: Settings) -> None:
    assert "redis" not in images.recipes(replaced, "unified")
    tags = images.tags(replaced, "unified")
    assert tags["redis"] == THEIRS
    assert tags["nats"] == tag_of(replaced.root, images.recipes(replaced, "unified")["nats"])
    assert catalog.replacement(replaced, "nats-box") == ""


@pytest.mark.parametrize("told", ["{image: web}", "{build: .}", "{build: {context: .}}", "{build: null}"])
def test_what_has_no_dockerfile_of_its_own_is_not_ours(settings: Settings, told: str) -> None:
    path = settings.root / "docker/services/docker-compose.web.yml"
    path.write_text(f"name: x\nservices:\n  web: {told}\n")
    assert images.recipes(settings, "web") == {}
    assert images.tags(settings, "web") == {}
    images.ensure(settings, FakeEngine(known=None), "web", ["web"], print)


def test_a_dockerfile_that_is_not_there_is_told(settings: Settings) -> None:
    path = settings.root / "docker/services/Dockerfile.redis"
    path.unlink()
    with pytest.raises(ImageBuildFailed, match="service redis has no Dockerfile") as caught:
        images.recipes(settings, "unified")
    assert caught.value.where == str(path)


def test_images_that_are_missing_are_built_once(settings: Settings, engine: Registry) -> None:
    said: list[str] = []
    images.ensure(settings, engine, "unified", ["redis", "nats"], said.append)
    tags = images.tags(settings, "unified")
    assert set(engine.images) == {TRIXIE.tag, tags["redis"], tags["nats"]}
    assert any(f"--build-arg=BASE={TRIXIE.tag}" in words for words in engine.built)
    assert all("--label=io.synos.role=services" in words for words in engine.built)
    engine.built.clear()
    images.ensure(settings, engine, "unified", ["redis", "nats"], said.append)
    assert engine.built == []


def test_an_image_of_the_settings_is_pulled_once(replaced: Settings, engine: Registry) -> None:
    engine.gives = (THEIRS,)
    said: list[str] = []
    for _ in range(2):
        images.ensure(replaced, engine, "unified", ["redis"], said.append)
    assert engine.asked == (THEIRS,)
    assert (engine.built, said) == ([], [f"pulling {THEIRS}"])


def test_one_that_no_registry_gives_is_told_with_what_to_do(replaced: Settings, engine: Registry) -> None:
    with pytest.raises(ImageBuildFailed) as caught:
        images.ensure(replaced, engine, "unified", ["redis"], print)
    assert caught.value.where == THEIRS
    assert "docker load" in caught.value.hint
    assert "synos.services.redis_image" in caught.value.hint


def test_an_engine_that_is_too_old_builds_nothing(settings: Settings, engine: Registry) -> None:
    engine.known = dataclasses.replace(GOOD, buildx="0.9")
    with pytest.raises(EngineTooOld):
        images.ensure(settings, engine, "unified", ["redis"], print)
    assert engine.built == []
