from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine import spec

NAMES = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=12)
BUILDER = spec.ContainerSpec(
    name="synos-build-1",
    image="synos-builder",
    command=("python3", "-m", "synos_tasks.iso"),
    labels=spec.labels("synos-0123456789", "build"),
    capabilities=spec.BUILDER_CAPABILITIES,
    binds=(
        spec.Bind(source=Path("/home/me/synos"), target="/project"),
        spec.Bind(source=Path("/home/me/synos/dist"), target="/output", writable=True),
    ),
    volumes={"synos-store": "/store"},
    anonymous_volumes=("/work",),
    tmpfs={"/tmp": "size=64m"},
    environment={"SOURCE_DATE_EPOCH": "0"},
    cpus=2.0,
    memory_mb=4096,
    pids=2048,
    ulimits={"nofile": "1024:1024"},
)


def values(argv: list[str], option: str) -> list[str]:
    return [word.partition("=")[2] for word in argv if word.startswith(f"{option}=")]


def test_the_capabilities_are_exactly_those_of_the_safety_rule() -> None:
    wanted = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD SETFCAP SETGID SETUID SYS_CHROOT".split()  # noqa: SIM905
    assert list(spec.BUILDER_CAPABILITIES) == wanted


def test_all_capabilities_are_dropped_before_some_are_added() -> None:
    argv = spec.run_argv(BUILDER)
    assert values(argv, "--cap-drop") == ["ALL"]
    assert tuple(values(argv, "--cap-add")) == spec.BUILDER_CAPABILITIES
    assert "--security-opt=no-new-privileges" in argv


def test_a_spec_that_asks_for_nothing_gets_nothing() -> None:
    argv = spec.run_argv(spec.ContainerSpec(name="n", image="i", command=("c",), labels={}))
    assert argv == [
        "docker", "run", "--rm", "--pull=never", "--interactive", "--init", "--name", "n",
        "--cap-drop=ALL", "--security-opt=no-new-privileges", "i", "c",
    ]  # fmt: skip


def test_a_volume_may_be_one_that_is_only_read_and_a_stream_one_that_is_not_logged() -> None:
    reading = dataclasses.replace(BUILDER, volumes={}, anonymous_volumes=(), binds=(), logged=False)
    argv = spec.run_argv(dataclasses.replace(reading, read_only_volumes={"data": "/volume"}))
    assert values(argv, "--mount") == ["type=volume,source=data,target=/volume,readonly"]
    assert "--log-driver=none" in argv
    assert "--log-driver=none" not in spec.run_argv(BUILDER)


def test_binds_are_read_only_unless_asked_otherwise() -> None:
    mounts = values(spec.run_argv(BUILDER), "--mount")
    assert "type=bind,source=/home/me/synos,target=/project,readonly" in mounts
    assert "type=bind,source=/home/me/synos/dist,target=/output" in mounts


def test_limits_leave_no_swap_on_top_of_memory() -> None:
    argv = spec.run_argv(BUILDER)
    assert values(argv, "--memory") == values(argv, "--memory-swap") == ["4096m"]
    assert values(argv, "--cpus") == ["2"]
    assert values(argv, "--pids-limit") == ["2048"]


def test_labels_say_whose_it_is() -> None:
    wanted = ["io.synos.project=synos-0123456789", "io.synos.role=build"]
    assert values(spec.run_argv(BUILDER), "--label") == wanted


def test_privileged_is_there_only_when_asked_for() -> None:
    asked = spec.ContainerSpec(name="n", image="i", command=(), labels={}, privileged=True)
    assert "--privileged" in spec.run_argv(asked)


def test_nothing_of_a_privileged_container_is_limited_twice() -> None:
    """What --privileged gives back, an option that drops it would only seem to take."""
    argv = spec.run_argv(dataclasses.replace(BUILDER, privileged=True))
    assert "--privileged" in argv
    assert not any(word.startswith(("--cap-", "--security-opt")) for word in argv)


def test_programs_gain_privileges_only_where_that_is_asked_for() -> None:
    argv = spec.run_argv(dataclasses.replace(BUILDER, new_privileges=True))
    assert not any("no-new-privileges" in word for word in argv)
    assert values(argv, "--cap-drop") == ["ALL"]
    assert tuple(values(argv, "--cap-add")) == spec.BUILDER_CAPABILITIES


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"entrypoint": "synos-own-dev"}, ["--entrypoint=synos-own-dev"]),
        ({"terminal": True}, ["--tty"]),
        ({"user": "0:0"}, ["--user=0:0"]),
        ({"hostname": "omega"}, ["--hostname=omega"]),
        ({"cpuset": "0-1"}, ["--cpuset-cpus=0-1"]),
        ({"network": "none"}, ["--network=none"]),
    ],
    ids=str,
)
def test_a_field_is_an_option_before_the_image_and_nothing_else(
    fields: dict[str, Any], options: list[str]
) -> None:
    without, argv = spec.run_argv(BUILDER), spec.run_argv(dataclasses.replace(BUILDER, **fields))
    assert sorted(argv) == sorted([*without, *options])
    assert all(argv.index(option) < argv.index(BUILDER.image) for option in options)
    assert argv[argv.index(BUILDER.image) :] == [BUILDER.image, *BUILDER.command]


@given(
    name=NAMES,
    capabilities=st.lists(st.sampled_from(spec.BUILDER_CAPABILITIES), unique=True),
    targets=st.lists(NAMES, max_size=3),
    environment=st.dictionaries(NAMES, NAMES, max_size=3),
    cpus=st.none() | st.floats(0.5, 64),
    memory_mb=st.none() | st.integers(64, 10**6),
    new_privileges=st.booleans(),
    terminal=st.booleans(),
)
def test_no_spec_without_privileges_reaches_the_host(
    *,
    name: str,
    capabilities: list[str],
    targets: list[str],
    environment: dict[str, str],
    cpus: float | None,
    memory_mb: int | None,
    new_privileges: bool,
    terminal: bool,
) -> None:
    made = spec.ContainerSpec(
        name=name, image="i", command=("true",), labels=spec.labels(name, "build"),
        capabilities=tuple(capabilities), environment=environment, cpus=cpus, memory_mb=memory_mb,
        new_privileges=new_privileges, terminal=terminal,
        binds=tuple(spec.Bind(source=Path("/src") / target, target=f"/{target}") for target in targets),
    )  # fmt: skip
    argv = spec.run_argv(made)
    text = " ".join(argv)
    assert "--privileged" not in argv
    assert "--cap-drop=ALL" in argv
    for forbidden in (
        "docker.sock",
        "--device",
        "--pid=",
        "--ipc=",
        "--uts=",
        "--userns=",
        "--network=host",
        "SYS_ADMIN",
    ):
        assert forbidden not in text
    assert all(mount.endswith(",readonly") for mount in values(argv, "--mount"))


def test_a_volume_that_the_engine_has_to_make_carries_the_labels_of_what_it_is_made_for() -> None:
    one = spec.ContainerSpec(name="n", image="i", command=(), labels={"a": "b"}, volumes={"data": "/v"})
    assert "--mount=type=volume,source=data,target=/v,volume-label=a=b" in spec.run_argv(one)
