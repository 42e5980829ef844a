"""Keys change when what matters changes, and downstream of it only; a plan is its stages and nothing of the host."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.build.planning import read_profile
from synos_tasks.errors import ProfileError
from synos_tasks.iso import codec, digests
from synos_tasks.iso import plan as planning
from synos_tasks.iso import profile as profiles
from synos_tasks.iso.components import recipe
from synos_tasks.iso.lock import Lock, Package
from synos_tasks.iso.plan import Plan
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.repositories import Repository
from synos_tasks.iso.stages.overlay import BASE_OVERLAY
from tests.unit.plans import (
    ALL,
    BASE,
    COMPONENTS,
    FILES,
    ID_ALONE,
    LAYERS,
    LOCK,
    NOT_THE_MENU,
    STACK,
    changed,
    locked_with,
    planned,
    saying,
    since,
)
from tests.unit.projects import NAME, lay_component, lay_lock, package, project

MORE = (*LAYERS[:2], ("packages-x", ("tmux", "vim")))
CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "suite": ({"suite": "bookworm"}, ALL),
    "architecture": ({"architecture": "arm64"}, NOT_THE_MENU),
    "bootstrapper": ({"bootstrapper": "debootstrap"}, NOT_THE_MENU),
    "mirror": ({"mirror": "http://a.example"}, since("system")),
    "security_mirror": ({"security_mirror": "http://a.example"}, since("system")),
    "suites": ({"suites": ("release",)}, since("system")),
    "areas": ({"areas": ("main", "contrib")}, since("system")),
    "layers": ({"layers": MORE}, since("packages-x")),
    "recommends": ({"recommends": True}, set()),
    "components": ({"components": ("tool",)}, since("system") | {"component-tool", "components"}),
    "name": ({"name": "y"}, since("overlay") | {"bootfiles"}),
    "description": ({"description": "other"}, set()),
    "third_parties": (
        {"third_parties": (Repository(name="a", url="http://a.example", suite="./"),)},
        since("system"),
    ),
    "selectors": ({"selectors": {"vim": "=2*"}}, since("system")),
    "debs": ({"debs": (("debs/a.deb", "0"),)}, set()),
    "compression": ({"compression": "xz"}, NOT_THE_MENU),
    "compression_level": ({"compression_level": 19}, NOT_THE_MENU),
    "project": ({"project": "tuxos"}, since("overlay")),
    "title": ({"title": "Tux OS"}, since("overlay") | {"bootfiles"}),
    "ancestors": ({"ancestors": ("y",)}, set()),
    "origins": ({"origins": {"sudo": "elsewhere.yaml:1:1"}}, set()),
    "values": ({"values": {**BASE.values, "of no stage": 1}}, ID_ALONE),
}
VALUES: dict[str, tuple[Any, set[str]]] = {
    "users": ([{"name": "ann"}], since("system")),
    "hostname": ("a", since("system")),
    "services": ({"enable": ["a"]}, since("system")),
    "debconf": (["sudo sudo/a string b"], since("packages-parent")),
    "boot": ({**BASE.values["boot"], "timeout": 9}, ID_ALONE | {"bootfiles"}),
    "kernel_arguments": (["quiet"], ID_ALONE | {"bootfiles"}),
    "overlays": ([], since("overlay")),
    "files": ([{"path": "/a", "content": "b"}], since("overlay")),
    "hooks": ([], since("hook-x")),
    "iso_files": ([{"path": "/a", "source": "overlays/x"}], ID_ALONE),
}


def test_an_answer_that_nobody_asks_for_has_its_place(tmp_path: Path) -> None:
    line = "nano a/b string c"
    profile = dataclasses.replace(BASE, values={"debconf": [line]}, origins={line: "x.yaml:3:5"})
    with pytest.raises(ProfileError) as caught:
        planning.plan_build(tmp_path, profile, LOCK, planning.Tools(builder="t"))
    assert caught.value.where == "x.yaml:3:5"
    assert "nano is not installed" in caught.value.what


@pytest.mark.parametrize("key", VALUES)
def test_a_key_changes_its_stage_and_those_above(key: str) -> None:
    value, wanted = VALUES[key]
    assert changed(planned(), planned(saying(BASE, **{key: value}))) == wanted


def test_every_field_of_a_profile_and_of_a_package_is_looked_at() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Profile)}
    assert set(PACKAGE_CHANGES) == {field.name for field in dataclasses.fields(Package)}


@pytest.mark.parametrize("field", CHANGES)
def test_a_change_reaches_the_stages_that_depend_on_it(field: str) -> None:
    change, stages = CHANGES[field]
    assert changed(planned(), planned(dataclasses.replace(BASE, **change))) == stages


# of the package in the uppermost layer of packages
PACKAGE_CHANGES: dict[str, tuple[str, set[str]]] = {
    "name": ("vim-tiny", since("packages-x")),
    "version": ("2", since("packages-x")),
    "architecture": ("all", since("packages-x")),
    "sha256": ("other", since("packages-x")),
    "layer": ("packages-parent", since("packages-parent")),
    # where a package is, and what only the download is checked against
    "size": ("2", set()),
    "archive": ("security", set()),
    "path": ("elsewhere", set()),
}


@pytest.mark.parametrize("field", PACKAGE_CHANGES)
def test_a_locked_package_reaches_its_layer_and_those_above(field: str) -> None:
    value, stages = PACKAGE_CHANGES[field]
    assert changed(planned(), planned(lock=locked_with(2, **{field: value}))) == stages


def test_a_package_of_the_base_reaches_the_initramfs_too() -> None:
    other = planned(lock=locked_with(0, version="2"))
    assert changed(planned(), other) == NOT_THE_MENU
    assert planned().stage("bootfiles").key != other.stage("bootfiles").key, "the menu shows the build id"


def test_the_date_of_the_lock_matters_everywhere_and_what_asked_for_it_nowhere() -> None:
    fields = {"request", "epoch", "packages", "releases", "repositories"}
    assert {field.name for field in dataclasses.fields(Lock)} == fields
    assert changed(planned(), planned(lock=dataclasses.replace(LOCK, epoch=1))) == ALL
    dated = dataclasses.replace(LOCK, releases={"bookworm": "2026-01-31T12:00:00Z"})
    for lock in (dataclasses.replace(LOCK, request="s"), dated):
        assert changed(planned(), planned(lock=lock)) == set()
        assert planned(lock=lock).build_id == planned().build_id


@pytest.mark.parametrize(
    ("path", "first"),
    [(BASE_OVERLAY, "overlay"), ("overlays/x", "overlay"), ("hooks/x", "hook-x")],
)
def test_what_a_file_holds_matters_from_its_stage_on(path: str, first: str) -> None:
    assert changed(planned(), planned(files={**FILES, path: "other"})) == since(first)


@pytest.mark.parametrize(
    ("field", "reached"), [("overlays", since("overlay")), ("hooks", since("hook-x") | {"hook-y"})]
)
def test_the_order_of_hooks_and_overlays_matters(field: str, reached: set[str]) -> None:
    files = {**FILES, f"{field}/y": "3"}
    orders: list[dict[str, Any]] = [{field: [f"{field}/{name}" for name in order]} for order in ("xy", "yx")]
    one, two = (planned(saying(BASE, **order), files=files) for order in orders)
    assert changed(one, two) == reached


# ---- hooks by stage, and with declared inputs

PARTS = saying(
    BASE,
    hooks=[
        "hooks/late", {"script": "hooks/c", "inputs": ["overlays/x/c"]}, {"script": "hooks/d", "inputs": []},
        {"script": "hooks/last", "stage": "before-squash"}, {"script": "hooks/early", "stage": "after-packages", "inputs": []},
        {"script": "hooks/apart", "stage": "before-squash", "inputs": []},
    ],
)  # fmt: skip
FIRST = saying(PARTS, hooks=PARTS.values["hooks"][1:])
"""Without the hook that may read everything."""
PART_FILES = {
    **FILES,
    "overlays/x/c": "c",
    **{f"hooks/{name}": name for name in ("late", "c", "d", "last", "early", "apart")},
}
ORDERED = [
    "hook-early",
    "system",
    "overlay",
    "hook-late",
    "hook-c",
    "hook-d",
    "hook-last",
    "hook-apart",
    "identity",
]


def test_hooks_are_placed_by_their_stages() -> None:
    assert [stage.name for stage in planned(PARTS, files=PART_FILES).layers][3:] == ORDERED


@pytest.mark.parametrize(
    ("profile", "path", "same"),
    [
        # what reads all that is below it is run again, and then what is above that
        (PARTS, "overlays/x", {"hook-early", "system"}),
        (PARTS, "hooks/d", set(ORDERED[:5])),
        (FIRST, "overlays/x", {"hook-early", "system", "hook-c", "hook-d"}),
        (FIRST, "overlays/x/c", {"hook-early", "system", "overlay"}),
        (FIRST, "hooks/early", set()),
    ],
)
def test_a_hook_with_inputs_is_run_again_for_these_and_the_layers_below_but_overlays(
    profile: Profile, path: str, same: set[str]
) -> None:
    one, two = planned(profile, files=PART_FILES), planned(profile, files={**PART_FILES, path: "other"})
    assert {layer.name for layer in one.layers[3:]} - changed(one, two) == same
    keys = [plan.initramfs_layers({plan.stage("hook-last").key}) for plan in (one, two)]
    assert one.initramfs_key(keys[0]) != two.initramfs_key(keys[1]), "it covers all layers"
    above = [layer.key for layer in one.layers if layer.apart]
    assert one.initramfs_layers({one.stage("overlay").key})[-1] == above[-1]
    assert one.initramfs_layers({one.stage("system").key})[-1] == one.stage("system").key
    assert one.stage("identity").key != two.stage("identity").key


@pytest.mark.parametrize("values", [{"files": [{"path": "/a", "content": "b"}]}, {"overlays": []}])
def test_what_lies_where_matters_to_hooks_with_inputs(values: dict[str, Any]) -> None:
    one, two = planned(FIRST, files=PART_FILES), planned(saying(FIRST, **values), files=PART_FILES)
    assert {"hook-c", "hook-d"} <= changed(one, two)
    assert "hook-early" not in changed(one, two)


WITH = dataclasses.replace(BASE, components=("tool", "agent"))
ABOVE = {"components", *since("system")}
"""The layer of components, those above it, and the ISO."""
KINDS = {
    "base": NOT_THE_MENU,
    "packages": since("packages-parent"),
    "system": since("system"),
    "overlay": since("overlay"),
    "hooks": since("hook-x"),
    "components": ABOVE,
    "identity": ID_ALONE,
    "initramfs": ID_ALONE | {"initramfs"},
    "squashfs": ID_ALONE | {"squashfs"},
    "bootfiles": ID_ALONE | {"bootfiles"},
    "iso": ID_ALONE,
}


def _with_code(monkeypatch: pytest.MonkeyPatch, function: str, one: str) -> None:
    """Let one module have other code than it has."""
    before: Callable[[str], str] = getattr(digests, function)
    monkeypatch.setattr(digests, function, lambda module: "other" if module == one else before(module))


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_of_a_stage_matters_for_that_stage(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = WITH if kind == "components" else BASE
    before = planned(profile, release=True)
    _with_code(monkeypatch, "of_module", f"synos_tasks.iso.stages.{kind}")
    after = planned(profile, release=True)
    below_squashfs = {"squashfs"} if "identity" in KINDS[kind] else set()
    assert changed(before, after) == KINDS[kind] | below_squashfs
    asked = {
        one.kind
        for one, two in zip(before.stages, after.stages, strict=True)
        if one.why.get("code") != two.why.get("code")
    }
    assert asked == {kind}


@pytest.mark.parametrize(
    ("module", "stages"),
    [("tools", NOT_THE_MENU | {"bootfiles"}), ("tree", NOT_THE_MENU), ("stages.squashfs", NOT_THE_MENU), ("layers", NOT_THE_MENU),
     ("run", ID_ALONE | {"bootfiles", "initramfs"}), ("report", set())],
)  # fmt: skip
def test_code_that_stages_share_matters_to_those_that_share_it(
    module: str, stages: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = planned()
    _with_code(monkeypatch, "of_module_alone", f"synos_tasks.iso.{module}")
    assert changed(before, planned()) == stages


# ---- what a plan consists of


def test_a_release_has_a_squashfs_of_all_layers() -> None:
    plan = planned(release=True)
    assert plan.stage_names == [*STACK, "initramfs", "squashfs", "bootfiles", "iso"]
    assert plan.stage("squashfs").why["stage identity"] == plan.stage("identity").key
    assert changed(planned(), plan) == ID_ALONE | {"squashfs"}, "the layers below are the same"


@pytest.mark.parametrize(
    ("said", "release", "layers"),
    [(("zstd", 3), ("xz", 0), ("zstd", 3)), (("zstd", 14), ("xz", 0), ("zstd", 14)),
     (("zstd", 15), ("zstd", 15), ("zstd", 15)), (("xz", 3), ("xz", 3), ("xz", 3))],
)  # fmt: skip
def test_compression_for_speed_is_not_for_a_release(
    said: tuple[str, int], release: tuple[str, int], layers: tuple[str, int]
) -> None:
    profile = dataclasses.replace(BASE, compression=said[0], compression_level=said[1])
    assert planning.release_compression(profile) == release
    assert planning.layer_compression(profile, release=False) == layers
    assert planning.layer_compression(profile, release=True) == ("zstd", 3)


def test_a_plan_asks_neither_the_clock_nor_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    before = planned()

    def asked(*_: object) -> NoReturn:
        raise AssertionError("a key must not depend on it")

    for module, names in (
        (time, ("time", "time_ns", "localtime", "gmtime")),
        (os, ("getuid", "geteuid", "getgid", "getegid", "getcwd", "uname", "umask", "cpu_count", "getenv")),
        (socket, ("gethostname", "getfqdn")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, asked)
    assert planned() == before


def test_two_clones_have_the_same_keys(tmp_path: Path) -> None:
    plans = []
    for clone in ("one", "two"):
        build = tmp_path / clone / "docker/build"
        for name in ("profiles/x.yaml", f"{BASE_OVERLAY}/a", "overlays/x/b", "hooks/x"):
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            (build / name).write_text("overlays: [overlays/x]\nhooks: [hooks/x]\n")
        (build / "hooks/x").write_text("#!/bin/sh\n")
        plans.append(
            planning.plan_build(
                build, profiles.load(build / "profiles", "x"), LOCK, planning.Tools(builder="t")
            )
        )
    one, two = plans
    assert (one.stages, one.build_id) == (two.stages, two.build_id)
    assert one.profile.origins != two.profile.origins, "paths are there for errors, and for them alone"


TEXT = st.text(max_size=8)
WORDS = st.lists(TEXT, max_size=3).map(tuple)
PROFILES = st.builds(
    Profile,
    name=TEXT,
    layers=st.lists(st.tuples(TEXT, WORDS), max_size=3, unique_by=lambda layer: layer[0]).map(tuple),
    suites=WORDS,
    compression_level=st.integers(),
    origins=st.dictionaries(TEXT, TEXT, max_size=3),
    values=st.dictionaries(TEXT, TEXT | st.lists(TEXT, max_size=2) | st.integers(), max_size=2),
)
INPUTS = st.dictionaries(TEXT, TEXT, max_size=3)
COMPILED = st.dictionaries(TEXT, INPUTS, max_size=4)


@settings(max_examples=80, deadline=None)
@given(PROFILES, st.builds(Lock), COMPILED, st.booleans())
def test_a_plan_survives_its_way_into_the_container(
    profile: Profile, lock: Lock, components: dict[str, dict[str, str]], release: bool
) -> None:
    profile = dataclasses.replace(profile, components=tuple(components))
    plan = planned(profile, lock, components=components, release=release)
    back = codec.from_data(planning.Plan, json.loads(json.dumps(codec.to_data(plan))))
    assert back == plan
    assert [stage.key for stage in back.components] == [recipe.key_of(one) for one in components.values()]


# ---- components: stages of their own come first


@pytest.mark.parametrize("name", ["tool", "agent"])
def test_what_a_component_is_made_of_reaches_its_layer_and_those_above(name: str) -> None:
    after = planned(WITH, components={**COMPONENTS, name: {"source": "edited"}})
    assert changed(planned(WITH), after) == ABOVE | {f"component-{name}"}
    assert after.build_id != planned(WITH).build_id


def test_a_components_key_is_of_what_it_is_made_of_alone() -> None:
    other = dataclasses.replace(WITH, name="y", components=("agent",))
    one, two = planned(WITH), planned(other, dataclasses.replace(LOCK, epoch=1), tools="others")
    assert one.stage("component-agent") == two.stage("component-agent")
    assert one.stage("component-agent").key == recipe.key_of(COMPONENTS["agent"])


def test_the_order_of_components_and_packages_below_reach_their_layer_and_no_compilation() -> None:
    turned = dataclasses.replace(WITH, components=("agent", "tool"))
    assert changed(planned(WITH), planned(turned)) == ABOVE
    assert changed(planned(WITH), planned(WITH, locked_with(2, version="2"))) == ABOVE | {"packages-x"}


def test_a_component_on_disk_and_the_toolchain_matter_where_something_is_compiled(tmp_path: Path) -> None:
    settings, docker_build = project(tmp_path), tmp_path / "docker/build"
    profile = docker_build / f"profiles/{NAME}.yaml"
    profile.write_text("packages: [live-boot, sudo]\ncomponents: [tool]\n")
    for name in ("tool", "other"):
        lay_component(docker_build, name)

    def plan(toolchain: str = "t") -> Plan:
        lock = lay_lock(settings, package("sudo"))
        tools = planning.Tools(builder="b", toolchain=toolchain)
        return planning.plan_build(docker_build, read_profile(settings, NAME), lock, tools)

    before, reached = plan(), ABOVE - {"hook-x"} | {"component-tool"}
    (docker_build / "components/other/Makefile").write_text("all:\n")
    assert plan() == before, "another component"
    assert changed(before, plan(toolchain="newer")) == reached
    (docker_build / "components/tool/Makefile").write_text("all:\n")
    assert changed(before, plan()) == reached
    profile.write_text("packages: [live-boot, sudo]\n")
    assert plan() == plan(toolchain="newer")
