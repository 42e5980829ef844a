"""What a plan consists of: its stages, a release, the way into the container; and what must not appear in it."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.build.planning import plan_build
from synos_tasks.iso import codec
from synos_tasks.iso import plan as planning
from synos_tasks.iso import profile as profiles
from synos_tasks.iso.components import recipe
from synos_tasks.iso.digests import digest
from synos_tasks.iso.inputs import Tools
from synos_tasks.iso.lock import Lock, Package
from synos_tasks.iso.profile import Profile, User
from synos_tasks.iso.stages.overlay import OURS
from synos_tasks.settings import Settings
from tests.unit.plans import BASE, ID_ALONE, LOCK, STACK, changed, planned

if TYPE_CHECKING:
    from pathlib import Path


def test_what_a_stage_is_made_of_decides_over_its_key_and_nothing_else_does() -> None:
    for stage in planned(release=True).stages:
        assert stage.key == digest([stage.kind, stage.why])


def test_a_release_has_a_squashfs_of_all_layers() -> None:
    plan = planned(release=True)
    assert plan.stage_names == [*STACK, "initramfs", "squashfs", "bootfiles", "iso"]
    assert plan.stage("squashfs").why["stage identity"] == plan.stage("identity").key
    assert changed(planned(), plan) == ID_ALONE | {"squashfs"}, "the layers below are the same"


def test_how_a_release_is_compressed_leaves_its_layers_alone() -> None:
    one, two = (
        planned(dataclasses.replace(BASE, compression_level=level), release=True) for level in (19, 22)
    )
    assert changed(one, two) == ID_ALONE | {"squashfs"}


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
        for name in ("profiles/x.yaml", f"{OURS}/a", "overlays/x/b", "hooks/x"):
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            (build / name).write_text("overlay: overlays/x\nhooks: [hooks/x]\n")
        here = Settings(root=tmp_path / clone, project_id=clone)
        plans.append(plan_build(here, profiles.load(build / "profiles", "x"), LOCK, Tools(builder="t")))
    one, two = plans
    assert (one.stages, one.build_id) == (two.stages, two.build_id)
    assert one.profile.origins != two.profile.origins, "paths are there for errors, and for them alone"


TEXT = st.text(max_size=8)
WORDS = st.lists(TEXT, max_size=3).map(tuple)
USERS = st.lists(
    st.builds(User, name=TEXT, full_name=TEXT, groups=WORDS, password_hash=TEXT), max_size=3
).map(tuple)
PROFILES = st.builds(
    Profile,
    name=TEXT,
    layers=st.lists(st.tuples(TEXT, WORDS), max_size=3, unique_by=lambda layer: layer[0]).map(tuple),
    suites=WORDS,
    users=USERS,
    kernel_arguments=WORDS,
    keyboard=st.tuples(TEXT, TEXT, TEXT),
    compression_level=st.integers(),
    origins=st.dictionaries(TEXT, TEXT, max_size=3),
    options=st.dictionaries(TEXT, TEXT | st.lists(TEXT, max_size=2) | st.integers(), max_size=2),
)
PACKAGES = st.lists(
    st.builds(
        Package, name=TEXT, version=TEXT, architecture=TEXT, layer=TEXT, size=st.integers(), sha256=TEXT,
        archive=TEXT, path=TEXT,
    ),
    max_size=3,
).map(tuple)  # fmt: skip
LOCKS = st.builds(Lock, request=TEXT, epoch=st.integers(), packages=PACKAGES)


INPUTS = st.dictionaries(TEXT, TEXT, max_size=3)
COMPILED = st.dictionaries(TEXT, INPUTS, max_size=4)


@settings(max_examples=80, deadline=None)
@given(PROFILES, LOCKS, COMPILED, st.booleans())
def test_a_plan_survives_its_way_into_the_container(
    profile: Profile, lock: Lock, components: dict[str, dict[str, str]], release: bool
) -> None:
    profile = dataclasses.replace(profile, components=tuple(components))
    plan = planned(profile, lock, components=components, release=release)
    back = codec.from_data(planning.Plan, json.loads(json.dumps(codec.to_data(plan))))
    assert back == plan
    assert [stage.key for stage in back.components] == [recipe.key_of(one) for one in components.values()]
