"""Executing a matrix: what any engine answers, and the one that works on this machine.

An engine runs the segments of a tree, each once those below it are done, and publishes ISOs by the code of
`inv build.iso`. An ISO that fails stops no other.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from synos_tasks import builder
from synos_tasks.build.containers import builder_spec
from synos_tasks.build.iso_build import Build, BuildResult
from synos_tasks.build.view import PlainView
from synos_tasks.errors import StageFailed, SynosError
from synos_tasks.iso import protocol

if TYPE_CHECKING:
    from concurrent.futures import Future

    from synos_tasks.build.iso_build import Options
    from synos_tasks.build.matrix.tree import Segment
    from synos_tasks.build.planning import Context
    from synos_tasks.iso.plan import Plan

HERE = "here"
"""The node of the local engine."""
JOB_BYTES = 4 * 2**30
"""Memory for one segment: the work folder and the tools of a profile as large as `desktop`."""

Result = BuildResult | SynosError


@dataclass(frozen=True, kw_only=True)
class Report:
    """What happened in a segment, on a node. ``result``: so its ISO ended; an error, so did all ISOs that need it."""

    segment: Segment
    node: str = HERE
    event: protocol.Event = field(default_factory=protocol.Tick)
    result: Result | None = None


OnReport = Callable[[Report], object]
"""Is called from several threads."""


class Engine(Protocol):
    """Executes the tree of a matrix."""

    def run(self, tree: Sequence[Segment], on_report: OnReport) -> Mapping[str, Result]:
        """Make and publish all ISOs of a tree; return how each ended, by name. Where it is interrupted, all work ends."""


def named(context: Context, name: str) -> Context:
    """Return a context that says of which ISO it speaks."""
    return dataclasses.replace(context, say=lambda text: context.say(f"{name}: {text}"))


def jobs_for(context: Context) -> int:
    """Return on how many segments this machine works at a time."""
    return max(1, min(context.info.n_cpu or 1, (context.info.mem_total or 0) // JOB_BYTES))


@dataclass
class Local:
    """Works on this machine, in containers as `inv build.iso` has them, on ``jobs`` segments at a time."""

    context: Context
    options: Options
    """Those of every ISO but for profile and variant."""
    jobs: int
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self, tree: Sequence[Segment], on_report: OnReport) -> Mapping[str, Result]:
        """See Engine."""
        results: dict[str, Result] = {}
        done = self._stored(tree)
        waiting = [one for one in tree if one not in done]
        running: dict[Future[Result | None], Segment] = {}
        with ThreadPoolExecutor(self.jobs) as threads:
            try:
                while waiting or running:
                    ready = [one for one in waiting if one.after is None or one.after in done]
                    # first what others wait for, then what takes longest
                    ready.sort(key=lambda one: (one.makes_iso, -one.download_bytes))
                    for segment in ready[: self.jobs - len(running)]:
                        waiting.remove(segment)
                        running[threads.submit(self._work, segment, on_report)] = segment
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        segment = running.pop(future)
                        done.add(segment)
                        if result := future.result():
                            results |= {iso.name: result for iso in segment.isos}
                            on_report(Report(segment=segment, result=result))
                    waiting = [one for one in waiting if one.isos[0].name not in results]
            finally:
                self._over.set()
        return results

    def _stored(self, tree: Sequence[Segment]) -> set[Segment]:
        """Return the segments of which the store has every stage: a container for one would do nothing."""
        keys = {one: {stage.key for stage in one.stages} for one in tree if not one.makes_iso}
        if not keys or self.context.docker.volume(self.context.settings.project.store_volume) is None:
            return set()
        request = protocol.Inspect(keys=tuple(sorted(set().union(*keys.values()))))
        spec = builder_spec(self.context, network=False)
        there = builder.ask(self.context, spec, request, protocol.Entries, logged=False).entries
        return {one for one, wanted in keys.items() if wanted <= there.keys()}

    def _work(self, segment: Segment, on_report: OnReport) -> Result | None:
        """Make the stages of a segment; return how its ISO ended if it makes one, or the error."""
        iso = segment.isos[0]
        options = dataclasses.replace(self.options, profile=iso.asked, release=iso.plan.release)
        heard = _Heard(segment, on_report, self._over)
        context = named(self.context, segment.name)
        part = _Part(context, options, iso.plan.profile, segment=segment, shown=heard)
        try:
            return part.make(part.assemble if segment.makes_iso else part.store)
        except SynosError as error:
            return error


@dataclass
class _Heard(PlainView):
    """Passes the events of a segment on, and ends its work once the matrix has ended."""

    segment: Segment
    on_report: OnReport
    over: threading.Event

    def handle(self, event: protocol.Event) -> None:
        if self.over.is_set():
            raise StageFailed("the matrix ended")
        self.on_report(Report(segment=self.segment, event=event))


@dataclass(kw_only=True)
class _Part(Build):
    """A build that is part of a matrix: it makes the stages of a segment, and draws nothing."""

    segment: Segment
    shown: PlainView

    def view(self, _stages: list[str]) -> PlainView:
        """Return what passes events on to the matrix."""
        return self.shown

    def store(self, plan: Plan, store: str, compiles: bool) -> None:
        """Make the stages, which several ISOs need; raises a SynosError."""
        part = plan.until(self.segment.stages[-1].name)
        compiles = compiles and bool(part.components)
        self.execute(protocol.Layers, protocol.LayersStored, part, store, compiles)
