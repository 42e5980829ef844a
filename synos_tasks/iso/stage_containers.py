"""Asks the host for the containers in which foreign code runs, on folders of the work volume.

Foreign code is what a profile, a package or a component brings. The container that has the store and the output folder
runs none: it asks by a RunApart event, and hears of the end on its standard input. The other side is
synos_tasks/builder.py; in the container, docker/build/image/enter is the first process.
"""

from __future__ import annotations

import json
import os
import select
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from synos_tasks.errors import StageFailed
from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

BUSYBOX = "/synos/busybox"
ENTER = "/synos/enter"
STREAMS, TREE, SLASH = "/synos/streams", "/synos/tree", "/synos/slash"
"""In a container: its streams, the system that is its root, and a link to the root itself."""
KEPT = {"dev", "proc", "sys", "synos"}
"""Folders of a container that are the engine's and ours, whatever its root has."""
LINE_BYTES = 2**14
"""What is kept of a line."""
PIPE_BYTES = 2**20
"""The most that a pipe holds, see pipe(7)."""
POLL_SECONDS = 0.05


@dataclass
class _Running:
    """A program that was asked for."""

    ended: Event = field(default_factory=Event)
    code: int = 0
    why: str = ""


class StageContainers:
    """The containers of one build. Used from several threads."""

    def __init__(self, send: Callable[..., object]) -> None:
        """Ask by ``send``, which takes the fields of a RunApart event: a layer's key covers this module, not the protocol."""
        self._send = send
        self._running: dict[str, _Running] = {}

    def on_reply(self, line: bytes) -> None:
        """Note the end of a program, from a line of the host."""
        reply = json.loads(line)
        running = self._running[reply["id"]]
        if not running.ended.is_set():  # it may have been stopped
            running.code, running.why = reply["code"], reply["why"]
            running.ended.set()

    def stop(self) -> None:
        """Follow no program any longer: their callers get an error."""
        for running in self._running.values():
            if not running.ended.is_set():
                running.why = "another stage failed"
                running.ended.set()

    def run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        mounts: Sequence[tuple[str, str, bool]],
        work: Path,
        *,
        stdin: str | None,
        network: bool,
        code: list[int],
    ) -> Iterator[str]:
        """Run a program; yield the lines that it prints, and put its exit code into ``code``.

        Raises StageFailed where it could not be started.
        """
        folder = Path(tempfile.mkdtemp(prefix="streams-", dir=work))
        running = self._running[folder.name] = _Running()
        (folder / "in").write_text(stdin or "")
        os.mkfifo(folder / "out")
        out = os.open(folder / "out", os.O_RDONLY | os.O_NONBLOCK)
        words = [
            ENTER,
            BUSYBOX,
            "env",
            "-i",
            *(f"{name}={value}" for name, value in environment.items()),
            *argv,
        ]
        try:
            self._send(
                id=folder.name,
                command=tuple(words),
                mounts=((folder.name, STREAMS, False), *mounts),
                work=str(work),
                network=network,
            )
            yield from _lines(out, running.ended)
        finally:
            os.close(out)
            remove(folder)
        if running.why:
            raise StageFailed("the container of a stage could not run", where=argv[0], why=running.why)
        code.append(running.code)


def mounts_of(root: Path, name: str) -> list[tuple[str, str, bool]]:
    """Return the mounts that make the system in ``root``, the folder ``name``, the root of a container.

    The engine lays files of its own over /etc/hosts and its like: a mount by way of a link comes after these, and hides
    them, as it sorts mounts by the number of folders in their paths; those with as many come in any order.
    """
    folders = [path.name for path in sorted(root.iterdir()) if path.is_dir() and not path.is_symlink()]
    own = [(f"{name}/{folder}", f"{SLASH}/{folder}", True) for folder in folders if folder not in KEPT]
    return [(name, TREE, True), *own]


def _lines(out: int, ended: Event) -> Iterator[str]:
    rest, cut = b"", False
    while True:
        over = ended.is_set()  # what was written before the end is read after it, and fits into one read
        select.select([out], [], [], POLL_SECONDS)
        try:
            chunk = os.read(out, PIPE_BYTES)
        except BlockingIOError:  # nothing yet
            chunk = b""
        # progress bars end their lines by a carriage return
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        if cut:  # what goes beyond LINE_BYTES is read and forgotten
            lines, cut = lines[1:], not lines
        if (len(rest) > LINE_BYTES or over) and not cut:
            lines, cut = [*lines, rest], True
        rest = b"" if cut else rest
        yield from (line[:LINE_BYTES].decode(errors="replace") for line in lines if line.strip())
        if over:  # who was stopped may go on talking
            return
        if not chunk:
            ended.wait(POLL_SECONDS)
