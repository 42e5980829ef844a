"""A newer base: from a registry or the mirror, all images built on it again, and what that changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from invoke.collection import Collection

from synos_tasks.build import tasks as build
from synos_tasks.build.planning import Context
from synos_tasks.errors import ImageBuildFailed, MirrorUnreachable
from synos_tasks.images import base as bases
from synos_tasks.images.building import update_base
from synos_tasks.images.catalog import BOOKWORM, RECIPES, TRIXIE, every
from synos_tasks.maint import tasks
from tests.unit.fake_compose import lay_services
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import project
from tests.unit.verbs import inv

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.settings import Settings

OLD = "bash\t5.2\nlibc6:amd64\t2.36-9\ntzdata\t2024a\n"
NEW = "bash\t5.2\nlibc6:amd64\t2.36-10\nzlib1g\t1.2\n"
CHANGES = [
    {"name": "libc6:amd64", "old": "2.36-9", "new": "2.36-10", "security": False},
    {"name": "tzdata", "old": "2024a", "new": "", "security": False},
    {"name": "zlib1g", "old": "", "new": "1.2", "security": False},
]
BUILD = [name for name, recipe in RECIPES.items() if recipe.base == BOOKWORM]


class Engine(FakeDocker):
    """Tells the packages of an image by its id; a registry may have a newer bookworm."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.packages: dict[str, str] = {}

    def output_of(self, image: str, command: Sequence[str]) -> str:
        assert command == ("dpkg-query", "--show")
        return self.packages.get(self.image_id(image) or "", NEW)

    def update(self) -> tuple[dict[str, Any], str]:
        said: list[str] = []
        context = Context(self.settings, self, said.append)
        return update_base(context, dry=False), "\n".join(said)

    def lay(self, *names: str) -> None:
        for recipe in every(self.settings):
            if recipe.name in names:
                tag, labels = recipe.tag(self.settings.project), {"io.synos.project": "synos-test"}
                ident = self.add_image(tag, ident=f"sha256:old-{recipe.name}", labels=labels)
                self.packages[ident] = OLD

    def built_names(self) -> list[str]:
        return [one["tags"][0].removeprefix("synos-").partition(":")[0] for one in self.built]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = project(tmp_path)
    lay_services(made)
    return made


@pytest.fixture
def docker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine(settings)
    made.add_image(BOOKWORM, ident="sha256:old-base", labels={"io.synos.base": settings.project.id})
    made.packages["sha256:old-base"] = OLD
    made.pullable = {BOOKWORM}
    made.lay(*BUILD)

    def bootstrap(_: Context, base: str) -> None:
        made.add_image(base, ident=f"sha256:bootstrapped-{bases.suite_of(base)}")

    monkeypatch.setattr(bases, "bootstrap", bootstrap)
    return made


@pytest.mark.parametrize("registry", [True, False])
def test_every_image_that_is_there_is_built_on_a_newer_base(docker: Engine, registry: bool) -> None:
    docker.pullable = {BOOKWORM} if registry else set()
    fields, said = docker.update()
    assert docker.image_id(BOOKWORM) != "sha256:old-base"
    assert (docker.image_id(BOOKWORM) == "sha256:bootstrapped-bookworm") == (not registry)
    assert docker.built_names() == BUILD
    assert not any(options["cache"] for options in docker.built)
    names = [one["image"].partition(":")[0] for one in fields["images"]]
    assert names == ["debian", *(f"synos-{name}" for name in BUILD)]
    for one in fields["images"]:
        assert (one["changes"], one["packages"], one["there"]) == (CHANGES, 3, True)
    others = [name for name in RECIPES if name not in BUILD]
    assert fields["not_built"] == [*others, "nats", "postgres", "redis", "nats-box"]
    assert "3 packages, 3 changed" in said
    assert TRIXIE not in docker.names("image"), "no image is on it"
    assert "services.upgrade" not in said


def test_services_are_built_on_their_own_base(docker: Engine) -> None:
    docker.lay("redis")
    fields, said = docker.update()
    on = dict(zip(docker.built_names(), (one["build_args"] for one in docker.built), strict=True))
    assert on["redis"] == {"BASE": TRIXIE}
    assert on["boot"] == {}
    assert [one["there"] for one in fields["images"][:2]] == [True, False]
    assert "was not there before" in said
    assert "inv services.upgrade" in said


def test_images_that_lost_their_name_are_removed_and_no_others(docker: Engine) -> None:
    docker.add_image("others:1", ident="sha256:others")
    docker.packages["sha256:old-builder"] = NEW
    fields, _ = docker.update()
    assert [len(one["changes"]) for one in fields["images"]] == [3, 0, 3, 3], "nothing changed is no change"
    assert sorted(docker.removed) == sorted(docker.packages)


def test_a_mirror_that_fails_leaves_all_images_as_they_were(
    docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> NoReturn:
        raise MirrorUnreachable("the base image could not be bootstrapped")

    before = {name: docker.image_id(name) for name in docker.names("image")}
    docker.pullable = set()
    monkeypatch.setattr(bases, "bootstrap", fails)
    with pytest.raises(MirrorUnreachable):
        docker.update()
    assert {name: docker.image_id(name) for name in docker.names("image")} == before
    assert (docker.built, docker.removed) == ([], [])


def test_a_build_that_fails_leaves_the_images_that_were_there(docker: Engine) -> None:
    before = {name: docker.image_id(name) for name in docker.names("image") if name != BOOKWORM}
    docker.build_fails = True
    with pytest.raises(ImageBuildFailed):
        docker.update()
    assert {name: docker.image_id(name) for name in before} == before
    assert docker.removed == []


def run(*words: str) -> int:
    namespace = Collection(maint=tasks.namespace, build=Collection("build", build.update_base))
    namespace.configure({"synos": {"name": "synos"}})
    return inv(namespace, *words)


@pytest.mark.usefixtures("keep_signals")
@pytest.mark.parametrize("verb", ["build.update-base", "maint.update-base"])
def test_both_verbs_do_the_same(
    docker: Engine, verb: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(docker.settings.project.root)
    monkeypatch.setattr("synos_tasks.engine.client.Docker", lambda: docker)
    monkeypatch.setattr(
        tasks, "context_of", lambda command: Context(command.settings, docker, lambda _: None)
    )
    assert run("--dry", verb, "--json") == 0
    fields = json.loads(capfd.readouterr().out)
    assert (fields["schema"], fields["images"]) == (f"synos.{verb}/1", BUILD)
    assert docker.built == []
    assert run(verb, "--json") == 0
    fields = json.loads(capfd.readouterr().out)
    assert len(fields["images"]) == 4
    assert docker.built_names() == BUILD
    docker.answers = False
    assert run(verb) == 21
    assert run("--dry", verb) == 21, "an engine that does not answer is not one without images"


def test_without_any_image_there_is_nothing_to_do(settings: Settings) -> None:
    fields, said = Engine(settings).update()
    assert fields["images"] == []
    assert "nothing to do" in said
