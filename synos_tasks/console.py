"""What a person sees: results go to standard output, progress, warnings and questions to standard error."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from synos_tasks.errors import SettingsError, SynosError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NOBODY_READS = 141
"""Exit code of a process that SIGPIPE ends."""


def is_plain(stream: IO[str] | None = None) -> bool:
    """Tell whether to print plain lines on a stream, by default standard error: no terminal, NO_COLOR, or a dumb one."""
    at_terminal = (stream or sys.stderr).isatty()
    return not at_terminal or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def say(text: str) -> None:
    """Print one line for people; work goes on where they can read no more."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def out(text: str, end: str = "\n") -> None:
    """Print a result on standard output."""
    with writing_results():
        print(text, end=end, flush=True)


@contextmanager
def writing_results() -> Iterator[None]:
    """Write to standard output: a closed pipe ends the command quietly, and a full disk is a SynosError."""
    try:
        yield
    except OSError as error:
        # what is still in the buffer must go somewhere when Python ends
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        if isinstance(error, BrokenPipeError):
            sys.exit(NOBODY_READS)
        raise SynosError("standard output cannot be written", why=error.strerror or str(error)) from None


def open_closed_streams() -> None:
    """Open those of the three streams that the caller has closed: a file or a socket would take their numbers."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def is_typed() -> bool:
    """Tell whether standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


@contextmanager
def no_input() -> Iterator[None]:
    """Make standard input empty for this process and those that it starts."""
    kept = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def warn(text: str) -> None:
    """Print one warning for people."""
    say(paint(f"warning: {text}", "33"))


def paint(text: str, code: str, stream: IO[str] | None = None) -> str:
    """Colour text with one SGR code, unless the output is plain; see is_plain()."""
    return text if is_plain(stream) else f"\x1b[{code}m{text}\x1b[0m"


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person, unless ``yes``; raise SettingsError without a terminal to ask at, or for anything but yes."""
    if yes:
        return
    why = "this is not a terminal, so nobody could be asked"
    if is_typed() and sys.stderr.isatty():
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
    out(json.dumps({"schema": f"synos.{verb}/1", **fields}, indent=2, ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], stream: IO[str]) -> None:
    """Print a table, whose cells may be painted; plain, or wider than the terminal: lines with two spaces between columns."""
    with writing_results():
        if is_plain(stream) or not _drawn(title, columns, rows, stream):
            widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
            print(title, file=stream)
            for row in [columns, *rows]:
                line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                print(line.rstrip(), file=stream)
            stream.flush()


def _drawn(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], stream: IO[str]) -> bool:
    """Draw a table with lines around it; False where it is too wide: a name or a path that is cut is of no use."""
    from rich.console import Console  # noqa: PLC0415  (heavy: only where a table is drawn)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        drawn.add_column(name, no_wrap=number < len(columns) - 1, overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text.from_ansi, row))  # brackets in a name are no markup
    console = Console(file=stream)
    if console.measure(drawn).minimum > console.width:
        return False
    console.print(drawn)
    return True


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
