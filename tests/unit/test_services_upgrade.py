"""Newer images, one service at a time, and the way back from one that does not get healthy."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.engine.labels import LABEL_PROJECT
from synos_tasks.errors import (
    ContainerLost,
    EngineUnavailable,
    ImageBuildFailed,
    ServiceUnhealthy,
)
from synos_tasks.images import building
from synos_tasks.images.catalog import TRIXIE
from synos_tasks.services import upgrade
from tests.unit.fake_compose import FREE, NAMES, UP, Scene, scene
from tests.unit.fake_docker import FakeDocker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.services.upgrade import Upgraded
    from synos_tasks.settings import ServicesSettings

OLD = "libc6:amd64\t2.41-1\nredis-server\t5:8.0-1\ntzdata\t2024a\n"
NEW = "libc6:amd64\t2.41-2\nredis-server\t5:8.0-1\nzlib1g\t1.3\n"
CHANGES = ["libc6:amd64 2.41-1 -> 2.41-2", "tzdata 2024a -> none", "zlib1g none -> 1.3"]
OURS = {LABEL_PROJECT: "synos-test"}


class Newer(FakeDocker):
    """Builds images that are newer; what is in one goes by its id."""

    held: Mapping[str, str]
    registry: Mapping[str, str]

    def build_image(self, folder: Path, say: Callable[[str], None], **options: Any) -> None:  # noqa: ANN401
        super().build_image(folder, say, **options)
        [tag] = options["tags"]
        new = f"sha256:new-{tag.partition(':')[0].removeprefix('synos-')}"
        self.add_image(tag, ident=new, labels=OURS)

    def pull(self, ref: str, *, timeout: float) -> bool:
        if ref in self.registry:
            self.add_image(ref, ident=self.registry[ref])
        return ref in self.registry

    def output_of(self, image: str, command: Sequence[str]) -> str:
        assert command == building.LIST_PACKAGES
        if not self.held.get(image):
            raise EngineUnavailable("a container could not be run", why="no dpkg-query")
        return self.held[image]


@dataclasses.dataclass
class Stage:
    """All services run with their images, and there are newer ones."""

    here: Scene
    engine: Newer
    tags: dict[str, str]

    def upgrade(self, only: str = "") -> list[Upgraded]:
        context = self.here.context
        return upgrade.upgrade(context, context.stack.chosen(only))

    def image(self, service: str) -> str | None:
        """Return the image that a service's tag is on."""
        return self.engine.image_id(self.tags[service])

    def runs(self) -> str:
        """Return the image that redis runs."""
        return self.here.containers()["redis"].image

    def fails_with(self, *images: str) -> None:
        """Let redis be ill with these images, and healthy with others, as its tag or a variable has it."""

        def starts(words: tuple[str, ...]) -> None:
            if "redis" in words:
                has = words[-1] if words[-1].startswith("sha256:") else self.image("redis")
                told = "unhealthy" if has in images else "healthy"
                self.here.container("redis", image=has, health=told, health_output=f"no, says {has}")

        self.here.compose.acts["up --detach"] = starts


def stage(tmp_path: Path, services: ServicesSettings = FREE) -> Stage:
    here = scene(tmp_path, services)
    here.engine.__class__ = Newer
    engine = here.engine
    assert isinstance(engine, Newer)
    tags = {service.name: service.image for service in here.context.stack.services}
    engine.registry = {TRIXIE: "sha256:new-base"}
    for name, tag in tags.items():
        engine.add_image(tag, ident=f"sha256:{name}", labels=OURS)
    engine.held = {f"sha256:{name}": OLD for name in tags} | {f"sha256:new-{name}": NEW for name in tags}
    here.runs()
    here.compose.acts.clear()
    return Stage(here, engine, tags)


@pytest.fixture
def at(tmp_path: Path) -> Stage:
    return stage(tmp_path)


def test_each_service_gets_its_newer_image_one_after_the_other(at: Stage) -> None:
    told = at.upgrade()
    assert [(one.service, one.changed) for one in told] == [(name, True) for name in NAMES]
    assert all(one.packages == CHANGES for one in told)
    assert at.here.compose.asked == [(*UP, name) for name in NAMES]
    assert at.engine.removed == ["sha256:nats", "sha256:postgres", "sha256:redis"]
    assert f"redis: {', '.join(CHANGES)}" in at.here.said
    assert not any(options["cache"] for options in at.engine.built)
    assert at.engine.image_id(TRIXIE) == "sha256:new-base"


def test_the_same_packages_are_nothing_newer(at: Stage) -> None:
    at.engine.held = dict.fromkeys(at.engine.held, OLD)
    [told] = at.upgrade("redis")
    assert (told.changed, told.packages) == (False, [])
    assert at.here.compose.asked == []
    assert at.image("redis") == "sha256:redis"
    assert at.engine.removed == ["sha256:new-redis"]
    assert at.here.said[-1] == "redis: nothing newer"


@pytest.mark.parametrize("had_tag", [True, False])
def test_one_that_does_not_get_healthy_has_its_old_image_again(at: Stage, had_tag: bool) -> None:
    """Without its tag (docker/services was edited) by its id."""
    if not had_tag:
        at.engine.add_image(at.tags["redis"], ident="sha256:never-ran")
    at.fails_with("sha256:new-redis")
    with pytest.raises(ServiceUnhealthy, match="redis did not get healthy with its new image") as caught:
        at.upgrade("redis")
    assert "its health check says: no" in caught.value.why
    assert caught.value.hint.startswith("redis runs its old image again, healthy")
    assert ("correct it before `inv services.up`" in caught.value.hint) == (not had_tag)
    assert at.runs() == "sha256:redis"
    if had_tag:
        assert at.image("redis") == "sha256:redis"
    assert "sha256:redis" not in at.engine.removed


@pytest.mark.parametrize("had_tag", [True, False])
def test_where_the_old_image_fails_too_both_reasons_are_told(at: Stage, had_tag: bool) -> None:
    if not had_tag:
        at.engine.add_image(at.tags["redis"], ident="sha256:never-ran")
    at.fails_with("sha256:new-redis", "sha256:redis")
    with pytest.raises(ServiceUnhealthy, match="redis failed with its new image, and its old one") as caught:
        at.upgrade("redis")
    new, old = caught.value.why.split("\nwith the old image: ")
    assert new.startswith("with the new image: ")
    assert "no, says sha256:new-redis" in new
    assert "no, says sha256:redis" in old
    assert "inv services.down stops all and keeps the data" in caught.value.hint


def test_an_engine_that_goes_away_on_the_way_back_is_told_as_lost_with_what_was_before(at: Stage) -> None:
    at.engine.add_image(at.tags["redis"], ident="sha256:never-ran")
    at.fails_with("sha256:new-redis")
    starts = at.here.compose.acts["up --detach"]

    def dies(words: tuple[str, ...]) -> None:
        starts(words)
        at.engine.answers = words[-1] == "redis"

    at.here.compose.acts["up --detach"] = dies
    with pytest.raises(ContainerLost, match="redis failed with its new image") as caught:
        at.upgrade("redis")
    assert "its health check says: no" in caught.value.why
    assert "connection refused" in caught.value.why


def test_an_engine_that_goes_away_is_told_as_lost_and_nothing_is_turned_back(at: Stage) -> None:
    at.here.compose.acts["up --detach"] = lambda _: setattr(at.engine, "answers", False)
    with pytest.raises(ContainerLost):
        at.upgrade("redis")
    assert len(at.here.compose.asked) == 1


def test_an_image_that_cannot_be_built_leaves_the_service_as_it_runs(at: Stage) -> None:
    at.engine.build_fails = True
    with pytest.raises(ImageBuildFailed):
        at.upgrade("redis")
    assert (at.here.compose.asked, at.image("redis")) == ([], "sha256:redis")


@pytest.fixture
def theirs(tmp_path: Path) -> Stage:
    """Redis is an official image, of the kind that has no dpkg."""
    made = stage(tmp_path, dataclasses.replace(FREE, redis_image="redis:8"))
    made.engine.held = {}
    return made


def test_an_image_without_packages_is_newer_when_it_is_another(theirs: Stage) -> None:
    theirs.engine.registry = {"redis:8": "sha256:pulled"}
    [told] = theirs.upgrade("redis")
    assert (told.changed, told.packages) == (True, [])
    assert (theirs.image("redis"), theirs.engine.built) == ("sha256:pulled", [])
    assert theirs.here.compose.asked == [(*UP, "redis")]


@pytest.mark.parametrize("registry", [{}, {"redis:8": "sha256:redis"}])
def test_an_image_of_a_registry_that_has_nothing_newer_stays_untouched(
    theirs: Stage, registry: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even tagged: `docker tag` refuses redis@sha256:… as a name."""
    monkeypatch.setattr(theirs.engine, "tag", None)
    theirs.engine.registry = registry
    [told] = theirs.upgrade("redis")
    assert not told.changed
    assert (theirs.here.compose.asked, theirs.image("redis")) == ([], "sha256:redis")
    no_answer = "redis: no registry answers for redis:8; it stays as it is here"
    assert (no_answer in theirs.here.said) == (not registry)
