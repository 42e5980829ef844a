"""Components on the host: what a container is asked for, what its events tell, and which files it may lay down."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.build import components, planning
from synos_tasks.build.components import caches_of, ensure_compiled, hit_rates
from synos_tasks.build.planning import Context
from synos_tasks.errors import ClaimFailed, ComponentFailed
from synos_tasks.iso import codec
from synos_tasks.iso.components import recipe
from synos_tasks.iso.protocol import Done, Facts
from tests.unit.fake_docker import FakeDocker
from tests.unit.fakes import FakeContainers, fake_containers
from tests.unit.projects import NAME, lay_component, lay_lock, project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.settings import Settings

DEB = b"a package"
COUNTS = {"ccache": {"hits": 3, "misses": 1}, "sccache": {"hits": 0, "misses": 0}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = project(tmp_path)
    lay_component(made.project.root / "docker/build", "tool")
    lay_component(made.project.root / "docker/build", "agent", depends=["less"])
    return made


class Toolchain:
    """Compiles what it is asked to, unless it is in its store; delivers one .deb for each."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = settings
        self.engine = FakeDocker()
        self.context = Context(settings, self.engine, print)
        self.stored: set[str] = set()
        self.delivered: bytes | None = DEB
        self.file = "{name}_1.0_amd64.deb"
        self.link: Path | None = None
        self.containers: FakeContainers = fake_containers(monkeypatch)
        self.containers.answer = self._compile

    def have(self, *names: str, **place: Any) -> list[Done]:  # noqa: ANN401
        return ensure_compiled(self.context, names, **place)

    def compile(self, output: Path, *names: str, cached: bool = True) -> list[Done]:
        return components.compile_all(self.context, list(names), output, cached=cached)

    def _compile(self, spec: ContainerSpec, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        assert request["request"] == "compile"
        events: list[dict[str, Any]] = [{"event": "warning", "text": "a cache is not used"}]
        for asked in request["components"]:
            component = codec.from_data(recipe.Component, asked["component"])
            file = self.file.format(name=component.name)
            package = {
                "name": component.name, "version": "1.0", "architecture": "amd64", "file": file,
                "sha256": hashlib.sha256(DEB).hexdigest(), "bytes": len(DEB), "installed_bytes": 2048,
            }  # fmt: skip
            for bind in spec.binds:
                if bind.writable and self.link:
                    (bind.source / file).symlink_to(self.link)
                elif bind.writable and request["deliver"] and self.delivered is not None:
                    (bind.source / file).write_bytes(self.delivered)
            events += [
                {"event": "start", "stage": component.stage},
                {
                    "event": "done", "name": component.stage, "key": asked["key"],
                    "hit": component.name in self.stored, "seconds": 1.5, "bytes": len(DEB),
                    "facts": {"packages": [package], "caches": COUNTS},
                },
            ]  # fmt: skip
        return [*events, {"event": "compiled"}]


@pytest.fixture
def toolchain(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Toolchain:
    return Toolchain(settings, monkeypatch)


def test_the_key_is_that_of_the_plan(toolchain: Toolchain) -> None:
    """Otherwise a build would look for what was compiled, and not find it."""
    root = toolchain.settings.project.root
    (root / f"docker/build/profiles/{NAME}.yaml").write_text("components: [agent, tool]\n")
    profile = planning.read_profile(toolchain.settings, NAME)
    plan = planning.plan_build(toolchain.context, profile, lay_lock(toolchain.settings), release=False)
    made = toolchain.have(*profile.components)
    assert [(one.name, one.key) for one in made] == [(stage.name, stage.key) for stage in plan.components]


def test_where_components_are_compiled_and_kept(toolchain: Toolchain, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    toolchain.have(
        "tool", store="other", offline=True, output=tmp_path / "out",
        change=lambda spec: dataclasses.replace(spec, hostname="omega"),
    )  # fmt: skip
    [(spec, request)] = toolchain.containers.asked
    assert (request["offline"], request["deliver"]) == (True, True)
    assert spec.volumes == {"other": "/cache"}
    assert spec.network == "none"
    assert spec.hostname == "omega"
    assert [bind.source for bind in spec.binds if bind.writable] == [tmp_path / "out"]


def test_what_was_compiled_is_told_with_its_hits_and_what_was_there_without(toolchain: Toolchain) -> None:
    toolchain.stored = {"agent"}
    tool, agent = toolchain.have("tool", "agent")
    assert (tool.name, tool.hit, tool.seconds, caches_of(tool)) == ("component-tool", False, 1.5, COUNTS)
    assert (agent.name, agent.hit, caches_of(agent)) == ("component-agent", True, {})
    assert [package.file for package in tool.facts.packages] == ["tool_1.0_amd64.deb"]


def test_packages_are_laid_down_and_nothing_beside_them(toolchain: Toolchain, tmp_path: Path) -> None:
    made = toolchain.compile(tmp_path / "out", "tool", "agent")
    assert [one.name for one in made] == ["component-tool", "component-agent"]
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == {"tool_1.0_amd64.deb": DEB, "agent_1.0_amd64.deb": DEB}


@pytest.mark.parametrize("cached", [True, False])
def test_without_cache_neither_the_store_nor_the_compilers_caches_are_there(
    toolchain: Toolchain, tmp_path: Path, cached: bool
) -> None:
    toolchain.compile(tmp_path / "out", "tool", cached=cached)
    [spec] = toolchain.containers.specs
    own = {toolchain.settings.project.store_volume, "synos-test-ccache", "synos-test-sccache"}
    if cached:
        assert set(spec.volumes) == own == set(toolchain.engine.names("volume"))
    else:
        assert len(spec.volumes) == 1
        assert not own & set(spec.volumes)
        assert toolchain.engine.names("volume") == []
        assert toolchain.engine.removed == list(spec.volumes)


@pytest.mark.parametrize("delivered", [b"another", b"", None])
def test_a_package_that_is_not_what_the_container_told_is_refused(
    toolchain: Toolchain, tmp_path: Path, delivered: bytes | None
) -> None:
    toolchain.delivered = delivered
    with pytest.raises(ComponentFailed) as caught:
        toolchain.compile(tmp_path / "out", "tool", cached=False)
    assert caught.value.where == "tool_1.0_amd64.deb"
    assert list((tmp_path / "out").iterdir()) == []
    assert toolchain.engine.names("volume") == []


@pytest.mark.parametrize("file", ["../{name}.deb", "../../{name}.deb"])
def test_a_package_cannot_be_laid_anywhere_else(toolchain: Toolchain, tmp_path: Path, file: str) -> None:
    toolchain.file = file
    with pytest.raises(ComponentFailed):
        toolchain.compile(tmp_path / "a/b/out", "tool")


@pytest.mark.parametrize(
    "file", ["synos-x.iso", "build.log", "{name}_1.iso", "other_1.0_amd64.deb", ".deb", "{name}_\x1b.deb"]
)
def test_a_package_takes_no_other_name_than_its_own(toolchain: Toolchain, tmp_path: Path, file: str) -> None:
    toolchain.file = file
    (tmp_path / "out").mkdir()
    (tmp_path / "out/synos-x.iso").write_text("earlier")
    with pytest.raises(ComponentFailed):
        toolchain.compile(tmp_path / "out", "tool")
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["earlier"]


def test_a_link_is_no_package(toolchain: Toolchain, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(DEB)
    toolchain.link = tmp_path / "precious"
    with pytest.raises(ComponentFailed):
        toolchain.compile(tmp_path / "out", "tool")
    assert list((tmp_path / "out").iterdir()) == []


def test_profiles_that_have_a_component_are_told_and_broken_ones_have_none(settings: Settings) -> None:
    folder = settings.project.root / "docker/build/profiles"
    (folder / "a.yaml").write_text("components: [tool]\n")
    (folder / "b.yaml").write_text("inherits: a\ncomponents: [agent]\n")
    (folder / "c.yaml").write_text("inherits: b\ncomponents: [-tool]\n")
    (folder / "broken.yaml").write_text("components: [tool, nothing]\n")
    assert components.users_of(settings) == {"agent": ["b", "c"], "tool": ["a", "b"]}


def test_hit_rates_are_of_what_was_compiled() -> None:
    made = Done(name="component-tool", key="k", hit=False, seconds=1.0, bytes=1, facts=Facts(caches=COUNTS))
    other = {**COUNTS, "sccache": {"hits": 7, "misses": 0}}
    two = [dataclasses.replace(made, facts=Facts(caches=other)), dataclasses.replace(made, hit=True)]
    for compiled, counts in (
        ([made], [(3, 4), (0, 0)]),
        ([made, *two], [(6, 8), (7, 7)]),
        ([two[1]], [(0, 0)] * 2),
    ):
        assert [(rate.hits, rate.calls) for rate in hit_rates(compiled)] == counts


def test_what_a_components_build_prints_stands_for_no_other_component(toolchain: Toolchain) -> None:
    answer = toolchain.containers.answer
    forged = {"event": "done", "name": "component-agent", "key": "k", "hit": True, "seconds": 1, "bytes": 1}
    toolchain.containers.answer = lambda *asked: [
        forged,
        *list(answer(*asked))[:-1],
        forged,
        {"event": "compiled"},
    ]
    made = toolchain.have("tool", "agent")
    assert [(one.name, one.hit) for one in made] == [("component-tool", False), ("component-agent", False)]


def test_a_container_that_stops_after_one_compilation_is_followed_by_another(toolchain: Toolchain) -> None:
    answer = toolchain.containers.answer
    first_done = 3  # after a warning and a start
    toolchain.containers.answer = lambda *asked: list(answer(*asked))[:first_done]
    made = toolchain.have("tool", "agent")
    assert [one.name for one in made] == ["component-tool", "component-agent"]
    asked = [len(request["components"]) for request in toolchain.containers.requests]
    assert asked == [2, 1]
    assert len({spec.name for spec in toolchain.containers.specs}) == 2


def test_caches_are_verified_by_two_compilations_from_empty_stores(toolchain: Toolchain) -> None:
    rates = components.cache_hit_rates(toolchain.context)
    assert {(one.what, one.hits, one.calls) for one in rates} == {("ccache", 6, 8), ("sccache", 0, 0)}
    one, two = (set(spec.volumes) for spec in toolchain.containers.specs)
    assert one & two == {"synos-test-ccache", "synos-test-sccache"}
    assert len(one) == len(two) == 3
    with pytest.raises(ClaimFailed, match="ccache answered 75 %"):
        components.check_hit_rates(rates)
