"""Components on the host: what a container is asked for, what its events tell, and which files it may lay down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from synos_tasks.build import components, planning
from synos_tasks.build.components import Compiler
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import ClaimFailed, ComponentFailed, StageFailed
from synos_tasks.iso import protocol
from synos_tasks.iso.protocol import Done
from synos_tasks.settings import Settings
from tests.unit.fakes import DEB, FakeToolchain
from tests.unit.projects import NAME, lay_component, lay_lock, project


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = project(tmp_path)
    lay_component(made.project.root / "docker/build", "tool")
    lay_component(made.project.root / "docker/build", "agent", depends=["less"])
    return made


class Containers(FakeToolchain):
    """Those of a project with two components."""

    def have(self, *names: str, **place: Any) -> list[Done]:  # noqa: ANN401
        return Compiler(self.context, "trixie", **place).ensure(names)

    def compile(self, output: Path, *names: str, cached: bool = True) -> list[Done]:
        return components.compile_all(self.context, dict.fromkeys(names, "trixie"), output, cached=cached)

    def of(self, kind: str) -> list[tuple[ContainerSpec, Mapping[str, Any]]]:
        """Return the containers that were asked for something."""
        return [(spec, request) for spec, request in self.all.asked if request["request"] == kind]


@pytest.fixture
def containers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Containers:
    return Containers(settings, monkeypatch)


def test_the_key_is_that_of_the_plan(containers: Containers) -> None:
    """Otherwise a build would look for what was compiled, and not find it."""
    root = containers.settings.project.root
    (root / f"docker/build/profiles/{NAME}.yaml").write_text("components: [agent, tool]\n")
    profile = planning.read_profile(containers.settings, NAME)
    plan = planning.plan_build(containers.context, profile, lay_lock(containers.settings), release=False)
    made = containers.have(*profile.components)
    assert [(one.name, one.key) for one in made] == [(stage.name, stage.key) for stage in plan.components]


def test_each_component_has_a_container_and_a_volume_of_its_own(containers: Containers) -> None:
    made = containers.have("tool", "agent")
    assert [(one.name, one.hit) for one in made] == [("component-tool", False), ("component-agent", False)]
    specs = [spec for spec, _ in containers.of("compile")]
    own = [{name for name, path in spec.volumes.items() if path == "/packages"} for spec in specs]
    assert len(set.union(*own)) == len({spec.name for spec in specs}) == 2


def test_packages_are_laid_down_and_nothing_beside_them(containers: Containers, tmp_path: Path) -> None:
    made = containers.compile(tmp_path / "out", "tool", "agent")
    assert [one.name for one in made] == ["component-tool", "component-agent"]
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == {"tool_1.0_amd64.deb": DEB, "agent_1.0_amd64.deb": DEB}


@pytest.mark.parametrize("cached", [True, False])
def test_without_cache_neither_the_store_nor_the_compilers_caches_are_there(
    containers: Containers, tmp_path: Path, cached: bool
) -> None:
    containers.compile(tmp_path / "out", "tool", cached=cached)
    volumes = {name for spec in containers.all.specs for name in spec.volumes}
    own = {containers.settings.project.store_volume, "synos-test-ccache.tool", "synos-test-sccache.tool"}
    assert own & volumes == (own if cached else set())
    assert set(containers.docker.names("volume")) == (own if cached else set())
    assert len(volumes - own) == (1 if cached else 2)
    assert set(containers.docker.removed) == volumes - own


@pytest.mark.parametrize("delivered", [b"another", b"", None])
def test_a_package_that_is_not_what_the_container_told_is_refused(
    containers: Containers, tmp_path: Path, delivered: bytes | None
) -> None:
    containers.delivered = delivered
    with pytest.raises((ComponentFailed, StageFailed)) as caught:
        containers.compile(tmp_path / "out", "tool", cached=False)
    assert caught.value.where.endswith("tool_1.0_amd64.deb")
    assert list((tmp_path / "out").iterdir()) == []
    assert containers.docker.names("volume") == []


def test_a_link_is_no_package(containers: Containers, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(DEB)
    containers.link = tmp_path / "precious"
    with pytest.raises(StageFailed):
        containers.compile(tmp_path / "out", "tool")
    assert list((tmp_path / "out").iterdir()) == []


def test_profiles_that_have_a_component_are_told_and_broken_ones_have_none(settings: Settings) -> None:
    folder = settings.project.root / "docker/build/profiles"
    (folder / "a.yaml").write_text("components: [tool]\n")
    (folder / "b.yaml").write_text("inherits: a\ncomponents: [agent]\n")
    (folder / "c.yaml").write_text("inherits: b\nsuite: bookworm\ncomponents: [-tool]\n")
    (folder / "broken.yaml").write_text("components: [tool, nothing]\n")
    said = list[str]()
    users = components.users_of(settings, said.append)
    assert [line.partition(":")[0] for line in said] == ["which components profile broken has is not known"]
    assert {name: [one.name for one in them] for name, them in users.items()} == {
        "agent": ["b", "c"],
        "tool": ["a", "b"],
    }


def test_what_a_components_build_prints_stands_for_no_component(containers: Containers) -> None:
    answer = containers.all.answer
    forged = {"event": "done", "name": "component-agent", "key": "k", "hit": True, "seconds": 1, "bytes": 1}

    def forging(spec: ContainerSpec, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        yield from [forged] * (request["request"] == "compile")
        yield from answer(spec, request)

    containers.all.answer = forging
    made = containers.have("tool", "agent")
    assert [(one.name, one.hit) for one in made] == [("component-tool", False), ("component-agent", False)]


def test_caches_are_verified_by_two_compilations_from_empty_stores(containers: Containers) -> None:
    rates = components.cache_hit_rates(containers.context)
    assert {(one.what, one.hits, one.calls) for one in rates} == {("ccache", 6, 8), ("sccache", 0, 0)}
    stores = {name for spec, _ in containers.of("keep") for name in spec.volumes}
    assert len(stores) == 2
    for spec, request in containers.of("compile"):
        name = request["component"]["component"]["name"]
        assert {f"synos-test-ccache.{name}", f"synos-test-sccache.{name}"} < set(spec.volumes)
        assert not stores & set(spec.volumes)
    with pytest.raises(ClaimFailed, match="ccache answered 75 %"):
        components.check_hit_rates(rates)


def test_how_long_a_compilation_takes_is_told_by_the_last_one(
    containers: Containers, capsys: pytest.CaptureFixture[str]
) -> None:
    for told in ("never timed here, usually minutes", "about 0 s"):
        containers.have("tool")
        assert f"compiling tool for trixie: {told}\n" in capsys.readouterr().out
        containers.stores.clear()


def test_who_waits_for_another_command_that_compiles_can_be_ended(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "POLL_SECONDS", 0.01)
    key = containers.have("tool")[0].key
    containers.stores.clear()

    def ended(event: object) -> None:
        if isinstance(event, protocol.Tick):
            raise StageFailed("the build ended")

    with containers.context.lease(f"component-{key}"), pytest.raises(StageFailed):
        containers.have("tool", on_event=ended)
