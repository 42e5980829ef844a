"""Recipes: what they may say, the error for what they may not, and the keys that follow from them."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synos_tasks.errors import ComponentError
from synos_tasks.iso import codec, digests
from synos_tasks.iso.components import recipe
from synos_tasks.iso.components.recipe import Component
from tests.unit.yaml_fuzz import agreed, check_place, damaged, values_of

FULL = b"""description: A tool that does things
license: GPL-2.0-or-later
build: cmake
version: '1.0~rc1'
source:
  git: https://git.example/tool.git
  commit: 0123456789abcdef0123456789abcdef01234567
patches:
  - patches/tool-1.patch
  - patches/tool-2.patch
options: [-DWITH_X=ON, "-DLIST=a;b"]
build_depends:
  - zlib1g-dev
depends: [less]
packages: [tool, tool-doc]
tests: skip
"""
FOLDER = b"description: x\nbuild: make\nversion: '1'\nsource: {folder: tool}\n"
DEBIAN = b"description: x\nbuild: debian\nsource: {package: hello, version: 2.10-3}\n"
SEEDS = [FULL, FOLDER, DEBIAN]
SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck))


def write(folder: Path, data: bytes, name: str = "tool") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_bytes(data)
    return path


def load(folder: Path, data: bytes) -> Component:
    write(folder, data)
    return recipe.load(folder, "tool")


def refused(folder: Path, data: bytes) -> ComponentError:
    with pytest.raises(ComponentError) as caught:
        load(folder, data)
    return caught.value


def component(**fields: Any) -> Component:  # noqa: ANN401
    plain = {"name": "tool", "description": "x", "build": "make", "source": ("folder", "tool", "")}
    return Component(**{**plain, **fields})


def test_a_recipe_that_says_everything(tmp_path: Path) -> None:
    assert load(tmp_path, FULL) == Component(
        name="tool", description="A tool that does things", build="cmake", version="1.0~rc1",
        source=("git", "https://git.example/tool.git", "0123456789abcdef0123456789abcdef01234567"),
        license="GPL-2.0-or-later", patches=("patches/tool-1.patch", "patches/tool-2.patch"),
        options=("-DWITH_X=ON", "-DLIST=a;b"), build_depends=("zlib1g-dev",), depends=("less",),
        packages=("tool", "tool-doc"), tests="skip",
    )  # fmt: skip
    assert load(tmp_path, DEBIAN).version == "2.10-3", "that of its source package"


NONSENSE = [
    (FOLDER.replace(b"{folder: tool}", b"{}"), "source has nothing", "4:1", "`folder`"),
    (FOLDER.replace(b"tool}", b"tool, package: hello}"), "source has folder and package", "4:1", "alone"),
    (FOLDER.replace(b"tool}", b"tool, commit: %s}" % (b"a0" * 20)), "source has folder and commit", "4:1", "`folder` alone"),
    (FULL.replace(b"  commit: 0123456789abcdef0123456789abcdef01234567\n", b""), "source has git", "5:1", "`git` with `commit`"),
    (DEBIAN.replace(b", version: 2.10-3", b""), "source has package", "3:1", "`package` with `version`"),
    (FOLDER.replace(b"make", b"debian"), "build is 'debian', and the source is a folder", "2:1", "`build: debian`"),
    (DEBIAN.replace(b"debian", b"make"), "build is 'make', and the source is a package", "2:1", "`build: debian`"),
    (FOLDER.replace(b"version: '1'\n", b""), "there is no version", "1:1", "`version: '1.0'`"),
    (DEBIAN + b"version: '1'\n", "version stands at the top", "4:1", "remove it"),
    (FOLDER + b"build-depends: [less]\n", "unknown key 'build-depends'", "5:1", "'build_depends'"),
    (FOLDER.replace(b"'1'", b"1.0"), "version is 1.0", "3:10", "quotes"),
    (FOLDER.replace(b"folder: tool", b"folder: ../tool"), "source.folder is '../tool'", "4:18", ""),
    (FULL.replace(b"0123456789abcdef01234567\n", b"\n"), "source.commit is", "7:11", "40"),
    (FULL.replace(b"https:", b"ssh:"), "source.git is", "6:8", "http"),
    (FOLDER + b"options: [a b]\n", "options[0] is 'a b'", "5:11", ""),
    (FOLDER + b"options: ['$(id)']\n", "options[0] is '$(id)'", "5:11", ""),
    (FOLDER + b"packages: [Tool]\n", "packages[0] is 'Tool'", "5:12", ""),
    (FOLDER + b"depends: &a [x1]\npackages: *a\n", "alias *a is not allowed", "6:11", "write it out"),
    (b"\n", "the file is empty", "1:1", "`source`"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "what", "place", "hint"), NONSENSE, ids=[case[1] for case in NONSENSE])
def test_nonsense_is_pointed_at(tmp_path: Path, data: bytes, what: str, place: str, hint: str) -> None:
    error = refused(tmp_path, data)
    assert error.what.startswith(what)
    assert error.where == f"{tmp_path / 'tool.yaml'}:{place}"
    assert hint in error.hint
    assert "inherits" not in error.hint
    assert "suite" not in error.hint


def test_a_component_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, FOLDER, "synos-agent")
    with pytest.raises(ComponentError) as caught:
        recipe.load(tmp_path, "synos-agnet", "profiles/x.yaml:3:5")
    assert caught.value.what == "there is no component 'synos-agnet'"
    assert caught.value.where == "profiles/x.yaml:3:5"
    assert "'synos-agent'" in caught.value.hint
    (tmp_path / "tool.yaml").mkdir()
    with pytest.raises(ComponentError) as caught:
        recipe.load(tmp_path, "tool")
    assert "a folder, not a file" in caught.value.what


@pytest.mark.parametrize("name", ["x", "Tool", "my_tool", "-tool", "a b"])
def test_a_name_that_no_package_can_have(tmp_path: Path, name: str) -> None:
    """dpkg would say so too, after the source was fetched, in words about debian/control."""
    write(tmp_path, FOLDER, name)
    with pytest.raises(ComponentError) as caught:
        recipe.load(tmp_path, name)
    assert caught.value.what == f"{name!r} is no name for a component"
    assert caught.value.where == str(tmp_path / f"{name}.yaml")


@pytest.mark.parametrize("data", SEEDS)
def test_a_good_recipe_fits_the_json_schema_and_survives_json(tmp_path: Path, data: bytes) -> None:
    assert agreed(data, recipe.RECIPE)
    found = load(tmp_path, data)
    assert codec.from_data(Component, json.loads(json.dumps(dataclasses.asdict(found)))) == found


@SLOW
@given(damaged(SEEDS))
def test_a_damaged_recipe_is_a_component_or_a_mistake_with_a_place(
    data: bytes,
) -> None:
    fits = agreed(data, recipe.RECIPE)
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), data)
        try:
            found = recipe.load(Path(name), "tool")
        except ComponentError as error:
            failure = error
        else:
            assert fits
            json.dumps(dataclasses.asdict(found), ensure_ascii=False).encode()
            assert (found.build == "debian") == (found.source[0] == "package")
            return
    check_place(failure, path, data)


@SLOW
@given(values_of(recipe.RECIPE))
def test_loader_and_json_schema_agree_on_generated_recipes(value: dict[str, Any]) -> None:
    with suppress(UnicodeEncodeError):
        agreed(yaml.safe_dump(value, allow_unicode=True).encode(), recipe.RECIPE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return docker/build/components with the source of tool and two patches."""
    for name, text in {
        "tool/main.c": "int main;", "tool/src/build/x.c": "int x;", "a.patch": "a", "b.patch": "b"
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


PATCHED = component(patches=("a.patch", "b.patch"))


def inputs(folder: Path, found: Component = PATCHED, tools: str = "tools") -> dict[str, str]:
    return recipe.inputs_of(found, folder, tools)


def changed(folder: Path, before: dict[str, str], found: Component = PATCHED) -> set[str]:
    """Return the names of the inputs that are not as they were; the key must say the same."""
    after = inputs(folder, found)
    names = {name for name in before if before[name] != after[name]}
    assert (recipe.key_of(before) != recipe.key_of(after)) == bool(names)
    return names


@pytest.mark.parametrize("name", recipe.LEFT_BY_BUILDS)
def test_what_a_build_leaves_behind_does_not_count(folder: Path, name: str) -> None:
    before = inputs(folder)
    (folder / "tool" / name).mkdir()
    (folder / "tool" / name / "x.o").write_text("x")
    assert changed(folder, before) == set()


@pytest.mark.parametrize("change", ["text", "mode", "name", "link", "more", "less"])
def test_the_files_of_a_source_folder_count(folder: Path, change: str) -> None:
    before, path = inputs(folder), folder / "tool/main.c"
    match change:
        case "text":
            path.write_text("int main ;")
        case "mode":
            path.chmod(0o755)
        case "name":
            path.rename(path.with_name("other.c"))
        case "link":
            path.rename(folder / "tool/other.c")
            path.symlink_to("other.c")
        case "more":
            (folder / "tool/empty").mkdir()
        case _:
            path.unlink()
    assert changed(folder, before) == {"source"}


def test_patches_count_with_their_order(folder: Path) -> None:
    before = inputs(folder)
    assert changed(folder, before, component(patches=("b.patch", "a.patch"))) == {"source"}
    (folder / "a.patch").write_text("aa")
    assert changed(folder, before) == {"source"}


def test_our_code_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, ours = inputs(folder), recipe.CODE.rpartition(".")[0]
    assert {f"{ours}.{name}" for name in ("context", "source", "caches")} <= digests.closure(recipe.CODE)
    monkeypatch.setattr("synos_tasks.iso.digests.of_module", lambda module: f"another {module}")
    assert changed(folder, before) == {"code"}


TEXTS = st.text(alphabet="ab,[]\"'", max_size=3)
TUPLES = st.lists(TEXTS, max_size=2).map(tuple)
WORDS = dict.fromkeys(("name", "description", "build", "version", "license", "tests"), TEXTS)
LISTS = dict.fromkeys(("options", "build_depends", "depends", "packages"), TUPLES)
COMPONENTS = st.builds(Component, source=st.tuples(st.just("git"), TEXTS, TEXTS), **WORDS, **LISTS)
COUNTED = {*WORDS, *LISTS, "source"}


def test_these_are_all_the_words_of_a_recipe() -> None:
    """One that is added later must be in a key too."""
    assert {field.name for field in dataclasses.fields(Component)} == {*COUNTED, "patches"}


@settings(deadline=None)
@given(COMPONENTS, COMPONENTS, TEXTS, TEXTS)
def test_every_word_and_the_tools_count(one: Component, two: Component, tools: str, others: str) -> None:
    def key(found: Component, tools: str) -> str:
        return recipe.key_of(recipe.inputs_of(found, Path("/nonexistent"), tools))

    assert key(one, tools) == key(dataclasses.replace(one), tools)
    assert (key(one, tools) == key(one, others)) == (tools == others)
    for name in COUNTED:
        other = dataclasses.replace(one, **{name: getattr(two, name)})
        assert (key(one, tools) == key(other, tools)) == (one == other)
