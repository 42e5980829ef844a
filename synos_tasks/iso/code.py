"""The code that makes a stage: its module and all of this package that it imports, so that a key covers both."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from synos_tasks.iso.digests import digest, of_file

PACKAGE = "synos_tasks"
ROOT = Path(__file__).resolve().parents[1]


@functools.cache
def digest_of(module: str) -> str:
    """Digest of a module, as ``synos_tasks.iso.stages.base``, and of every module of this package that it imports."""
    return digest([(name, of_file(_path(name))) for name in sorted(closure(module))])


@functools.cache
def digest_of_file(module: str) -> str:
    """Digest of a module alone."""
    return of_file(_path(module))


def closure(module: str) -> set[str]:
    """Names of a module and of all modules of this package that it needs when it runs."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _imports(name)
    return seen


@functools.cache
def _imports(module: str) -> tuple[str, ...]:
    found = []
    for node in _running(ast.parse(_path(module).read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            inside = [name for name in names if _path(name).is_file()]
            found += inside or [node.module]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE]
    return tuple(found)


def _running(node: ast.AST) -> list[ast.AST]:
    """All nodes but those below ``if TYPE_CHECKING``, which never run."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return []
    return [node, *(inner for child in ast.iter_child_nodes(node) for inner in _running(child))]


def _path(module: str) -> Path:
    path = ROOT.parent / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
