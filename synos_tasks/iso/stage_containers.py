"""Asks the host for the containers in which foreign code runs, on folders of the work volume.

Foreign code is what a profile, a package or a component brings. The container that has the store and the output folder
runs none: it asks by a RunApart event, and hears of the end on its standard input. The other side is
synos_tasks/builder.py; in the container, docker/build/image/enter is the first process.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import StageFailed
from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

BUSYBOX = "/synos/busybox"
ENTER = "/synos/enter"
STREAMS, TREE, SLASH = "/synos/streams", "/synos/tree", "/synos/slash"
"""In a container: its streams, the system that is its root, and a link to the root itself."""
KEPT = {"dev", "proc", "sys", "synos"}
"""Folders of a container that the engine or this project provides, whatever its root has."""
LINE_LENGTH = 2**14
"""Characters that are kept of a line."""


class Program:
    """Foreign code that the host was asked to run."""

    def __init__(self, out: Path) -> None:
        """Open the FIFO that it will print to."""
        reader = os.open(out, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        self._out = os.fdopen(reader, encoding="utf-8", errors="replace")
        # as long as this is open, reading waits for a program that has not begun
        self._waiting: int | None = os.open(out, os.O_WRONLY | os.O_NONBLOCK)
        self._lock = threading.Lock()
        self._stopped = False
        self.code, self.why = 0, ""

    def lines(self) -> Iterator[str]:
        """Yield what it prints until it has ended; what goes beyond LINE_LENGTH is read and forgotten."""
        rest = False
        # progress bars end their lines by a carriage return, which Python reads as a newline
        while (part := self._out.readline(LINE_LENGTH)) and not self._stopped:
            if part.strip() and not rest:
                yield part.rstrip("\n")
            rest = not part.endswith("\n")

    def end(self, code: int, why: str, *, stopped: bool = False) -> None:
        """Note how it ended; where it ``stopped`` it may go on printing, and nobody follows."""
        with self._lock:
            if self._waiting is None:
                return
            self.code, self.why, self._stopped = code, why, stopped
            with suppress(BlockingIOError):  # full: then there is something to read
                os.write(self._waiting, b"\n" * stopped)
            os.close(self._waiting)
            self._waiting = None

    def close(self) -> None:
        """Close the streams."""
        self.end(0, "")
        self._out.close()


class StageContainers:
    """The containers of one build. Used from several threads."""

    def __init__(self, send: Callable[..., object]) -> None:
        """Ask by ``send``, which takes the fields of a RunApart event: a layer's key covers this module, not the protocol."""
        self._send = send
        self._programs: dict[str, Program] = {}

    def on_reply(self, reply: Mapping[str, Any]) -> None:
        """Note the end of a program, as the host says it."""
        self._programs[reply["id"]].end(reply["code"], reply["why"])

    def stop(self) -> None:
        """Follow no program any longer: their callers get an error."""
        for program in list(self._programs.values()):  # others may be started meanwhile
            program.end(1, "another stage failed", stopped=True)

    @contextmanager
    def started(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        mounts: Sequence[tuple[str, str, bool]],
        work: Path,
        *,
        stdin: str | None,
        network: bool,
        private: Mapping[str, str],
    ) -> Iterator[Program]:
        """Run a program, whose lines are to be read to their end. Raises StageFailed where it could not be started.

        ``private`` are variables of it that no command line shows.
        """
        folder = Path(tempfile.mkdtemp(prefix="streams-", dir=work))
        (folder / "in").write_text(stdin or "")
        (folder / "variables").write_text(
            "".join(f"export {k}={shlex.quote(v)}\n" for k, v in private.items())
        )
        os.mkfifo(folder / "out")
        program = self._programs[folder.name] = Program(folder / "out")
        variables = [f"{name}={value}" for name, value in environment.items()]
        if private:
            argv = [BUSYBOX, "sh", "-c", f'. {STREAMS}/variables; exec "$0" "$@"', *argv]
        try:
            self._send(
                id=folder.name,
                command=(ENTER, BUSYBOX, "env", "-i", *variables, *argv),
                mounts=((folder.name, STREAMS, False), *mounts),
                work=str(work),
                network=network,
            )
            yield program
        finally:
            program.close()
            remove(folder)
        if program.why:
            raise StageFailed("the container of a stage could not run", where=argv[0], why=program.why)


def mounts_of(root: Path, name: str, without: Collection[str] = ()) -> list[tuple[str, str, bool]]:
    """Return the mounts that make the system in ``root``, the folder ``name``, the root of a container.

    Nothing is mounted on the folders ``without``.

    The engine mounts files of its own, as on /etc/hosts. It sorts mounts by the number of folders in their paths, and those
    with the same number in any order. So these paths lead through a link, SLASH: with one folder more they come last, and
    hide the engine's files.
    """
    folders = [path.name for path in sorted(root.iterdir()) if path.is_dir() and not path.is_symlink()]
    own = [
        (f"{name}/{folder}", f"{SLASH}/{folder}", True)
        for folder in folders
        if folder not in {*KEPT, *without}
    ]
    return [(name, TREE, True), *own]
