"""Images: when they are built, on what, under which tag, and one at a time."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.engine.labels import image_labels
from synos_tasks.errors import EngineTooOld, ImageBuildFailed
from synos_tasks.images import base as bases
from synos_tasks.images import ledger
from synos_tasks.images.base import BOOKWORM, TRIXIE, Base
from synos_tasks.images.building import build_image, build_images, ensure_image, remove_nameless
from synos_tasks.images.recipe import Recipe, tag_of
from synos_tasks.locks import try_exclusive
from synos_tasks.settings import Settings
from tests.unit.fake_docker import FakeDocker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

OLD = Recipe("old", "Dockerfile", "small", "files")
NEW = Recipe("new", "new.Dockerfile", base=TRIXIE, role="services", args=("PORT=5432", "NAME=a b"))
RECIPES = [OLD, NEW]


@pytest.fixture(autouse=True)
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the host's certificates are; there are none."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificates.pem"))
    return tmp_path / "certificates.pem"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "files").mkdir()
    for name in ("Dockerfile", "new.Dockerfile", "files/x"):
        (tmp_path / name).write_text(f"FROM x\nRUN echo {name}\n")
    return Settings(root=tmp_path, project_id="synos-test")


@pytest.fixture
def docker() -> FakeDocker:
    """Return an engine that has both bases."""
    made = FakeDocker()
    for base in (BOOKWORM, TRIXIE):
        made.add_image(base.tag)
    return made


@pytest.fixture
def bootstrapped(monkeypatch: pytest.MonkeyPatch) -> list[Base]:
    made: list[Base] = []

    def bootstrap(_settings: Settings, docker: FakeDocker, base: Base) -> None:
        assert not docker.built
        made.append(base)
        docker.add_image(base.tag)

    monkeypatch.setattr(bases, "bootstrap", bootstrap)
    return made


def test_an_image_that_is_there_is_not_built(settings: Settings, docker: FakeDocker) -> None:
    tag = tag_of(settings.project, OLD)
    docker.add_image(tag)
    docker.version = "1.0"  # nor does anybody ask for the version
    assert ensure_image(settings, docker, OLD, pytest.fail) == tag
    assert docker.built == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_missing_image_is_built_on_its_base_with_its_labels(
    settings: Settings, bootstrapped: list[Base], recipe: Recipe
) -> None:
    docker, said = FakeDocker(), list[str]()
    tag = ensure_image(settings, docker, recipe, said.append)
    assert tag == tag_of(settings.project, recipe)
    assert bootstrapped == [recipe.base]
    assert f"building image {tag}" in said[-1]
    image = docker.image(tag)
    assert image is not None
    assert image.config.labels == image_labels("synos-test", recipe.role, tag)
    [words] = docker.built
    assert {f"--build-arg={one}" for one in recipe.build_args} <= set(words)
    assert ("--target=small" in words) == (recipe.target == "small")
    assert set(ledger.read(settings.state_dir).images) == {image.id}


@pytest.mark.parametrize(("size", "given"), [(1, 1), (500 * 1024 + 1, 0)])
def test_a_build_trusts_whom_the_host_trusts(
    settings: Settings, docker: FakeDocker, trust: Path, size: int, given: int
) -> None:
    trust.write_bytes(b"x" * size)  # BuildKit takes no larger ones
    build_image(settings, docker, OLD, print)
    [words] = docker.built
    assert words.count(f"--secret=id=certificates,src={trust}") == given


def test_an_engine_that_is_too_old_builds_nothing(settings: Settings, bootstrapped: list[Base]) -> None:
    docker = FakeDocker()
    docker.buildx = ""
    with pytest.raises(EngineTooOld):
        ensure_image(settings, docker, OLD, print)
    with pytest.raises(EngineTooOld):
        build_images(settings, docker, print, RECIPES)
    assert (docker.built, bootstrapped) == ([], [])


@pytest.mark.parametrize("cached", [True, False])
def test_images_are_built_even_if_they_are_there(
    settings: Settings, docker: FakeDocker, cached: bool
) -> None:
    tags = [tag_of(settings.project, recipe) for recipe in RECIPES]
    old = [docker.add_image(tag) for tag in tags]
    built = build_images(settings, docker, print, RECIPES, cached=cached)
    assert [(one.name, one.tag) for one in built] == [("old", tags[0]), ("new", tags[1])]
    assert [("--no-cache" in words) for words in docker.built] == [not cached] * 2
    assert not {docker.image_id(tag) for tag in tags} & set(old)


def test_each_base_is_fetched_once_before_anything_is_built(
    settings: Settings, bootstrapped: list[Base]
) -> None:
    docker = FakeDocker()
    build_images(settings, docker, print, [NEW, OLD, dataclasses.replace(NEW, name="newer")])
    assert bootstrapped == [TRIXIE, BOOKWORM]
    assert len(docker.built) == 3


@pytest.mark.parametrize("fails", [True, False])
def test_other_commands_wait_until_a_build_ends(
    settings: Settings, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    locked = []
    build = docker.build_image

    def is_locked() -> bool:
        with try_exclusive(settings.state_dir / "image.lock") as free:
            return not free

    def building(arguments: Sequence[str], on_event: Callable[[dict[str, Any]], None]) -> None:
        locked.append(is_locked())
        build(arguments, on_event)

    monkeypatch.setattr(docker, "build_image", building)
    docker.build_fails = fails
    for _ in range(2):
        with pytest.raises(ImageBuildFailed) if fails else nullcontext():
            build_images(settings, docker, print, [OLD])
        with pytest.raises(ImageBuildFailed) if fails else nullcontext():
            ensure_image(settings, docker, NEW, print)
        assert not is_locked()
    assert set(locked) == {True}


def test_what_another_command_built_meanwhile_is_used(
    settings: Settings, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None, "sha256:of-the-other"])
    monkeypatch.setattr(docker, "image_id", lambda _: next(answers))
    assert ensure_image(settings, docker, OLD, pytest.fail) == tag_of(settings.project, OLD)
    assert docker.built == []


@pytest.mark.parametrize(
    ("tags", "label", "removed"),
    [
        ((), {"io.synos.project": "synos-test"}, True),
        ((), {"io.synos.base": "synos-test"}, True),
        (("a:b",), {"io.synos.project": "synos-test"}, False),
        ((), {"io.synos.project": "another"}, False),
        ((), {}, False),
    ],
)
def test_only_images_of_this_project_without_a_name_are_removed(
    settings: Settings, docker: FakeDocker, tags: tuple[str, ...], label: dict[str, str], removed: bool
) -> None:
    ident = docker.add_image(*tags, ident="sha256:x", labels=label)
    remove_nameless(settings, docker, ident)
    remove_nameless(settings, docker, "sha256:gone")
    assert docker.removed == ([ident] if removed else [])
