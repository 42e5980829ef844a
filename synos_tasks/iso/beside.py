"""Work beside the stages: layers are compressed, and the initramfs is made, while later stages go on.

A layer under compression shares files with the tree that the next stage works in (see tree.freeze). A package
manager replaces files, so that this goes well; when a stage does write into one, what was compressed meanwhile
is thrown away, and the run starts again with nothing beside the stages. See run.py.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synos_tasks.iso.store import Entry

THREADS = 3
"""Two layers and the initramfs: with more, a layer would wait for its turn, never for ever."""


class Tainted(Exception):
    """A stage wrote into files of a layer that was being compressed."""


@dataclass
class _Job:
    """One compression. It is judged once it is known whether anything wrote into its files."""

    compressed: Event = field(default_factory=Event)
    judged: Event = field(default_factory=Event)
    tainted: bool = False

    def wait_for_verdict(self) -> None:
        self.compressed.set()
        self.judged.wait()
        if self.tainted:
            raise Tainted


class Beside:
    """What runs beside the stages of one run. Used from the thread of the stages alone."""

    def __init__(self, stop: Callable[[], None]) -> None:
        """Call ``stop``, which ends running tools, when the stages fail."""
        self._stop = stop
        self._threads = ThreadPoolExecutor(THREADS)
        self._jobs: list[_Job] = []

    def __enter__(self) -> Self:
        """Start with nothing."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for all; after an error, end all."""
        self._judge(tainted=kind is not None)
        if kind is not None:
            self._stop()
        self._threads.shutdown(cancel_futures=kind is not None)

    def compress(self, work: Callable[[Callable[[], None]], Entry]) -> Future[Entry]:
        """Run work that shares files with the tree.

        It calls what it is given when it needs them no more, before its result is used: that waits for the verdict.
        """
        job = _Job()
        self._jobs.append(job)
        return self._threads.submit(work, job.wait_for_verdict)

    def stage_begins(self) -> None:
        """Note that a stage will work in the tree: what is compressed by now cannot be harmed any more."""
        for job in self._jobs:
            if job.compressed.is_set():
                job.judged.set()
        self._jobs = [job for job in self._jobs if not job.judged.is_set()]

    def stage_ended(self, written: Sequence[str]) -> None:
        """Note what it wrote into."""
        if written:
            self._judge(tainted=True)

    def wait_for(self, layers: Sequence[Future[Entry]]) -> list[Entry]:
        """Give layers; raises Tainted, or what went wrong with them.

        Meanwhile no stage works in the tree, so that all that is being compressed is sound so far.
        """
        self._judge(tainted=False)
        return [layer.result() for layer in layers]

    def _judge(self, *, tainted: bool) -> None:
        for job in self._jobs:
            job.tainted = tainted
            job.judged.set()
        self._jobs = []
