"""Images: when they are built, on what, under which tag, and one at a time."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.build.planning import Context
from synos_tasks.engine.labels import image_labels
from synos_tasks.errors import EngineTooOld, ImageBuildFailed
from synos_tasks.images import base as bases
from synos_tasks.images import ledger
from synos_tasks.images.building import build_image, build_images, ensure_image, remove_nameless
from synos_tasks.images.catalog import BOOKWORM, TRIXIE, Recipe
from synos_tasks.locks import try_exclusive
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import settings_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synos_tasks.images.building import Built
    from synos_tasks.settings import Settings

OLD = Recipe("old", "Dockerfile", "small", "files")
NEW = Recipe("new", "new.Dockerfile", base=TRIXIE, role="services")
RECIPES = [OLD, NEW]


@pytest.fixture(autouse=True)
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the host's certificates are; there are none."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificates.pem"))
    return tmp_path / "certificates.pem"


class Engine(FakeDocker):
    """An engine with a project, that keeps which bases were bootstrapped."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.bootstrapped: list[str] = []

    def bootstrap(self, base: str) -> None:
        assert not self.built
        self.bootstrapped.append(base)
        self.add_image(base)

    def ensure(self, recipe: Recipe, say: Callable[[str], None] = print) -> str:
        return ensure_image(Context(self.settings, self, say), recipe)

    def build(self, *recipes: Recipe, cached: bool = True) -> list[Built]:
        return build_images(Context(self.settings, self, print), recipes, cached=cached)


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Return an engine without any image."""
    (tmp_path / "files").mkdir()
    for name in ("Dockerfile", "new.Dockerfile", "files/x"):
        (tmp_path / name).write_text(f"FROM x\nRUN echo {name}\n")
    made = Engine(settings_in(tmp_path))
    monkeypatch.setattr(bases, "bootstrap", lambda _, base: made.bootstrap(base))
    return made


def test_an_image_that_is_there_is_not_built(docker: Engine) -> None:
    tag = OLD.tag(docker.settings.project)
    docker.add_image(tag)
    docker.version = "1.0"  # nor does anybody ask for the version
    assert docker.ensure(OLD, pytest.fail) == tag
    assert docker.built == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_missing_image_is_built_on_its_base_with_its_labels(docker: Engine, recipe: Recipe) -> None:
    said: list[str] = []
    tag = docker.ensure(recipe, said.append)
    assert tag == recipe.tag(docker.settings.project)
    assert docker.bootstrapped == [recipe.base]
    assert f"building image {tag}" in said[-1]
    image = docker.image(tag)
    assert image is not None
    assert image.config.labels == image_labels("synos-test", recipe.role, tag)
    [options] = docker.built
    assert (options["build_args"], options["target"] or "") == (
        recipe.build_args(docker.settings.project),
        recipe.target,
    )
    assert set(ledger.read(docker.settings.project.state_dir).images) == {image.id}


def test_an_image_on_another_one_of_the_project_is_built_after_it(docker: Engine) -> None:
    above = dataclasses.replace(NEW, name="above", base=BOOKWORM, parent=OLD)
    project = docker.settings.project
    tag = docker.ensure(above)
    assert [options["tags"] for options in docker.built] == [[OLD.tag(project)], [tag]]
    assert docker.built[1]["build_args"] == {"BUILDER": OLD.tag(project)}
    docker.build(above)  # again, but not what it is built on
    assert [options["tags"] for options in docker.built[2:]] == [[tag]]
    (docker.settings.project.root / "files/x").write_text("another")
    assert above.tag(project) != tag


@pytest.mark.parametrize(("size", "given"), [(1, 1), (500 * 1024 + 1, 0)])
def test_a_build_trusts_whom_the_host_trusts(docker: Engine, trust: Path, size: int, given: int) -> None:
    trust.write_bytes(b"x" * size)  # BuildKit takes no larger ones
    build_image(Context(docker.settings, docker, print), OLD)
    [options] = docker.built
    assert options["secrets"] == [f"id=certificates,src={trust}"] * given


def test_an_engine_that_is_too_old_builds_nothing(docker: Engine) -> None:
    docker.buildx = ""
    with pytest.raises(EngineTooOld):
        docker.ensure(OLD)
    with pytest.raises(EngineTooOld):
        docker.build(*RECIPES)
    assert (docker.built, docker.bootstrapped) == ([], [])


@pytest.mark.parametrize("cached", [True, False])
def test_images_are_built_even_if_they_are_there(docker: Engine, cached: bool) -> None:
    tags = [recipe.tag(docker.settings.project) for recipe in RECIPES]
    old = [docker.add_image(tag) for tag in tags]
    built = docker.build(*RECIPES, dataclasses.replace(NEW, name="newer"), cached=cached)
    assert [(one.name, one.tag) for one in built[:2]] == [("old", tags[0]), ("new", tags[1])]
    assert [options["cache"] for options in docker.built] == [cached] * 3
    assert docker.bootstrapped == [BOOKWORM, TRIXIE], "each once, before anything is built"
    assert not {docker.image_id(tag) for tag in tags} & set(old)


@pytest.mark.parametrize("fails", [True, False])
def test_other_commands_wait_until_a_build_ends(
    docker: Engine, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    locked = []
    build = docker.build_image

    def is_locked() -> bool:
        with try_exclusive(docker.settings.project.state_dir / "image.lock") as free:
            return not free

    def building(*words: Any, **options: Any) -> None:  # noqa: ANN401
        locked.append(is_locked())
        build(*words, **options)

    monkeypatch.setattr(docker, "build_image", building)
    docker.build_fails = fails
    other = dataclasses.replace(OLD, name="other")
    for command in (lambda: docker.build(OLD), lambda: docker.ensure(other)):
        with pytest.raises(ImageBuildFailed) if fails else nullcontext():
            command()
        assert not is_locked()
    assert locked == [True, True]


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
    docker: Engine, tags: tuple[str, ...], label: dict[str, str], removed: bool
) -> None:
    ident = docker.add_image(*tags, ident="sha256:x", labels=label)
    context = Context(docker.settings, docker, print)
    remove_nameless(context, ident)
    remove_nameless(context, "sha256:gone")
    assert docker.removed == ([ident] if removed else [])
