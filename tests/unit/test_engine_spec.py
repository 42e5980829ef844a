"""What a container may do follows from its spec, and nothing else: the arguments that python-on-whales gets."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synos_tasks.engine.labels import BUILDER_CAPABILITIES, labels
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.errors import SettingsError

NAMES = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=12)


@given(
    st.fixed_dictionaries(
        {
            "name": NAMES,
            "capabilities": st.lists(st.sampled_from(BUILDER_CAPABILITIES), unique=True).map(tuple),
            "environment": st.dictionaries(NAMES, NAMES, max_size=3),
            "cpus": st.none() | st.floats(0.5, 64),
            "memory_mb": st.none() | st.integers(64, 10**6),
            "network": st.none() | st.sampled_from(["none", "bridge"]),
            "new_privileges": st.booleans(),
            "terminal": st.booleans(),
        }
    ),
    st.dictionaries(NAMES, st.booleans(), max_size=3),
)
def test_no_spec_without_privileges_reaches_the_host(asked: dict[str, Any], targets: dict[str, bool]) -> None:
    binds = tuple(
        Bind(source=Path("/src") / target, target=f"/{target}", writable=writable)
        for target, writable in targets.items()
    )
    spec = ContainerSpec(image="i", command=("true",), labels=labels("x", "build"), binds=binds, **asked)
    options, memory_mb, network = spec.options(), asked["memory_mb"], asked["network"]
    assert "privileged" not in options
    assert options["cap_drop"] == ["ALL"]
    assert options["cap_add"] == list(asked["capabilities"])
    assert ("no-new-privileges" in options["security_options"]) is not asked["new_privileges"]
    assert not options.keys() & {"pid", "ipc", "uts", "userns", "cgroupns", "publish", "volumes_from"}
    assert not options["devices"]
    assert options["networks"] == ([network] if network else [])
    assert options["memory"] == options["memory_swap"] == (f"{memory_mb}m" if memory_mb else None)
    assert options["cpus"] == asked["cpus"]
    assert options["mounts"] == [
        ["type=bind", f"source=/src/{target}", f"target=/{target}", *([] if writable else ["readonly"])]
        for target, writable in targets.items()
    ]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\0/."), min_size=1), st.booleans())
@example('a,readonly=false,"b"\n', False)  # noqa: FBT003
def test_a_folder_of_any_name_is_one_field_of_the_mount(name: str, writable: bool) -> None:
    bind = Bind(source=Path("/src") / name, target="/x", writable=writable)
    spec = ContainerSpec(name="n", image="i", command=(), labels={}, binds=(bind,))
    line = ",".join(spec.options()["mounts"][0])  # as python-on-whales gives it to the client
    [fields] = csv.reader(io.StringIO(line, newline=""), strict=True)
    assert fields == ["type=bind", f"source={bind.source}", "target=/x", *([] if writable else ["readonly"])]


@pytest.mark.parametrize("name", ["a\rb", "a\r\nb", "\udcff"])
def test_a_name_that_no_mount_can_have_is_told_before_anything_starts(name: str) -> None:
    spec = ContainerSpec(
        name="n", image="i", command=(), labels={}, binds=(Bind(source=Path("/src") / name, target="/x"),)
    )
    with pytest.raises(SettingsError) as caught:
        spec.options()
    assert ascii(name)[1:-1] in caught.value.where
    assert caught.value.hint


def test_privileged_is_there_only_when_asked_for_and_nothing_of_it_is_limited_twice() -> None:
    spec = ContainerSpec(name="n", image="i", command=(), labels={}, capabilities=BUILDER_CAPABILITIES)
    options = dataclasses.replace(spec, privileged=True).options()
    assert options["privileged"]
    assert not options.keys() & {"cap_drop", "cap_add", "security_options"}
    assert "privileged" not in spec.options()


def test_a_volume_that_the_engine_has_to_make_carries_the_labels_of_what_it_is_made_for() -> None:
    one = ContainerSpec(name="n", image="i", command=(), labels={"a": "b"}, volumes={"data": "/v"})
    assert one.options()["mounts"] == [["type=volume", "source=data", "target=/v", "volume-label=a=b"]]
