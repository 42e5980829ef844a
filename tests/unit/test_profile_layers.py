"""Packages by layer: a profile that adds some leaves the layers of its ancestors as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.iso import profile as profiles

SHIPPED = Path(__file__).resolve().parents[2] / "docker/build/profiles"
PARENT = "packages: [linux-image-amd64, live-boot, sudo, vim]\n"


def _layers(folder: Path, **texts: str) -> dict[str, tuple[str, ...]]:
    """Write profiles, then give the layers of the one named x."""
    for name, text in {"parent": PARENT, **texts}.items():
        (folder / f"{name}.yaml").write_text(text)
    return dict(profiles.load(folder, "x").layers)


def test_what_boots_is_the_base_and_each_profile_has_a_layer(tmp_path: Path) -> None:
    layers = _layers(
        tmp_path, mid="inherits: parent\npackages: [tmux]\n", x="inherits: mid\npackages: [htop]\n"
    )
    assert list(layers.items()) == [
        ("base", ("linux-image-amd64", "live-boot")),
        ("packages-parent", ("sudo", "vim")),
        ("packages-mid", ("tmux",)),
        ("packages-x", ("htop",)),
    ]


@pytest.mark.parametrize(
    ("name", "boots"),
    [("linux-image-amd64", True), ("linux-image-6.1.0-37-rt-amd64", True), ("initramfs-tools-core", True),
     ("live-boot", True), ("live-config-systemd", True), ("systemd-sysv", True), ("user-setup", True),
     ("linux-headers-amd64", False), ("systemd", False), ("live-tools", False), ("live-bootx", False),
     ("not-linux-image", False)],
)  # fmt: skip
def test_what_belongs_to_the_base(tmp_path: Path, name: str, boots: bool) -> None:
    layers = _layers(tmp_path, x=f"packages: [{name}]\n")
    assert layers == ({"base": (name,)} if boots else {"base": (), "packages-x": (name,)})


def test_what_boots_goes_into_the_base_whoever_asks_for_it(tmp_path: Path) -> None:
    layers = _layers(tmp_path, x="inherits: parent\npackages: [user-setup]\n")
    assert layers["base"] == ("linux-image-amd64", "live-boot", "user-setup")
    assert "packages-x" not in layers


def test_a_minus_takes_a_package_out_of_the_ancestors_layer(tmp_path: Path) -> None:
    layers = _layers(tmp_path, x="inherits: parent\npackages: [-vim, tmux]\n")
    assert layers["packages-parent"] == ("sudo",)
    assert layers["packages-x"] == ("tmux",)


def test_what_is_put_back_belongs_to_who_put_it_back(tmp_path: Path) -> None:
    layers = _layers(
        tmp_path, mid="inherits: parent\npackages: [-sudo]\n", x="inherits: mid\npackages: [sudo]\n"
    )
    assert layers["packages-parent"] == ("vim",)
    assert layers["packages-x"] == ("sudo",)


@pytest.mark.parametrize(("child", "parent"), [("standard", "minimal"), ("desktop", "standard")])
def test_shipped_profiles_share_the_layers_of_those_they_inherit_from(child: str, parent: str) -> None:
    own, inherited = (profiles.load(SHIPPED, name).layers for name in (child, parent))
    assert own[: len(inherited)] == inherited


NAMES = st.sampled_from(["a", "b", "c", "live-boot", "linux-image-amd64"])
LISTS = st.lists(st.builds(str.__add__, st.sampled_from(["", "", "-"]), NAMES), max_size=5)
CHAINS = st.lists(LISTS, min_size=1, max_size=4).map(
    lambda lists: [(f"p{i}", one) for i, one in enumerate(lists)]
)


@given(CHAINS)
def test_packages_are_what_adding_and_removing_leaves_each_in_one_layer(
    chain: list[tuple[str, list[str]]],
) -> None:
    left: set[str] = set()
    for entry in (entry for _, listed in chain for entry in listed):
        left = left - {entry[1:]} if entry.startswith("-") else left | {entry}
    layers = dict(profiles._layers(chain))
    assert sorted(name for names in layers.values() for name in names) == sorted(left)
    assert set(layers["base"]) == {name for name in left if profiles.BASE.fullmatch(name)}
    assert list(layers) == sorted(layers), "the oldest ancestor is the lowest"


@given(CHAINS, st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=4))
def test_a_profile_that_only_adds_leaves_all_below_as_it_is(
    chain: list[tuple[str, list[str]]], added: list[str]
) -> None:
    before = profiles._layers(chain)
    assert profiles._layers([*chain, ("px", added)])[: len(before)] == before
