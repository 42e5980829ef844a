"""The code that a key covers is the code that runs: a module and all of ours that it imports."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from synos_tasks.iso import digests, key

ROOT = digests.ROOT
STAGES = sorted(
    f"synos_tasks.iso.stages.{path.stem}"
    for path in (ROOT / "iso/stages").glob("*.py")
    if path.stem != "__init__"
)
PACKAGES = {"synos_tasks", "synos_tasks.iso", "synos_tasks.iso.stages", "synos_tasks.iso.keys"}


def _loaded_by(module: str) -> set[str]:
    """Modules of ours that are there after an import of one, in an interpreter that has none of them."""
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.partition(".")[0] == digests.PACKAGE]:
            del sys.modules[name]
        importlib.import_module(module)
        return {name for name in sys.modules if name.partition(".")[0] == digests.PACKAGE}


@pytest.mark.parametrize("module", STAGES)
def test_the_closure_of_a_stage_is_what_python_loads_for_it(module: str) -> None:
    found_by_place = {f"{key.KEYS}.{name}" for name in key.of_system()}  # a key covers these by itself
    assert digests.closure(module) - found_by_place == _loaded_by(module) - PACKAGES - found_by_place


def test_packages_hold_no_code_that_the_closure_would_miss() -> None:
    for package in PACKAGES - {"synos_tasks"}:  # its __init__ is for tasks.py: no stage calls it
        body = ast.parse((ROOT.parent / package.replace(".", "/") / "__init__.py").read_bytes()).body
        assert [type(node) for node in body if not isinstance(node, (ast.Expr, ast.Assign))] == []


def test_nothing_of_the_engine_is_imported_in_a_way_that_the_closure_does_not_see() -> None:
    for path in (ROOT / "iso").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
                assert node.names[0].name != "*", f"{path.name}:{node.lineno} imports everything"


def _forget() -> None:
    for function in (digests.of_module, digests.of_module_alone, digests._imports):
        function.cache_clear()


@pytest.fixture
def iso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small project in place of ours: a imports b and c, and b imports d."""
    folder = tmp_path / "synos_tasks/iso"
    folder.mkdir(parents=True)
    texts = {
        "a": "import os\nfrom synos_tasks.iso import b, c\nfrom elsewhere import x\n",
        "b": "from synos_tasks.iso.d import function\n",
        "c": "if TYPE_CHECKING:\n    from synos_tasks.iso import unused\n",
        "d": "",
        "unused": "",
    }
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    monkeypatch.setattr(digests, "ROOT", folder.parent)
    _forget()
    yield folder
    _forget()


def _names(*names: str) -> set[str]:
    return {f"synos_tasks.iso.{name}" for name in names}


@pytest.mark.parametrize(
    "text",
    ["import synos_tasks.iso.d", "import os, synos_tasks.iso.d as d", "from synos_tasks.iso import d as other",
     "from synos_tasks.iso import (\n    other,  # why\n    d,\n)", "from synos_tasks.iso.d import one, two", "def f():\n    from synos_tasks.iso import d",
     "class A:\n    def f(self):\n        if x:\n            import synos_tasks.iso.d",
     "if x:\n    import synos_tasks.iso.d", "try:\n    import synos_tasks.iso.d\nexcept ImportError:\n    pass"],
)  # fmt: skip
def test_an_import_is_seen_wherever_it_stands(iso: Path, text: str) -> None:
    (iso / "c.py").write_text(f"{text}\n")
    assert digests.closure("synos_tasks.iso.c") == _names("c", "d")


def test_imports_of_others_and_those_for_types_are_not_followed(iso: Path) -> None:
    assert digests.closure("synos_tasks.iso.a") == _names("a", "b", "c", "d")
    text = "from synos_tasks import iso, __version__\nfrom synos_tasks.iso import function\n"
    (iso / "c.py").write_text(text)
    _forget()
    assert digests.closure("synos_tasks.iso.c") == {"synos_tasks.iso.c", "synos_tasks.iso"}, (
        "the package itself"
    )


def test_a_digest_covers_what_the_closure_has(iso: Path) -> None:
    for changed in ("a", "b", "c", "d", "unused"):
        before = digests.of_module("synos_tasks.iso.a")
        (iso / f"{changed}.py").write_text((iso / f"{changed}.py").read_text() + "# other\n")
        _forget()
        assert (digests.of_module("synos_tasks.iso.a") == before) is (changed == "unused")


def test_where_the_project_is_does_not_matter(iso: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests.of_module("synos_tasks.iso.a")
    elsewhere = iso.parents[1] / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(digests, "ROOT", iso.parent.rename(elsewhere / "synos_tasks"))
    _forget()
    assert digests.of_module("synos_tasks.iso.a") == before
