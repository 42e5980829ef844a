"""SHA-256 for keys: of values, of files and folders, and of the code that makes a stage.

Contents and modes count, names of machines do not. Code is a module with all of this package that it imports.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.iso import inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGE = "synos_tasks"
ROOT = Path(__file__).resolve().parents[1]


def digest(value: object) -> str:
    """SHA-256 of a value's canonical JSON, hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()


def of_folder(folder: Path, without: Sequence[str] = ()) -> str:
    """Digest of all below a folder: names, kinds, contents, and whether a file may be executed.

    What has a name of ``without`` at its top does not count. Raises ProfileError for what is no file, folder or link.
    """
    return digest([(str(path.relative_to(folder)), of_file(path)) for path in inputs.walk(folder, without)])


def is_executable(path: Path) -> bool:
    """Tell whether the owner may execute a file, as git does: neither the caller nor the mount matters."""
    return bool(path.stat().st_mode & 0o100)


def of_file(path: Path) -> str:
    """Digest of one file, link or (without what is in it) folder."""
    if path.is_symlink():
        return f"-> {path.readlink()}"
    if path.is_dir():
        return "folder"
    mode = "x" if is_executable(path) else "-"
    return mode + inputs.sha256(path)


@functools.cache
def of_module(module: str) -> str:
    """Digest of a module, as ``synos_tasks.iso.stages.base``, and of every module of this package that it imports."""
    return digest([(name, of_file(_path(name))) for name in sorted(closure(module))])


@functools.cache
def of_module_alone(module: str) -> str:
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
    for node in _statements(ast.parse(_path(module).read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            inside = [name for name in names if _path(name).is_file()]
            found += inside or [node.module]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE]
    return tuple(found)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements but those below ``if TYPE_CHECKING``, which never run."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for block in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, block, ()):
            yield from _statements(child)


def _path(module: str) -> Path:
    path = ROOT.parent / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
