"""Jobs that run while later stages work: compression of layers, and the initramfs.

A layer under compression shares files with the tree in which the next stage works (see tree.freeze). A package
manager replaces files, so this goes well. When a stage does write into a shared file, what was compressed meanwhile
is discarded, and the build starts again without background jobs. See run.py.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import TYPE_CHECKING, Self

from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from synos_tasks.iso.store import Entry

THREADS = 3
"""Two layers and the initramfs: with more, a layer would wait for its turn, but not for ever."""


class InputsModified(Exception):
    """A stage wrote into files that a background job was reading."""


@dataclass
class _Job:
    """One job. It is decided once it is known whether anything wrote into its files."""

    read_all: Event = field(default_factory=Event)
    decided: Event = field(default_factory=Event)
    modified: bool = False

    def wait_until_safe(self) -> None:
        self.read_all.set()
        self.decided.wait()
        if self.modified:
            raise InputsModified


class BackgroundJobs:
    """The background jobs of one run. Used from the thread of the stages alone."""

    def __init__(self, stop: Callable[[], None]) -> None:
        """Call ``stop``, which ends running tools, when a stage or a job fails."""
        self._stop = stop
        self._threads = ThreadPoolExecutor(THREADS)
        self._jobs: list[_Job] = []
        self._stage = Lock()
        self._failure: Exception | None = None
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for all jobs; after an error, end them. Raise that of a job, which ended the stage."""
        self._over = True
        self._decide(modified=kind is not None)
        if kind is not None:
            self._stop()
        self._threads.shutdown(cancel_futures=kind is not None)
        if kind is not None and self._failure:
            raise self._failure

    def start(self, work: Callable[[Callable[[], None]], Entry]) -> Future[Entry]:
        """Start work that shares files with the tree.

        It is given ``wait_until_safe``, to be called when it has read its files and before its result is used.
        """
        job = _Job()
        self._jobs.append(job)
        return self._threads.submit(self._run, work, job)

    def _run(self, work: Callable[[Callable[[], None]], Entry], job: _Job) -> Entry:
        try:
            return work(job.wait_until_safe)
        except InputsModified:
            raise
        except Exception as error:
            if not (self._over or self._failure):
                self._failure = error
                self._stop()
            raise

    @contextmanager
    def stage(self) -> Iterator[None]:
        """Let a stage work in the tree, between two snapshots of it. Jobs that have read all their files are safe."""
        with self._stage:
            if self._failure:
                raise self._failure
            for job in self._jobs:
                if job.read_all.is_set():
                    job.decided.set()
            self._jobs = [job for job in self._jobs if not job.decided.is_set()]
            yield

    def remove(self, copy: Path) -> None:
        """Remove a folder that shares files with the tree, but not during a stage: it would seem to change them."""
        with self._stage:
            remove(copy)

    def stage_ended(self, written: Sequence[str]) -> None:
        """Note which shared files the stage wrote into."""
        if written:
            self._decide(modified=True)

    def wait_for(self, layers: Sequence[Future[Entry]]) -> list[Entry]:
        """Return layers when they are done; raises InputsModified, or the error that a job met.

        Meanwhile no stage works in the tree, so all jobs are safe.
        """
        self._decide(modified=False)
        return [layer.result() for layer in layers]

    def _decide(self, *, modified: bool) -> None:
        for job in self._jobs:
            job.modified = modified
            job.decided.set()
        self._jobs = []
