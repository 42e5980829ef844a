"""A profile in the making, with what is left of the configuration that it is made from."""

from __future__ import annotations

import functools
import importlib.resources
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from synos_tasks.errors import printable
from synos_tasks.iso import inputs, profile

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_TEXT = 2**20
"""Bytes of a file that is read."""
MOST_SHOWN = 200
"""Lines of what is left, in the profile's own comments."""


@dataclass(frozen=True)
class Left:
    """What is not in the profile, or works there in another way."""

    where: str
    what: str
    why: str
    hint: str = ""


@dataclass
class Draft:
    """A profile in the making."""

    folder: Path
    name: str
    lines: dict[tuple[str, str], tuple[Any, str]] = field(default_factory=dict)
    """Value and origin by key and part. The part of a mapping is its key, that of a list is `- ` and the item's text."""
    files: dict[str, Path] = field(default_factory=dict)
    """What is copied, by its path in docker/build."""
    left: list[Left] = field(default_factory=list)
    options: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Value and origin of each option of live-build."""
    keys: dict[str, str] = field(default_factory=dict)
    """Paths in docker/build of the keys of archives, by the names of these."""
    pins: dict[str, int] = field(default_factory=dict)
    """Priorities of archives, by host."""
    sources: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, one-line source and origin of archives."""

    def set(self, path: str, value: Any, where: str) -> None:  # noqa: ANN401
        """Set a key, or a part of one as ``users.name``."""
        key, _, part = path.partition(".")
        self.lines[key, part] = (value, where)

    def add(self, key: str, value: Any, where: str) -> None:  # noqa: ANN401
        """Add to a list what it does not have."""
        self.lines.setdefault((key, f"- {value}"), (value, where))

    def leave(self, where: str, what: str, reason: str) -> None:
        """List what is not converted, or not as it was, for a reason of tables.yaml."""
        self.left.append(Left(where, what, *tables()["reasons"][reason]))

    def option(self, name: str, default: str = "") -> str:
        """Return the value of an option."""
        return self.options.get(name, (default, ""))[0] or default

    def render(self) -> tuple[list[str], list[list[tuple[str, str]]]]:
        """Return the lines of the profile, and which entries of ``lines`` each of these stands for."""
        rows: list[tuple[str, list[tuple[str, str]]]] = [
            ("# yaml-language-server: $schema=profile.schema.json", [])
        ]
        known = [*profile.keys()]
        names = dict.fromkeys(key for key, _ in self.lines)
        for name in sorted(names, key=lambda one: known.index(one) if one in known else len(known)):
            entries = sorted((one for one in self.lines if one[0] == name), key=lambda one: one[1] != "name")
            if entries != [(name, "")]:
                rows.append((f"{name}:", entries))
            before = ""
            for entry in entries:
                (_, part), (value, where) = entry, self.lines[entry]
                origin = re.sub(r":\d+$", "", where)
                if part.startswith("- "):
                    rows += [(f"  # {printable(origin)}", [])] if origin != before else []
                    rows.append((f"  - {_flow(value)}", [entry]))
                else:
                    lead = {"": f"{name}:"}.get(part, f"  {part}:")
                    if name == "users":
                        lead = f"  {'-' if entry == entries[0] else ' '} {part}:"
                    rows.append((f"{lead} {_flow(value)}  # {printable(where)}", [entry]))
                before = origin
        if self.left:
            rows.append(("# Not converted, or not as it was in live-build:", []))
        for one in self.left[:MOST_SHOWN]:
            hint = f"; {one.hint}" if one.hint else ""
            rows.append((" ".join(f"# {one.where}: {one.what}: {one.why}{hint}".split()), []))
        # a name of a file may have a newline, and must not begin a line of the profile
        return [printable(text).replace("\n", " ") for text, _ in rows], [entries for _, entries in rows]

    def text(self, path: Path, largest: int = LARGEST_TEXT) -> str:
        """Return a file's text; raise ProfileError where it cannot be read, or is too long."""
        return inputs.read(path, largest).decode(errors="replace")


def _flow(value: Any) -> str:  # noqa: ANN401
    """Return a value as YAML in one line."""
    dumped = yaml.safe_dump(value, default_flow_style=True, width=2**20, allow_unicode=True, sort_keys=False)
    return " ".join(dumped.removesuffix("\n").removesuffix("\n...").split("\n"))


@functools.cache
def tables() -> dict[str, Any]:
    """Return what live-build's options, words and files become."""
    return dict(yaml.safe_load(importlib.resources.files(__package__).joinpath("tables.yaml").read_text()))
