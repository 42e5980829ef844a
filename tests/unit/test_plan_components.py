"""Plans with components: stages of their own come first, and their keys reach what they are installed into."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from synos_tasks.build import planning
from synos_tasks.errors import ComponentError
from synos_tasks.iso import code
from synos_tasks.iso import plan as plans
from synos_tasks.iso.components import recipe
from synos_tasks.iso.inputs import Tools
from tests.unit.plans import BASE, COMPONENTS, LOCK, STACK, changed, planned, since
from tests.unit.projects import NAME, lay_component, lay_lock, package, project

if TYPE_CHECKING:
    from pathlib import Path

WITH = dataclasses.replace(BASE, components=("tool", "agent"))
COMPILED = ["component-tool", "component-agent"]
LAYERS = [*STACK[:3], "components", *STACK[3:]]
ABOVE = {"components", *since("system")}
"""The layer of components, those above it, and the ISO."""


def test_components_are_compiled_first_in_the_order_of_the_profile() -> None:
    plan = planned(WITH)
    assert plan.stage_names == [*COMPILED, *LAYERS, "initramfs", "bootfiles", "iso"]
    assert [stage.name for stage in plan.components] == COMPILED
    assert [stage.name for stage in plan.layers] == LAYERS
    assert len({stage.key for stage in plan.stages}) == len(plan.stages)


@pytest.mark.parametrize("name", ["tool", "agent"])
def test_what_a_component_is_made_of_reaches_its_layer_and_those_above(name: str) -> None:
    after = planned(WITH, components={**COMPONENTS, name: {"source": "edited"}})
    assert changed(planned(WITH), after) == ABOVE | {f"component-{name}"}
    assert after.build_id != planned(WITH).build_id


def test_a_components_key_is_of_what_it_is_made_of_alone() -> None:
    other = dataclasses.replace(WITH, name="y", components=("agent",), hostname="h", hooks=())
    one, two = planned(WITH), planned(other, dataclasses.replace(LOCK, epoch=1), tools="others")
    assert one.stage("component-agent") == two.stage("component-agent")
    assert one.stage("component-agent").key == recipe.key_of(COMPONENTS["agent"])


def test_the_order_of_components_matters_to_their_layer() -> None:
    turned = dataclasses.replace(WITH, components=("agent", "tool"))
    assert changed(planned(WITH), planned(turned)) == ABOVE


def test_a_package_of_a_layer_below_reaches_the_components_layer_and_no_compilation() -> None:
    newer = dataclasses.replace(LOCK.packages[2], version="2")
    lock = dataclasses.replace(LOCK, packages=(*LOCK.packages[:2], newer))
    assert changed(planned(WITH), planned(WITH, lock)) == ABOVE | {"packages-x"}


def test_the_code_of_the_layer_matters_to_it_and_those_above(monkeypatch: pytest.MonkeyPatch) -> None:
    before, digest_of = planned(WITH), code.digest_of
    module = "synos_tasks.iso.stages.components"
    monkeypatch.setattr(code, "digest_of", lambda name: "other" if name == module else digest_of(name))
    assert changed(before, planned(WITH)) == ABOVE


class Project:
    """A project whose profile has one component, of all that a component can be made of."""

    def __init__(self, root: Path) -> None:
        self.settings = project(root)
        self.folder = root / "docker/build"
        lay_component(self.folder, "tool", patches=["tool.patch"])
        lay_component(self.folder, "other")
        (self.folder / "components/tool.patch").write_text("--- a\n")
        self.profile = self.folder / f"profiles/{NAME}.yaml"
        self.profile.write_text("packages: [live-boot, sudo]\ncomponents: [tool]\n")

    def plan(self, toolchain: str = "t") -> plans.Plan:
        """Plan it, with a lock that fits."""
        profile = planning.read_profile(self.settings, NAME)
        lock = lay_lock(self.settings, package("sudo"))
        return planning.plan_build(self.settings, profile, lock, Tools(builder="b", toolchain=toolchain))


@pytest.fixture
def known(tmp_path: Path) -> Project:
    return Project(tmp_path)


EDITS = {
    "its source": ("components/tool/Makefile", "all:\n"),
    "a new file": ("components/tool/src/new.c", "int x;\n"),
    "its patch": ("components/tool.patch", "+++ b\n"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_a_component_is_seen(known: Project, edit: str) -> None:
    before = known.plan()
    name, text = EDITS[edit]
    path = known.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert changed(before, known.plan()) == ABOVE - {"hooks"} | {"component-tool"}


def test_other_components_and_what_builds_leave_there_do_not_matter(known: Project) -> None:
    before = known.plan()
    (known.folder / "components/other/Makefile").write_text("all:\n")
    (known.folder / "components/tool/target").mkdir()
    (known.folder / "components/tool/target/tool.o").write_text("o")
    assert known.plan() == before


def test_the_toolchain_matters_where_something_is_compiled_and_only_there(known: Project) -> None:
    before, after = known.plan(), known.plan(toolchain="newer")
    assert changed(before, after) == ABOVE - {"hooks"} | {"component-tool"}
    known.profile.write_text("packages: [live-boot, sudo]\n")
    assert known.plan() == known.plan(toolchain="newer")


@pytest.mark.parametrize("gone", ["components/tool/Makefile", "components/tool.patch"])
def test_what_a_recipe_names_must_be_there(known: Project, gone: str) -> None:
    (known.folder / gone).unlink()
    if gone.endswith("Makefile"):
        (known.folder / gone).parent.rmdir()
    with pytest.raises(ComponentError) as caught:
        known.plan()
    assert caught.value.what.startswith("component tool names tool")
    assert caught.value.where == str(known.folder / "components/tool.yaml")
