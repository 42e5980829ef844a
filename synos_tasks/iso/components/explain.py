"""Why a component does not compile: the first error with a place, or the last lines of the log."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from synos_tasks.errors import ComponentFailed
from synos_tasks.iso.diagnose import disk_full, is_full

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.errors import SynosError
    from synos_tasks.iso.components.recipe import Component

# gcc, clang, ld, make, meson and cmake put the place before the text. conftest is a probe, which may fail.
_PLACED = re.compile(
    r"^(?P<cmake>CMake Error at )?(?:/usr/bin/ld: )?(?!conftest)(?P<file>[^\s:()<>]+):(?P<line>\d+)"
    r"(?::(?P<column>\d+))?(?(cmake)\b|: (?:(?:fatal )?[Ee]rror: |ERROR: |(?=\*\*\* |undefined ref))(?P<text>.*))"
)
_RUST_ERROR = re.compile(r"^error(?:\[E\d+\])?: ")
_RUST_PLACE = re.compile(r"^\s*--> (?P<file>[^\s:]+):(?P<line>\d+):(?P<column>\d+)")
_MISSING = re.compile(r"fatal error: (?P<name>\S+): No such file or directory")
_TESTS = re.compile(r"^dh_auto_test: error|^error: test failed|override_dh_auto_test\] Error")
# make, dh and dpkg only repeat that something failed
_REPEATS = re.compile(
    r"make(?:\[\d+\])?: (?:Entering|Leaving|\*\*\* \[)|dpkg-buildpackage: |dh_\w+: error: .* exit code|dh "
)
CONTEXT_LINES = 8
LAST_LINES = 12


def explain(
    component: Component, argv: Sequence[str], code: int, lines: Sequence[str], folder: Path
) -> SynosError:
    """Return the error for a command that ended with ``code`` in ``folder``; ``lines`` are its last output."""
    # source code that a compiler quotes, and the name of the error alone, do not mean a full disk
    if is_full([line.replace("ENOSPC", "") for line in lines if " | " not in line]):
        return disk_full(component.stage)
    for index, line in enumerate(lines):
        found = _PLACED.search(line)
        if not found and _RUST_ERROR.match(line):
            found = _RUST_PLACE.match(lines[index + 1]) if index + 1 < len(lines) else None
        if found:
            missing = _MISSING.search(line)
            return ComponentFailed(
                f"a build dependency of {component.name} is missing: {missing['name']}"
                if missing
                else f"{component.name} does not compile",
                where=_place(component, found, folder),
                why="\n".join([found.groupdict().get("text") or line, *_context(lines[index + 1 :])]),
                hint="name the Debian package that has it under `build_depends:` of its recipe"
                if missing
                else "",
            )
    tested = any(_TESTS.search(line) for line in lines)
    last = [line for line in lines if line.strip() and not _REPEATS.match(line)][-LAST_LINES:]
    return ComponentFailed(
        f"the tests of {component.name} fail" if tested else f"{component.name} could not be built",
        where=f"docker/build/components/{component.name}.yaml",
        why="\n".join(last) or f"{argv[0]} ended with {code}",
        hint="`tests: skip` in its recipe leaves them out" if tested else "",
    )


def _context(lines: Sequence[str]) -> list[str]:
    """Return the lines that belong to an error: indented, or source with its line number."""
    shown = []
    for line in lines[:CONTEXT_LINES]:
        if not line or line[0] not in " \t|0123456789":
            break
        shown.append(line.rstrip())
    return shown


def _place(component: Component, found: re.Match[str], folder: Path) -> str:
    """Return ``file:line:column``, as a path of the project where the file belongs to it."""
    # meson and cmake compile in a folder of the tree; ccache's -ffile-prefix-map writes . for the tree
    inside = os.path.relpath(folder / re.sub(r"^(?:\.\./)+", "", found["file"]), folder)
    ours = component.source[0] == "folder" and not inside.startswith("..") and (folder / inside).is_file()
    file = f"docker/build/components/{component.source[1]}/{inside}" if ours else found["file"]
    return ":".join([file, *(found[name] for name in ("line", "column") if found[name])])
