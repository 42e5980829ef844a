"""Keys change when what matters changes, and downstream of it only."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.iso import plan as planning
from synos_tasks.iso.plan import STAGES, Plan
from synos_tasks.iso.profile import Profile, User

BASE = Profile(name="x", packages=("sudo",), overlays=("overlays/x",), hooks=("hooks/x",))
FILES = {"overlays/x": "1", "hooks/x": "2"}
ALL = set(STAGES)
NOT_ROOTFS = ALL - {"rootfs"}


def _plan(profile: Profile = BASE, *, files: dict[str, str] | None = None, tools: str = "t") -> Plan:
    return planning.make(profile, files=files or FILES, tools=tools, owner=(0, 0))


def _changed(one: Plan, two: Plan) -> set[str]:
    """Names of the stages whose keys differ."""
    return {a.name for a, b in zip(one.stages, two.stages, strict=True) if a.key != b.key}


CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "suite": ({"suite": "trixie"}, ALL),
    "architecture": ({"architecture": "arm64"}, ALL),
    "bootstrapper": ({"bootstrapper": "debootstrap"}, ALL),
    "mirror": ({"mirror": "http://a.example"}, ALL),
    "security_mirror": ({"security_mirror": "http://a.example"}, ALL),
    "suites": ({"suites": ("release",)}, ALL),
    "components": ({"components": ("main", "contrib")}, ALL),
    "packages": ({"packages": ("sudo", "vim")}, ALL),
    "users": ({"users": (User(name="ann"),)}, NOT_ROOTFS),
    "hostname": ({"hostname": "a"}, NOT_ROOTFS),
    "locale": ({"locale": "en_US.UTF-8"}, NOT_ROOTFS),
    "timezone": ({"timezone": "Europe/Berlin"}, NOT_ROOTFS),
    "keyboard": ({"keyboard": ("de", "", "pc105")}, NOT_ROOTFS),
    "name": ({"name": "y"}, NOT_ROOTFS),
    "description": ({"description": "other"}, set()),
    "overlays": ({"overlays": ()}, NOT_ROOTFS),
    "hooks": ({"hooks": ()}, NOT_ROOTFS),
    "compression": ({"compression": "xz"}, {"squashfs", "iso"}),
    "compression_level": ({"compression_level": 19}, {"squashfs", "iso"}),
    "boot": ({"boot": ("bios",)}, {"bootfiles", "iso"}),
    "kernel_arguments": ({"kernel_arguments": ("quiet",)}, {"bootfiles", "iso"}),
    "origins": ({"origins": {"sudo": "elsewhere.yaml:1:1"}}, set()),
}


def test_every_field_of_a_profile_is_looked_at() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Profile)}


@pytest.mark.parametrize("field", CHANGES)
def test_a_change_reaches_the_stages_that_depend_on_it(field: str) -> None:
    change, stages = CHANGES[field]
    assert _changed(_plan(), _plan(dataclasses.replace(BASE, **change))) == stages


@pytest.mark.parametrize("path", FILES)
def test_what_a_file_holds_matters_from_customise_on(path: str) -> None:
    assert _changed(_plan(), _plan(files={**FILES, path: "other"})) == NOT_ROOTFS


def test_tools_matter_everywhere() -> None:
    assert _changed(_plan(), _plan(tools="other")) == ALL


def test_files_of_other_profiles_and_the_owner_do_not_matter() -> None:
    other = planning.make(BASE, files={**FILES, "hooks/other": "9"}, tools="t", owner=(1000, 1000))
    assert _changed(_plan(), other) == set()


def test_the_order_of_hooks_and_overlays_matters() -> None:
    files = {**FILES, "hooks/y": "3"}
    one, two = (
        dataclasses.replace(BASE, hooks=hooks) for hooks in (("hooks/x", "hooks/y"), ("hooks/y", "hooks/x"))
    )
    assert _changed(_plan(one, files=files), _plan(two, files=files)) == NOT_ROOTFS


def test_stages_have_keys_of_their_own_in_order() -> None:
    plan = _plan()
    assert tuple(stage.name for stage in plan.stages) == STAGES
    assert len({stage.key for stage in plan.stages}) == len(STAGES)
    assert plan.key == plan.stages[-1].key


def test_a_plan_is_the_same_tomorrow() -> None:
    assert _plan() == _plan()
    assert planning.digest({"a": 1, "b": [2]}) == planning.digest({"b": [2], "a": 1})


WORDS = st.lists(st.text(max_size=8), max_size=3).map(tuple)
USERS = st.lists(
    st.builds(User, name=st.text(max_size=5), full_name=st.text(), groups=WORDS, password_hash=st.text()),
    max_size=3,
).map(tuple)
PROFILES = st.builds(
    Profile,
    name=st.text(max_size=9),
    packages=WORDS,
    suites=WORDS,
    users=USERS,
    kernel_arguments=WORDS,
    keyboard=st.tuples(st.text(), st.text(), st.text()),
    compression_level=st.integers(),
    origins=st.dictionaries(st.text(), st.text(), max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(PROFILES, st.tuples(st.integers(0), st.integers(0)))
def test_a_plan_survives_its_way_into_the_container(profile: Profile, owner: tuple[int, int]) -> None:
    plan = planning.make(profile, files={}, tools="t", owner=owner)
    assert planning.from_json(json.loads(json.dumps(plan.to_json()))) == plan
