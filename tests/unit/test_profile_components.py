"""Components of a profile: what is inherited, what they need to run, and where a mistake stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.errors import ComponentError, ProfileError
from synos_tasks.iso import profile as profiles
from tests.unit.projects import lay_component

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.profile import Profile


@pytest.fixture(autouse=True)
def recipes(tmp_path: Path) -> None:
    """Three components; two of them need something to run, one of it in common."""
    lay_component(tmp_path, "agent", depends=["less", "adduser"])
    lay_component(tmp_path, "tool", depends=["less"])
    lay_component(tmp_path, "welcome")
    (tmp_path / "profiles").mkdir()


def _load(docker_build: Path, **texts: str) -> Profile:
    """Write profiles, then load the one named x."""
    for name, text in texts.items():
        (docker_build / f"profiles/{name}.yaml").write_text(text)
    return profiles.load(docker_build / "profiles", "x")


@pytest.mark.parametrize(
    ("base", "mid", "x", "wanted"),
    [
        ("", "", "welcome, agent, tool", ("welcome", "agent", "tool")),
        ("tool", "", "welcome, tool, agent", ("tool", "welcome", "agent")),
        ("agent, tool", "", "-agent", ("tool",)),
        ("agent, tool", "-agent", "agent", ("tool", "agent")),
    ],
    ids=["in their order", "inherited ones first, each once", "a minus takes one out", "put back"],
)
def test_components_are_those_of_all_profiles(
    tmp_path: Path, base: str, mid: str, x: str, wanted: tuple[str, ...]
) -> None:
    areas = "mirrors: {components: [main, contrib]}\n"  # something else
    loaded = _load(
        tmp_path,
        base=f"{areas}components: [{base}]\n",
        mid=f"inherits: base\ncomponents: [{mid}]\n",
        x=f"inherits: mid\ncomponents: [{x}]\n",
    )
    assert (loaded.components, loaded.areas) == (wanted, ("main", "contrib"))


def test_what_a_component_needs_joins_the_layer_of_the_profile_that_names_it(tmp_path: Path) -> None:
    loaded = _load(
        tmp_path,
        base="packages: [vim]\ncomponents: [tool]\n",
        x="inherits: base\npackages: [sudo]\ncomponents: [agent]\n",
    )
    assert loaded.layers == (
        ("base", ()),
        ("packages-base", ("less", "vim")),
        ("packages-x", ("adduser", "sudo")),  # less is in a layer below
    )


def test_a_component_that_is_taken_out_takes_with_it_what_nobody_else_needs(tmp_path: Path) -> None:
    child = "inherits: base\ncomponents: [-agent]\n"
    loaded = _load(tmp_path, base="packages: [vim]\ncomponents: [agent, tool]\n", x=child)
    assert loaded.layers == (("base", ()), ("packages-base", ("less", "vim")))
    loaded = _load(tmp_path, base="packages: [adduser]\ncomponents: [agent]\n", x=child)
    assert loaded.packages == ("adduser",), "somebody asked for it"


@pytest.mark.parametrize(
    ("name", "hint"), [("agnet", "did you mean 'agent'?"), ("zzz", "there are: agent, tool, welcome")]
)
def test_an_unknown_component_is_named_with_its_place(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(ComponentError) as caught:
        _load(tmp_path, x=f"packages: [sudo]\ncomponents:\n  - tool\n  - {name}\n")
    assert caught.value.what == f"there is no component '{name}'"
    assert caught.value.where == f"{tmp_path / 'profiles/x.yaml'}:4:5"
    assert caught.value.hint == hint


def test_a_mistake_in_a_recipe_points_into_it_unless_the_component_is_taken_out(tmp_path: Path) -> None:
    (tmp_path / "components/broken.yaml").write_text("description: A tool.\nbiuld: make\n")
    with pytest.raises(ComponentError) as caught:
        _load(tmp_path, x="components: [broken]\n")
    assert caught.value.where == f"{tmp_path / 'components/broken.yaml'}:2:1"
    loaded = _load(tmp_path, base="components: [broken]\n", x="inherits: base\ncomponents: [-broken]\n")
    assert loaded.components == ()


@pytest.mark.parametrize(
    ("texts", "file", "place"),
    [
        ({"x": "suite: trixie\ncomponents: [welcome, tool]\n"}, "x", "2:14"),
        ({"base": "components: [welcome]\n", "x": "inherits: base\nsuite: trixie\n"}, "base", "1:14"),
        ({"base": "suite: trixie\n", "x": "inherits: base\ncomponents:\n  - welcome\n"}, "x", "3:5"),
    ],
    ids=["both in one", "component inherited", "suite inherited"],
)
def test_another_suite_than_that_of_the_toolchain_is_refused(
    tmp_path: Path, texts: dict[str, str], file: str, place: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        _load(tmp_path, **texts)
    assert caught.value.what == "component welcome does not go into a profile of trixie"
    assert caught.value.where == f"{tmp_path / 'profiles'}/{file}.yaml:{place}"
    assert "`- -welcome`" in caught.value.hint


@pytest.mark.parametrize("entry", ["Tool", "../tool", "a b", "--tool", "x"])
def test_what_cannot_be_a_component_is_a_mistake_of_the_profile(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ProfileError) as caught:
        _load(tmp_path, x=f"components: ['{entry}']\n")
    assert caught.value.where == f"{tmp_path / 'profiles/x.yaml'}:1:14"


ENTRIES = st.lists(st.sampled_from(["a", "b", "c", "-a", "-b", "-c"]), max_size=5)


@given(st.lists(ENTRIES, min_size=1, max_size=4))
def test_a_minus_is_for_what_is_inherited_and_the_rest_adds_up(chain: list[list[str]]) -> None:
    merged: dict[str, list[str]] = {}
    for entries in chain:
        before = merged.get("components", [])
        profiles._merge(merged, {"components": entries})
        now = merged["components"]
        kept = [name for name in before if f"-{name}" not in entries]
        assert len(set(now)) == len(now)
        assert set(now) == set(kept) | {entry for entry in entries if not entry.startswith("-")}
        assert now[: len(kept)] == kept
