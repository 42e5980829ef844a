"""`inv maint.update-base` as a person types them, without an engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from invoke.collection import Collection
from invoke.program import Program

from synos_tasks.images.base import BOOKWORM, TRIXIE
from synos_tasks.images.catalog import every
from synos_tasks.images.recipe import tag_of
from synos_tasks.maint import engine_tasks
from synos_tasks.project import load as identify
from synos_tasks.settings import Settings
from tests.unit.fake_compose import lay_services
from tests.unit.fakes import FakeEngine
from tests.unit.projects import project

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("keep_signals")

Shown = pytest.CaptureFixture[str]
DEFAULTS = "GC Policy rule#0:\n All: false\n Keep Bytes: 20GiB\n"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = project(tmp_path)
    lay_services(made)
    monkeypatch.chdir(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    return Settings(root=tmp_path, project_id=identify(tmp_path).id)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    made = FakeEngine(images={BOOKWORM.tag: "sha256:old-bookworm", TRIXIE.tag: "sha256:old-trixie"})
    made.printed[("dpkg-query", "--show")] = "bash\t5.2\n"
    monkeypatch.setattr("synos_tasks.engine.gateway.DockerEngine", lambda: made)
    monkeypatch.setattr("synos_tasks.images.base.bootstrap", lambda *_: None)
    return made


def run(*words: str) -> int:
    namespace = Collection()
    namespace.add_collection(Collection("maint", *engine_tasks.VERBS), "maint")
    try:
        Program(namespace=namespace, name="inv").run(["inv", *words], exit=False)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def answer(shown: Shown) -> tuple[dict[str, Any], str]:
    """Give the one JSON object on standard output, and what people see."""
    told = shown.readouterr()
    return json.loads(told.out), told.err


def lay_images(settings: Settings, engine: FakeEngine, *names: str) -> None:
    for recipe in every(settings):
        if recipe.name in names:
            engine.images[tag_of(settings.root, recipe)] = f"sha256:old-{recipe.name}"


def built(engine: FakeEngine) -> list[str]:
    return [words[0].removeprefix("--tag=synos-").partition(":")[0] for words in engine.built]


def test_images_that_are_there_are_built_on_their_newer_bases(
    settings: Settings, engine: FakeEngine, capfd: Shown
) -> None:
    lay_images(settings, engine, "builder", "redis")
    assert run("maint.update-base", "--json") == 0
    told, err = answer(capfd)
    assert built(engine) == ["builder", "redis"]
    assert [one["image"].partition(":")[0] for one in told["images"]] == [
        "debian", "debian", "synos-builder", "synos-redis",
    ]  # fmt: skip
    assert told["not_built"] == ["toolchain", "boot", "nats", "postgres", "nats-box"]
    assert "not built, so left alone: toolchain, boot, nats, postgres, nats-box" in err
    assert "1 packages, 0 changed" in err
    assert "inv services.upgrade" in err


def test_who_never_ran_services_gets_none(settings: Settings, engine: FakeEngine, capfd: Shown) -> None:
    lay_images(settings, engine, "builder")
    assert run("maint.update-base", "--json") == 0
    told, err = answer(capfd)
    assert told["images"][0]["image"] == BOOKWORM.tag
    assert TRIXIE.tag not in {one["image"] for one in told["images"]}
    assert "services.upgrade" not in err


def test_without_any_image_there_is_nothing_to_do(
    engine: FakeEngine, settings: Settings, capfd: Shown
) -> None:
    assert run("maint.update-base", "--json") == 0
    told, err = answer(capfd)
    assert (told["images"], engine.built) == ([], [])
    assert "nothing to do: no image of ours is there" in err


def test_dry_builds_nothing(settings: Settings, engine: FakeEngine, capfd: Shown) -> None:
    lay_images(settings, engine, "builder", "redis")
    assert run("--dry", "maint.update-base", "--json") == 0
    told, err = answer(capfd)
    assert (told["images"], engine.built) == (["builder", "redis"], [])
    assert "would build builder, redis on newer bases" in err


def test_no_engine_is_not_taken_for_no_image(
    settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.known = None
    assert run("maint.update-base") == 21
    assert run("--dry", "maint.update-base") == 21
