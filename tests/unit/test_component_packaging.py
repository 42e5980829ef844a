"""The debian/ folder that a source does not bring, as dpkg, make and the shell read it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.iso import deb
from synos_tasks.iso.components import recipe, source
from synos_tasks.iso.components.recipe import Component

# debian/changelog of the source package hello
CHANGELOG = """\
hello (2.10-3) unstable; urgency=medium

  * Update standards-version to 4.6.2.

 -- Santiago Vila <sanvila@debian.org>  Mon, 26 Dec 2022 16:30:00 +0100

hello (2.10-2) unstable; urgency=medium

  * Add simple autopkgtest.

 -- Santiago Vila <sanvila@debian.org>  Mon, 13 May 2019 18:10:00 +0200
"""
SYSTEMS = ("cargo", "cmake", "make", "meson")
NASTY = ("-DLIST=a;b", "X=#1", "Y=a&b|c", "Z=(*)", "T=~", "G=>f", "{}", "%s", "--opt=ä")


def component(build: str = "make", **fields: Any) -> Component:  # noqa: ANN401
    plain = {"name": "tool", "description": "A tool", "version": "1.0", "source": ("folder", "tool", "")}
    return Component(**{**plain, "build": build, **fields})


def commands(rules: str, *words: str) -> list[list[str]]:
    """Return what the shell sees of the commands of debian/rules that begin with words."""
    recipes = [line[1:] for line in rules.replace("\\\n", " ").split("\n") if line.startswith("\t")]
    return [found for line in recipes if (found := shell_words(line))[: len(words)] == list(words)]


def shell_words(line: str) -> list[str]:
    """Split as a shell does, for which ; & | < > end a word too."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


PACKAGES = st.lists(st.from_regex(recipe.NAME, fullmatch=True), max_size=3).map(tuple)
DESCRIPTION = st.from_regex(recipe.RECIPE.fields["description"].pattern, fullmatch=True).filter(str.strip)


@given(DESCRIPTION, PACKAGES, PACKAGES)
def test_whatever_a_recipe_may_say_stays_in_its_field(
    description: str, depends: tuple[str, ...], build_depends: tuple[str, ...]
) -> None:
    tool = component(description=description, depends=depends, build_depends=build_depends)
    stanzas = source.generated(tool)["control"].split("\n\n")
    assert len(stanzas) == 2
    of_source, binary = (deb.fields(stanza) for stanza in stanzas)
    assert binary["Description"] == description
    assert binary["Depends"].split(", ")[:-2] == list(depends)
    assert of_source["Build-Depends"].split(", ")[1:] == list(build_depends)
    assert of_source["Rules-Requires-Root"] == "no", "the builder is not root"
    assert set(binary) == {"Package", "Architecture", "Depends", "Description"}
    assert set(of_source) - set(binary) == {
        "Source", "Section", "Priority", "Maintainer", "Build-Depends", "Standards-Version", "Rules-Requires-Root",
    }  # fmt: skip


def test_a_generated_changelog_has_the_version_and_no_clock() -> None:
    text = source.generated(component(version="2.0~rc1"))["changelog"]
    assert text.startswith("tool (2.0~rc1) UNRELEASED; urgency=")
    assert re.search(
        r"^ -- [^<>]+ <\S+@\S+>  \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000$", text, re.MULTILINE
    )
    assert text == source.generated(component(version="2.0~rc1"))["changelog"]


def test_files_of_the_source_are_kept(tmp_path: Path) -> None:
    (tmp_path / "debian/source").mkdir(parents=True)
    (tmp_path / "debian/control").write_text("its own")
    (tmp_path / "debian/source/format").write_text("its own")
    source.complete(component(), tmp_path)
    assert (tmp_path / "debian/control").read_text() == "its own"
    assert (tmp_path / "debian/source/format").read_text() == "its own"
    assert (tmp_path / "debian/changelog").read_text().startswith("tool (1.0)")


def test_a_debian_package_gets_an_entry_of_ours_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "debian").mkdir()
    (tmp_path / "debian/changelog").write_bytes(CHANGELOG.encode().replace(b"Santiago", b"J\xe9r\xf4me"))
    (tmp_path / "debian/rules").write_text("its own")
    source.complete(component("debian", name="hello", patches=("fix.patch",)), tmp_path)
    assert sorted(path.name for path in (tmp_path / "debian").iterdir()) == ["changelog", "rules"]
    written = (tmp_path / "debian/changelog").read_bytes()
    assert written.startswith(b"hello (2.10-3+synos1) ")
    assert b" -- J\xe9r\xf4me Vila <" in written, "what is no UTF-8 stays as it is"
    assert (tmp_path / "debian/rules").read_text() == "its own"


def test_our_entry_has_the_date_of_the_newest_and_names_the_patches() -> None:
    """The date becomes SOURCE_DATE_EPOCH: one that is made up would be in the files."""
    tool = component("debian", patches=("hello/a.patch", "hello/b.patch"))
    text = source.with_entry(CHANGELOG, tool)
    assert text.endswith(f"\n\n{CHANGELOG}")
    entry = text.removesuffix(CHANGELOG)
    assert entry.splitlines()[0] == "hello (2.10-3+synos1) UNRELEASED; urgency=medium"
    assert "\n\n  * hello/a.patch\n  * hello/b.patch\n\n" in entry
    assert entry.splitlines()[-2].endswith(">  Mon, 26 Dec 2022 16:30:00 +0100")
    assert "  * Compiled for SynOS.\n" in source.with_entry(CHANGELOG, component("debian"))


@pytest.mark.parametrize("text", ["", "not a changelog\n", CHANGELOG.partition(" -- ")[0]])
def test_a_changelog_that_cannot_be_read_is_left_to_dpkg_to_refuse(text: str) -> None:
    assert source.with_entry(text, component("debian")) == text


@given(st.text(max_size=60), st.text(max_size=60))
def test_an_entry_is_put_above_and_the_rest_left_alone(before: str, behind: str) -> None:
    text = before + CHANGELOG + behind
    assert source.with_entry(text, component("debian")).endswith(text)


OPTION = recipe.RECIPE.fields["options"].items
assert OPTION is not None
OPTIONS = st.lists(
    st.sampled_from(NASTY) | st.from_regex(OPTION.pattern, fullmatch=True), min_size=1, max_size=3
)


@given(OPTIONS)
def test_an_option_is_one_argument_whatever_is_in_it(options: list[str]) -> None:
    for build, words in (("cmake", "dh_auto_configure"), ("meson", "dh_auto_configure"), ("make", "dh_auto_build"), ("cargo", "cargo")):  # fmt: skip
        found = commands(source.rules(component(build, options=tuple(options))), words)
        assert found
        assert all(command[-len(options) :] == options for command in found)


def test_cargo_never_looks_at_the_network_nor_at_a_lock() -> None:
    rules = source.rules(component("cargo"))
    assert [command[:3] for command in commands(rules, "cargo")] == [
        ["cargo", "build", "--release"],
        ["cargo", "test", "--release"],
    ]
    assert all("--offline" in command for command in commands(rules, "cargo"))
    assert commands(rules, "rm") == [["rm", "-f", "Cargo.lock"]]


@pytest.mark.parametrize("build", SYSTEMS)
def test_every_build_is_hardened(build: str) -> None:
    assert "export DEB_BUILD_MAINT_OPTIONS = hardening=+all\n" in source.rules(component(build))
