"""Why a component does not compile: the compiler's own words out of a long log. Pure: text in, error out."""

from __future__ import annotations

import posixpath
import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from synos_tasks.errors import ComponentFailed
from synos_tasks.iso.diagnose import disk_full, is_full

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from synos_tasks.errors import SynosError
    from synos_tasks.iso.components.recipe import Component

TREE = "/work/build/source"
"""Where every component is compiled: the same for all, so that no path tells them apart."""
_LINES_SHOWN = 8
_CMAKE_LINES = 40
_UPWARDS = re.compile(r"^(?:\.\./)+")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# dh shows config.log and its like, which are full of probes that failed as they may; the log of tests is none of them
_DUMP = re.compile(r"^\t(?:cd \S+ && )?tail -v -n \\\+0 (?!\S*testlog)")
_LINKER = re.compile(
    r"(?<![^\s:()<>])(?P<file>[^\s:()<>]+):(?:(?P<line>\d+)|\(\.[^)]*\)): "
    r"(?P<text>(?:undefined reference to|multiple definition of) .*)"
)
_PLACED = (
    re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+)(?::(?P<column>\d+))?: (?:fatal )?[Ee]rror: (?P<text>.*)"),
    re.compile(r"^(?P<file>\S*meson\.build):(?P<line>\d+):(?P<column>\d+): ERROR: (?P<text>.*)"),
    re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+): (?P<text>\*\*\* .*)"),
    _LINKER,
)  # fmt: skip
_CMAKE = re.compile(r"^CMake Error at (?P<file>[^:]+):(?P<line>\d+)\b")
_CMAKE_CALLER = re.compile(r"^  (?P<file>[^\s/:][^:]*):(?P<line>\d+) \(")
_RUST_ERROR = re.compile(r"^error(?:\[E\d+\])?: (?P<text>.*)")
_RUST_PLACE = re.compile(r"^\s*--> (?P<file>[^\s:]+):(?P<line>\d+):(?P<column>\d+)")
_SOURCE_LINE = re.compile(r"^\s*(?:\d+ +)?\|")
_PACKAGES = (
    re.compile(r"No package '(?P<name>[^']+)' found"),
    re.compile(r"Package '?(?P<name>[^',\s]+)'?, required by '[^']*', not found"),
    re.compile(r"Package dependency requirement '(?P<name>[^']+)' could not be satisfied"),
)
_MISSING = (
    re.compile(r":\d+: (?:fatal )?error: (?P<name>[^\s:]+): No such file or directory"),
    re.compile(r":\d+: (?:fatal )?error: '(?P<name>[^']+)' file not found"),
    re.compile(r"ERROR: (?:Dependency|Program|C[^'\"]* library) [\"'](?P<name>[^\"']+)[\"'] not found"),
    re.compile(r"ERROR: Dependency lookup for (?P<name>\S+) with method"),
    re.compile(r"Could NOT find (?P<name>\S+)"),
    re.compile(r'Could not find a package configuration file provided by "(?P<name>[^"]+)"'),
    re.compile(r"cannot find (?P<name>-l[^\s:]+)"),
    re.compile(r"no matching package named `(?P<name>[^`]+)` found"),
    re.compile(r"Unmet build dependencies: (?P<name>.+)"),
)
# what a Makefile says of a program or package it looks for, and maybe does without
_MAYBE_MISSING = (
    *_PACKAGES,
    re.compile(r"^(?:make(?:\[\d+\])?|/bin/sh: \d+): (?P<name>[^\s:/]+): (?:No such file or directory|not found)$"),
)  # fmt: skip
_TESTS = re.compile(
    r"^dh_auto_test: error|^error: test failed|\*\*\* .*check\] Error|override_dh_auto_test\] Error"
)
_ENTERS = re.compile(r"^\w+(?:\[\d+\])?: (?P<what>Entering|Leaving) directory [`'](?P<folder>[^']+)'")
_DH_ENTERS = re.compile(r"^\tcd (?P<folder>\S+) && ")
# what make, dh and dpkg say about an error that another told already
_REPEATS = re.compile(
    r"g?make(?:\[\d+\])?: (?:Entering directory|Leaving directory|\*\*\* \[)|dpkg-buildpackage: "
    r"|dh_\w+: error: (?:.* returned exit code|Aborting due)|dh [a-z]+|\s+(?:dh_|create-stamp |debian/rules |dpkg-source )"
)


class _Found(NamedTuple):
    """An error with a place: the lines that it is told in, and what of them people need."""

    where: str
    why: str
    lines: Sequence[str]


def explain(component: Component, argv: Sequence[str], code: int, lines: Sequence[str]) -> SynosError:
    """Find the error that explains why a build ended with ``code``; ``lines`` are its last lines."""
    told = _told(lines)
    if full := _full(told):
        return disk_full(component.stage, why=full)
    recipe = f"docker/build/components/{component.name}.yaml"
    placed = _placed(component, told)
    tested = any(_TESTS.search(line) for line in told)
    if missing := _missing(told, placed, tested=tested):
        return ComponentFailed(
            f"a build dependency of {component.name} is missing: {missing[0]}",
            where=placed.where if placed else recipe,
            why=placed.why if placed else missing[1],
            hint="name the Debian package that has it under `build_depends:` of its recipe",
        )
    if placed:
        return ComponentFailed(f"{component.name} does not compile", where=placed.where, why=placed.why)
    return ComponentFailed(
        f"the tests of {component.name} fail" if tested else f"{component.name} could not be built",
        where=recipe,
        why="\n".join(_last_words(told)) or f"{argv[0]} ended with {code}",
        hint="`tests: skip` in its recipe leaves them out" if tested else "",
    )


def _told(lines: Sequence[str]) -> list[str]:
    """Give the lines without colours and without the logs that dh shows when a configuration failed."""
    kept, dumped = [], False
    for coloured in lines:
        line = _COLOUR.sub("", coloured)
        dumped = bool(_DUMP.match(line)) or (dumped and not line.startswith("dh_"))
        if not dumped:
            kept.append(line)
    return kept


def _full(lines: Sequence[str]) -> str:
    """Give the line that says that a disk is full; the name of that error alone is a word of many sources."""
    return next(
        (line.strip() for line in lines
         if is_full([line.replace("ENOSPC", "")]) and not _SOURCE_LINE.match(line)),
        "",
    )  # fmt: skip


def _missing(lines: Sequence[str], placed: _Found | None, *, tested: bool) -> tuple[str, str] | None:
    """Give the name of what is missing, and the line that says so."""
    if placed:
        if any("required package was not found" in line for line in placed.lines):
            return _named(_PACKAGES, lines[::-1])
        return _named(_MISSING, placed.lines)
    needed = list(_needed(lines))
    return _named(_MISSING, needed) or (None if tested else _named(_MAYBE_MISSING, needed))


def _named(patterns: Sequence[re.Pattern[str]], lines: Sequence[str]) -> tuple[str, str] | None:
    for line in lines:
        for pattern in patterns:
            if found := pattern.search(line):
                return found["name"].strip(), line.strip()
    return None


def _needed(lines: Sequence[str]) -> Iterator[str]:
    """Leave out what CMake looks for and does without."""
    warned = False
    for line in lines:
        warned = line.startswith("CMake Warning") or (warned and line.startswith(" "))
        if not warned and not line.startswith("-- "):
            yield line


def _placed(component: Component, lines: Sequence[str]) -> _Found | None:
    """Give the first error that has a place."""
    for index, line in enumerate(lines):
        found = next((found for pattern in _PLACED if (found := pattern.search(line))), None)
        text = [found["text"].strip()] if found else []
        if not found and (found := _CMAKE.match(line)):
            found = _cmake_caller(lines, index) or found
        if not found and _RUST_ERROR.match(line) and (found := _rust_place(lines, index)):
            text = [line]
        if found:
            context = _context(lines, index)
            why = "\n".join([*text, *context] if text else [textwrap.dedent("\n".join(context))]) or line
            return _Found(_place(component, found, _folder(lines, index)), why, [line, *context])
    return None


def _cmake_caller(lines: Sequence[str], index: int) -> re.Match[str] | None:
    """Give the caller in the component's own files, where CMake's own module tells the error."""
    if not lines[index].startswith("CMake Error at /"):
        return None
    behind = lines[index + 1 : index + 1 + _CMAKE_LINES]
    return next((found for line in behind if (found := _CMAKE_CALLER.match(line))), None)


def _rust_place(lines: Sequence[str], index: int) -> re.Match[str] | None:
    return next((found for line in lines[index + 1 : index + 4] if (found := _RUST_PLACE.match(line))), None)


def _context(lines: Sequence[str], index: int) -> list[str]:
    """Give the lines behind an error that belong to it: compilers indent them, or show the source with its lines' numbers."""
    shown = []
    for line in lines[index + 1 : index + 1 + _LINES_SHOWN]:
        if not line.startswith((" ", "\t")) and not _SOURCE_LINE.match(line):
            break
        shown.append(line.rstrip())
    return shown


def _folder(lines: Sequence[str], index: int) -> str:
    """Give the folder that a command works in whose words stand at ``index``, as make and dh tell it."""
    if _CMAKE.match(lines[index]):
        return TREE
    left = 0
    for line in reversed(lines[:index]):
        if found := _DH_ENTERS.match(line):
            return posixpath.join(TREE, found["folder"])
        if not (found := _ENTERS.match(line)):
            continue
        if found["what"] == "Entering" and not left:
            return posixpath.join(TREE, found["folder"])
        left += 1 if found["what"] == "Leaving" else -1
    return TREE


def _place(component: Component, found: re.Match[str], folder: str) -> str:
    """Give ``file:line:column``; as a path of the project where the source is a folder of it."""
    file = found["file"]
    if found.re is _LINKER and file.startswith("./"):
        # -ffile-prefix-map wrote . for the tree, in the name of the folder and in that of the file
        file, folder = file.rpartition("/./")[2], TREE
    path = posixpath.normpath(posixpath.join(folder, file))
    if file.startswith("../") and not path.startswith(f"{TREE}/"):
        path = posixpath.join(TREE, _UPWARDS.sub("", file))
    inside = path.removeprefix(f"{TREE}/")
    if component.source[0] == "folder" and inside != path:
        inside = f"docker/build/components/{component.source[1]}/{inside}"
    parts = [inside, *(found.groupdict().get(name) for name in ("line", "column"))]
    return ":".join(part for part in parts if part)


def _last_words(lines: Sequence[str]) -> list[str]:
    """Give the last lines that tell something new."""
    return [line for line in lines if line.strip() and not _REPEATS.match(line)][-12:]
