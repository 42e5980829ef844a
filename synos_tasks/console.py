"""What a person sees: everything for people goes to standard error, results for scripts to standard output."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synos_tasks.errors import SynosError


def is_plain() -> bool:
    """Tell whether to print plain lines: no terminal, NO_COLOR set, or a dumb one."""
    return not sys.stderr.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def say(text: str) -> None:
    """Print one line for people."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print one warning for people."""
    say(paint(f"warning: {text}", "33"))


def paint(text: str, code: str) -> str:
    """Colour text with one SGR code, unless the output is plain."""
    return text if is_plain() else f"\x1b[{code}m{text}\x1b[0m"


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person, unless ``yes``; raise SettingsError without a terminal to ask at, or for anything but yes."""
    if yes:
        return
    why = "this is not a terminal, so nobody could be asked"
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in {"y", "yes"}:
            return
        why = "the answer was no"
    hint = "--yes does not ask; `inv --dry` only shows what would be done"
    raise SettingsError("not confirmed: nothing was removed or replaced", why=why, hint=hint)


def show_error(error: SynosError) -> None:
    """Print an error: what, where, why, hint, a line each; further lines of a part are indented. Then its others."""
    for label, text in error.lines():
        mark = paint(f"{label}:", "1;31" if label == "error" else "1")
        first, *rest = text.splitlines() or [""]
        say(f"{mark} {first}")
        for line in rest:
            say(f"  {line}")
    for other in error.others:
        say("")
        show_error(other)


def print_json(verb: str, fields: Mapping[str, Any]) -> None:
    """Print the one JSON object of a verb on standard output."""
    print(json.dumps({"schema": f"synos.{verb}/1", **fields}, indent=2, ensure_ascii=False), flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table for people, whose cells may be painted; plain: as lines with two spaces between columns."""
    if is_plain():
        say(title)
        widths = [max(len(r[i]) for r in [columns, *rows]) for i in range(len(columns))]
        for row in [columns, *rows]:
            say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console  # noqa: PLC0415  (heavy: only where a table is drawn)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(title=title, title_justify="left")
    for name in columns:
        drawn.add_column(name, overflow="fold")  # a port or a path that is cut short is of no use
    for row in rows:
        drawn.add_row(*map(Text.from_ansi, row))  # brackets in a name are no markup
    Console(stderr=True).print(drawn)


def human_bytes(count: float) -> str:
    """Return a size in kB (1000 bytes), MB or GB, as people read it."""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def human_seconds(count: float) -> str:
    """Return how long something lasts, in the unit of which it has two at least: 26 hours, 3 days."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if count >= 2 * size:
            return f"{count / size:.0f} {unit}"
    return f"{count:.0f} seconds"
