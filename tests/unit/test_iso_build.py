"""A build with components: compiled only where the store lacks them, and told as it was."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.build import iso_build, planning
from synos_tasks.build.iso_build import BuildResult, Options, build_iso
from synos_tasks.errors import (
    ComponentFailed,
    ComponentMissing,
    HostUnfit,
    PackageVanished,
    StageFailed,
    SynosError,
    WrongUse,
)
from synos_tasks.images.catalog import BUILDER, RECIPES, TOOLCHAINS
from synos_tasks.iso import codec, publish
from synos_tasks.iso import plan as plans
from tests.unit.fakes import FakeToolchain, done
from tests.unit.projects import NAME, PROFILE, lay_component, lay_lock, package, project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.settings import Settings

    Request = Mapping[str, Any]

ISO = b"iso"
SHA256 = hashlib.sha256(ISO).hexdigest()
COMPILING_SECONDS = 12.5
BOTH = ("component-tool", "component-agent")
COMPILED_BOTH = ("keep", "compile", "keep", "compile", "keep")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = project(tmp_path)
    for name in ("tool", "agent"):
        lay_component(made.project.root / "docker/build", name)
    profile = made.project.root / f"docker/build/profiles/{NAME}.yaml"
    profile.write_text(f"{PROFILE}components: [tool, agent]\n")
    lay_lock(made, package("sudo"))
    return made


class Containers(FakeToolchain):
    """A build finds in a store what was compiled into it, or ends as the real one does."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(settings, monkeypatch)
        self.failures: dict[str, list[SynosError]] = {"build": [], "compile": []}
        """What the next containers of a kind end with."""
        self.seconds = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.seconds)

    def build(self, **more: bool) -> BuildResult:
        options = Options(profile=NAME, output=self.settings.output_dir, **{"locked": True, **more})
        profile = planning.read_profile(self.context.settings, options.profile)
        return build_iso(self.context, options, profile)

    def _compile(self, spec: ContainerSpec, request: Request) -> Iterator[dict[str, Any]]:
        assert "/cache" not in spec.volumes.values()
        while self.docker.memory > 12 * 10**9 and ("build" not in self.all.done or self.failures["build"]):
            time.sleep(0.01)
            yield {"event": "tick"}
        self._fail("compile")
        self.seconds += COMPILING_SECONDS
        yield from super()._compile(spec, request)

    def _build(self, spec: ContainerSpec, request: Request) -> Iterator[dict[str, Any]]:
        store = self.store_of(spec)
        plan = codec.from_data(plans.Plan, request["plan"])
        while request["awaits"] and not {stage.key for stage in plan.components} <= store:
            self._fail("build")
            time.sleep(0.01)
            yield {"event": "tick"}
        missing = [stage.name for stage in plan.components if stage.key not in store]
        if missing:
            raise ComponentMissing(f"not compiled yet: {', '.join(missing)}")
        for stage in plan.stages:
            component = stage.kind == plans.COMPONENT
            yield done(stage.name, stage.key, hit=component, seconds=0.2 if component else 3.0)
            if stage.kind == "base":
                self._fail("build")
        files = {bind.source.name: bind.source for bind in spec.binds if bind.writable}
        files[publish.ISO].write_bytes(ISO)
        files[publish.LOG].write_text("log")
        stages = [done(stage.name, stage.key, hit=False, seconds=3.0) for stage in plan.stages]
        for one in stages:
            del one["event"]
        files[publish.MANIFEST].write_text(
            json.dumps({"build_id": plan.build_id, "key": plan.key, "stages": stages})
        )
        yield {"event": "delivered", "build_id": plan.build_id}

    def _fail(self, kind: str) -> None:
        if self.failures[kind]:
            raise self.failures[kind].pop(0)


@pytest.fixture
def containers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Containers:
    return Containers(settings, monkeypatch)


def _told(result: BuildResult) -> dict[str, tuple[bool, float]]:
    stages = (stage for stage in result.stages if stage["name"].startswith("component-"))
    return {stage["name"]: (stage["hit"], stage["seconds"]) for stage in stages}


def test_a_component_that_is_new_is_compiled_before_the_iso_is_assembled(containers: Containers) -> None:
    result = containers.build()
    assert containers.all.done == [*COMPILED_BOTH, "build"]
    compilations = [one["component"] for one in containers.all.requests if one["request"] == "compile"]
    assert [one["component"]["name"] for one in compilations] == ["tool", "agent"]
    assert containers.all.requests[0]["deliver"] is False
    assert result.iso.read_bytes() == ISO
    assert [stage["name"] for stage in result.stages][:3] == [*BOTH, "base"]
    assert _told(result) == dict.fromkeys(BOTH, (False, COMPILING_SECONDS))
    manifest = json.loads(Path(f"{result.iso}.manifest.json").read_text())
    assert manifest["seconds"] == result.seconds, "one time is told everywhere"
    history = json.loads((containers.settings.project.state_dir / "history.json").read_text())[NAME]
    assert history["component-tool"] == COMPILING_SECONDS
    fields = json.loads(json.dumps(codec.to_data(result)))
    assert {key for stage in fields["stages"] for key in stage} == set(iso_build.STAGE_FIELDS)


@pytest.mark.parametrize("fails", ["", "compile", "build"])
def test_where_memory_is_ample_compilers_work_while_the_builder_does(
    containers: Containers, fails: str
) -> None:
    """The fake compiler waits for the builder to begin, and the builder for all components."""
    containers.docker.memory = 12 * 2**30
    if fails:
        containers.failures[fails] = [StageFailed(f"{fails} failed")]
        with pytest.raises(StageFailed, match=f"{fails} failed"):
            containers.build()
        assert list(containers.settings.output_dir.iterdir()) == []
    else:
        assert _told(containers.build()) == dict.fromkeys(BOTH, (False, COMPILING_SECONDS))
        assert containers.all.done.count("compile") == 2
    assert containers.all.done.count("build") == 1


def test_a_component_that_the_store_lost_is_compiled_before_another_try(containers: Containers) -> None:
    first = containers.build()
    first.iso.unlink()
    containers.stores.clear()
    containers.all.asked.clear()
    result = containers.build()
    assert containers.all.done == ["build", *COMPILED_BOTH, "build"]
    assert result.iso.read_bytes() == ISO
    assert _told(result) == dict.fromkeys(BOTH, (False, COMPILING_SECONDS))


def test_one_component_that_was_there_is_a_hit_beside_one_that_was_compiled(containers: Containers) -> None:
    containers.build()
    (containers.settings.project.root / "docker/build/components/agent/Makefile").write_text("all: edited\n")
    containers.all.asked.clear()
    result = containers.build()
    assert containers.all.done == ["keep", "compile", "keep", "build"]
    assert _told(result) == {"component-tool": (True, 0.1), "component-agent": (False, COMPILING_SECONDS)}


def test_what_is_there_is_not_made_again(containers: Containers) -> None:
    first = containers.build()
    containers.all.asked.clear()
    second = containers.build()
    assert containers.all.done == []
    assert (second.build_id, second.sha256) == (first.build_id, SHA256)
    assert all(stage["hit"] and stage["seconds"] == 0 for stage in second.stages)
    first.iso.unlink()
    third = containers.build()
    assert containers.all.done == ["build"], "components that are there start no toolchain"
    assert _told(third) == dict.fromkeys(BOTH, (True, 0.2))


def test_a_toolchain_that_compiles_nothing_is_not_asked_for_ever(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "_keep", lambda *_: iter(()))
    with pytest.raises(ComponentFailed):
        containers.build()
    assert containers.all.done == ["keep", "compile", "keep"]


def test_components_that_changed_after_the_plan_are_refused(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = containers._keep

    def edited(*arguments: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
        for event in keeping(*arguments):
            yield {**event, "key": "another"} if event["event"] == "done" else event

    monkeypatch.setattr(containers, "_keep", edited)
    with pytest.raises(ComponentFailed, match="changed while"):
        containers.build()
    assert containers.all.done == list(COMPILED_BOTH)


@pytest.mark.parametrize("kind", ["compile", "build"])
def test_the_volume_goes_even_when_the_build_fails(containers: Containers, kind: str) -> None:
    containers.failures[kind] = [StageFailed("failed")]
    with pytest.raises(StageFailed):
        containers.build(cached=False)
    assert {name for spec in containers.all.specs for name in spec.volumes} <= set(containers.docker.removed)
    assert containers.docker.names("volume") == []
    assert list(containers.settings.output_dir.iterdir()) == []


@pytest.mark.parametrize("cached", [True, False])
def test_a_package_that_vanished_costs_no_second_compilation(
    containers: Containers, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    containers.failures["build"] = [PackageVanished("sudo 1 is gone")]
    lock = lay_lock(containers.settings, package("sudo"))
    monkeypatch.setattr(planning, "renew_lock", lambda *_, **__: (lock, []))
    result = containers.build(cached=cached, locked=False)
    assert containers.all.done.count("compile") == 2, "one for each component"
    assert _told(result) == dict.fromkeys(BOTH, (False, COMPILING_SECONDS))


def test_an_iso_without_the_stages_that_make_it_is_not_published(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    building = containers._build
    monkeypatch.setattr(
        containers, "_build", lambda *asked: (e for e in building(*asked) if e.get("name") != "iso")
    )
    with pytest.raises(StageFailed, match="not all of its stages"):
        containers.build()
    assert list(containers.settings.output_dir.iterdir()) == []


def test_offline_nothing_is_fetched_to_compile_either(containers: Containers) -> None:
    for recipe in (BUILDER, TOOLCHAINS["bookworm"]):
        containers.docker.add_image(recipe.tag(containers.settings.project))
    containers.build(offline=True)
    assert "compile" in containers.all.done
    assert all(spec.network == "none" for spec in containers.all.specs)
    assert all(request["offline"] for request in containers.all.requests if "offline" in request)


@pytest.mark.parametrize("there", ["builder", "toolchain-bookworm"])
def test_offline_an_image_that_is_not_there_is_told_before_anything_isdone(
    containers: Containers, there: str
) -> None:
    [lacking] = {"builder", "toolchain-bookworm"} - {there}
    with pytest.raises(WrongUse):
        containers.build(offline=True, cached=False)
    containers.docker.add_image(RECIPES[there].tag(containers.settings.project))
    with pytest.raises(HostUnfit) as caught:
        containers.build(offline=True)
    assert caught.value.where == RECIPES[lacking].tag(containers.settings.project)
    assert containers.all.asked == []
