"""Images of any room: when they are built, on what, under which tag, and one at a time."""

from __future__ import annotations

import dataclasses
import fcntl
import os
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from synos_tasks.errors import EngineTooOld, ImageBuildFailed
from synos_tasks.images import base as bases
from synos_tasks.images.base import BOOKWORM, TRIXIE, Base
from synos_tasks.images.building import Built, build_image, build_images, ensure_image
from synos_tasks.images.recipe import Recipe, tag_of
from synos_tasks.settings import Settings
from tests.unit.fakes import GOOD, FakeEngine

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
        (tmp_path / name).write_text(f"{name}\n")
    return Settings(root=tmp_path, project_id="synos-test")


@pytest.fixture
def engine() -> FakeEngine:
    """Have both bases."""
    return FakeEngine(images=dict.fromkeys([BOOKWORM.tag, TRIXIE.tag], "sha256:base"))


@pytest.fixture
def bootstrapped(monkeypatch: pytest.MonkeyPatch) -> list[Base]:
    """What was bootstrapped."""
    made: list[Base] = []

    def bootstrap(_settings: Settings, engine: FakeEngine, base: Base) -> None:
        made.append(base)
        engine.images[base.tag] = "sha256:bootstrapped"

    monkeypatch.setattr(bases, "bootstrap", bootstrap)
    return made


def _is_held(settings: Settings) -> bool:
    """Tell whether another command would have to wait."""
    descriptor = os.open(settings.state_dir / "image.lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_an_image_that_is_there_is_not_built(settings: Settings) -> None:
    tag = tag_of(settings.root, OLD)
    # nor is the engine asked whether it could
    engine = FakeEngine(known=None, images={tag: "sha256:1"})
    assert ensure_image(settings, engine, OLD, pytest.fail) == tag
    assert engine.built == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_an_image_that_is_not_there_is_built_on_its_own_base(
    settings: Settings, bootstrapped: list[Base], recipe: Recipe
) -> None:
    engine, said = FakeEngine(), list[str]()
    tag = ensure_image(settings, engine, recipe, said.append)
    assert tag == tag_of(settings.root, recipe)
    assert bootstrapped == [recipe.base]
    assert len(engine.built) == 1
    assert f"building image {tag}" in said[-1]


def test_what_the_engine_is_told_of_an_image_on_bookworm(settings: Settings, engine: FakeEngine) -> None:
    build_image(settings, engine, OLD, print)
    assert engine.built == [
        [
            f"--tag={tag_of(settings.root, OLD)}",
            f"--file={settings.root / 'Dockerfile'}",
            "--target=small",
            "--label=io.synos.project=synos-test",
            "--label=io.synos.role=build",
            f"--label=io.synos.image={tag_of(settings.root, OLD)}",
            str(settings.root),
        ]
    ]


def test_what_the_engine_is_told_of_an_image_on_another_base(settings: Settings, engine: FakeEngine) -> None:
    build_image(settings, engine, NEW, print, cached=False)
    assert engine.built == [
        [
            f"--tag={tag_of(settings.root, NEW)}",
            f"--file={settings.root / 'new.Dockerfile'}",
            "--no-cache",
            "--build-arg=BASE=debian:trixie-slim",
            "--build-arg=PORT=5432",
            "--build-arg=NAME=a b",
            "--label=io.synos.project=synos-test",
            "--label=io.synos.role=services",
            f"--label=io.synos.image={tag_of(settings.root, NEW)}",
            str(settings.root),
        ]
    ]


@pytest.mark.parametrize(("size", "given"), [(1, 1), (500 * 1024 + 1, 0)])
def test_a_build_trusts_whom_the_host_trusts(
    settings: Settings, engine: FakeEngine, trust: Path, size: int, given: int
) -> None:
    trust.write_bytes(b"x" * size)  # BuildKit takes no larger ones
    build_image(settings, engine, OLD, print)
    [words] = engine.built
    assert words.count(f"--secret=id=certificates,src={trust}") == given


def test_an_image_is_built_under_another_tag_when_that_is_asked_for(
    settings: Settings, engine: FakeEngine
) -> None:
    assert build_image(settings, engine, NEW, print, tag="synos-new:next") == "synos-new:next"
    [words] = engine.built
    assert [word for word in words if word.startswith("--tag")] == ["--tag=synos-new:next"]
    assert tag_of(settings.root, NEW) not in engine.images


def test_an_engine_that_is_too_old_builds_nothing(settings: Settings, bootstrapped: list[Base]) -> None:
    engine = FakeEngine(known=dataclasses.replace(GOOD, buildx=""))
    with pytest.raises(EngineTooOld):
        ensure_image(settings, engine, OLD, print)
    with pytest.raises(EngineTooOld):
        build_images(settings, engine, print, RECIPES)
    assert (engine.built, bootstrapped) == ([], [])


@pytest.mark.parametrize("cached", [True, False])
def test_images_are_built_even_if_they_are_there(
    settings: Settings, engine: FakeEngine, cached: bool
) -> None:
    tags = [tag_of(settings.root, recipe) for recipe in RECIPES]
    engine.images |= dict.fromkeys(tags, "sha256:old")
    made = build_images(settings, engine, print, RECIPES, cached=cached)
    assert [one.tag for one in made] == tags
    assert [("--no-cache" in words) for words in engine.built] == [not cached] * 2
    first = made[0]
    assert first == Built(name="old", tag=tags[0], bytes=engine.image_bytes(tags[0]), seconds=first.seconds)
    assert 0 <= first.seconds < 60


def test_all_bases_are_had_once_and_before_anything_is_built(
    settings: Settings, bootstrapped: list[Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    build, seen = engine.build, list[list[Base]]()

    def built(arguments: Sequence[str], on_event: Callable[[dict[str, Any]], None]) -> None:
        seen.append(list(bootstrapped))
        build(arguments, on_event)

    monkeypatch.setattr(engine, "build", built)
    build_images(settings, engine, print, [NEW, OLD, dataclasses.replace(NEW, name="newer")])
    assert seen == [[TRIXIE, BOOKWORM]] * 3
    assert bootstrapped == [TRIXIE, BOOKWORM]


@pytest.mark.parametrize("fails", [False, True])
def test_another_command_waits_for_the_end_of_a_build_however_that_ends(
    settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    held: list[bool] = []

    def build(_arguments: Sequence[str], _on_event: Callable[[dict[str, Any]], None]) -> None:
        held.append(_is_held(settings))
        if fails:
            raise ImageBuildFailed("a step of an image's build failed")

    monkeypatch.setattr(engine, "build", build)
    monkeypatch.setattr(engine, "image_bytes", lambda _: 1)
    for command in (
        lambda: ensure_image(settings, engine, OLD, print),
        lambda: build_images(settings, engine, print, [OLD]),
    ):
        if fails:
            with pytest.raises(ImageBuildFailed):
                command()
        else:
            command()
        assert not _is_held(settings)
    assert held == [True, True]


def test_what_another_command_built_meanwhile_is_taken(
    settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None, "sha256:of-the-other"])
    monkeypatch.setattr(engine, "image_id", lambda _: next(answers))
    assert ensure_image(settings, engine, OLD, pytest.fail) == tag_of(settings.root, OLD)
    assert engine.built == []


def test_without_a_base_nothing_is_built(
    settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    del engine.images[TRIXIE.tag]

    def fails(*_: object) -> NoReturn:
        raise ImageBuildFailed("mmdebstrap gave no output")

    monkeypatch.setattr(bases, "bootstrap", fails)
    with pytest.raises(ImageBuildFailed):
        build_images(settings, engine, print, RECIPES)
    assert engine.built == []
