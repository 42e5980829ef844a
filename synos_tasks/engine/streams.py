"""A container that reads a stream and writes another: nothing of this machine is mounted in it."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Protocol

from synos_tasks.engine.spec import run_argv
from synos_tasks.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from synos_tasks.engine.spec import ContainerSpec

MEMBER = b"./"
"""What tar's list of names starts each line with; its messages start with its own name."""
KEPT_LINES = 20
ENGINE_FAILED = 125
"""What `docker run` ends with when it could not start the container."""


@dataclass
class Said:
    """What came on standard error: the last messages, and how many files tar named."""

    files: int = 0
    last: list[str] = field(default_factory=list)

    def take(self, line: bytes) -> None:
        """Take one line."""
        if line.startswith(MEMBER):
            self.files += is_file(line)
        else:
            self.last = [*self.last, line.decode(errors="replace").rstrip()][-KEPT_LINES:]

    @property
    def text(self) -> str:
        """The last messages, a line each."""
        return "\n".join(self.last).strip()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a container ended."""

    code: int
    said: str
    files: int
    """Files that tar named on standard error; folders do not count."""


class Stream(Protocol):
    """A running container, as those who read from it see it."""

    @property
    def out(self) -> IO[bytes]:
        """Its standard output."""
        ...

    def finish(self) -> Ended:
        """Wait until it has ended, its output having been read; raises what kept its input from being given."""
        ...


def is_file(line: bytes) -> bool:
    """Tell whether tar names a file in a line, and not a folder."""
    return not line.rstrip(b"\n").endswith(b"/")


class _Running:
    """A started `docker run`. Input and messages have threads of their own, so that no pipe can block another."""

    def __init__(self, spec: ContainerSpec, given: Iterable[bytes]) -> None:
        self._spec = spec
        self._said = Said()
        self._failed: list[BaseException] = []
        try:
            self._process = subprocess.Popen(
                run_argv(spec),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for this command, which then ends the container
            )
        except FileNotFoundError:
            raise EngineUnavailable(
                "there is no `docker` command", hint="./scripts/synos installs it"
            ) from None
        self._threads = [
            threading.Thread(target=self._give, args=(given,), daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def out(self) -> IO[bytes]:
        """Its standard output."""
        assert self._process.stdout is not None  # noqa: S101  (for the type checker)
        return self._process.stdout

    def finish(self) -> Ended:
        """Wait until it has ended."""
        code = self._process.wait()
        for thread in self._threads:
            thread.join()
        if self._failed:
            raise self._failed[0]
        if code == ENGINE_FAILED:
            raise EngineUnavailable(
                "a container could not be run", where=self._spec.image, why=self._said.text
            )
        return Ended(code=code, said=self._said.text, files=self._said.files)

    def close(self) -> None:
        """End it, if it has not ended, and let go of it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            # the end of `docker run` is not that of its container
            subprocess.run(
                ["docker", "rm", "--force", "--volumes", self._spec.name], check=False, capture_output=True
            )
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _give(self, given: Iterable[bytes]) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101  (for the type checker)
        try:
            for chunk in given:
                stdin.write(chunk)
        except BrokenPipeError:
            pass  # it ended before it had read all: its exit code tells why
        except BaseException as error:  # noqa: BLE001  (raised where it can be seen, by finish())
            self._failed.append(error)
        with contextlib.suppress(OSError):
            stdin.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101  (for the type checker)
        for line in self._process.stderr:
            self._said.take(line)


@contextmanager
def streaming(spec: ContainerSpec, given: Iterable[bytes] = ()) -> Iterator[Stream]:
    """Run a container whose input is ``given``; on leaving it is gone, whatever happened.

    Raises EngineUnavailable where it cannot be run. ``given`` is read in a thread.
    """
    running = _Running(spec, given)
    try:
        yield running
    finally:
        running.close()
