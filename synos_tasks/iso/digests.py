"""SHA-256 for keys: of values, of files and folders, and of the code that makes a stage.

Contents and modes count, names of machines do not. Code is a module with all of this package that it imports.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.iso import inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = "synos_tasks"
_IMPORT = re.compile(
    rf"^[ \t]*(?:from (?P<source>{PACKAGE}[.\w]*) )?import \(?(?P<names>(?<=\()[^)]*|[^\n(]+)", re.MULTILINE
)
_NEVER_RUN = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)*", re.MULTILINE)
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
    """Return what a module imports of this package. Not by its syntax tree, which takes twenty times as long."""
    found = []
    for statement in _IMPORT.finditer(_NEVER_RUN.sub("", _path(module).read_text(encoding="utf-8"))):
        listed = re.sub(r"#.*", "", statement["names"])
        names = [alias.split()[0] for alias in re.split(r"[,\n]", listed) if alias.strip()]
        if source := statement["source"]:
            inside = [name for alias in names if _path(name := f"{source}.{alias}").is_file()]
            found += inside or [source]
        else:
            found += [name for name in names if name.split(".")[0] == PACKAGE]
    return tuple(found)


def _path(module: str) -> Path:
    path = ROOT.parent / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
