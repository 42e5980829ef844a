"""What a container may do follows from its spec, and nothing else: the arguments that python-on-whales gets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine.labels import BUILDER_CAPABILITIES, labels
from synos_tasks.engine.spec import Bind, ContainerSpec

NAMES = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=12)
BUILDER = ContainerSpec(
    name="synos-build-1",
    image="synos-builder",
    command=("python3", "-m", "synos_tasks.iso"),
    labels=labels("synos-0123456789", "build"),
    capabilities=BUILDER_CAPABILITIES,
    binds=(
        Bind(source=Path("/home/me/synos"), target="/project"),
        Bind(source=Path("/home/me/synos/dist"), target="/output", writable=True),
    ),
)


@given(
    name=NAMES,
    network=st.none() | st.sampled_from(["none", "bridge"]),
    capabilities=st.lists(st.sampled_from(BUILDER_CAPABILITIES), unique=True),
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
    network: str | None,
    capabilities: list[str],
    targets: list[str],
    environment: dict[str, str],
    cpus: float | None,
    memory_mb: int | None,
    new_privileges: bool,
    terminal: bool,
) -> None:
    options = ContainerSpec(
        name=name, image="i", command=("true",), labels=labels(name, "build"),
        capabilities=tuple(capabilities), environment=environment, cpus=cpus, memory_mb=memory_mb,
        new_privileges=new_privileges, terminal=terminal, network=network,
        binds=tuple(Bind(source=Path("/src") / target, target=f"/{target}") for target in targets),
    ).options()  # fmt: skip
    assert "privileged" not in options
    assert options["cap_drop"] == ["ALL"]
    assert options["cap_add"] == capabilities
    assert ("no-new-privileges" in options["security_options"]) is not new_privileges
    assert not options.keys() & {"pid", "ipc", "uts", "userns", "cgroupns", "publish", "volumes_from"}
    assert not options["devices"]
    assert options["networks"] == ([network] if network else [])
    assert options["memory"] == options["memory_swap"] == (f"{memory_mb}m" if memory_mb else None)
    assert (options["cpus"], len(options["mounts"])) == (cpus, len(targets))
    assert all(mount[-1] == "readonly" for mount in options["mounts"])
    assert "docker.sock" not in str(options["mounts"])


def test_binds_are_read_only_unless_asked_otherwise() -> None:
    mounts = BUILDER.options()["mounts"]
    assert ["type=bind", "source=/home/me/synos", "target=/project", "readonly"] in mounts
    assert ["type=bind", "source=/home/me/synos/dist", "target=/output"] in mounts


def test_privileged_is_there_only_when_asked_for_and_nothing_of_it_is_limited_twice() -> None:
    options = dataclasses.replace(BUILDER, privileged=True).options()
    assert options["privileged"]
    assert not options.keys() & {"cap_drop", "cap_add", "security_options"}
    assert "privileged" not in BUILDER.options()


def test_a_volume_that_the_engine_has_to_make_carries_the_labels_of_what_it_is_made_for() -> None:
    one = ContainerSpec(name="n", image="i", command=(), labels={"a": "b"}, volumes={"data": "/v"})
    assert one.options()["mounts"] == [["type=volume", "source=data", "target=/v", "volume-label=a=b"]]
