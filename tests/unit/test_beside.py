"""What is compressed while a stage writes into its files is never used."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso import beside as module
from synos_tasks.iso.beside import Beside, Tainted, _Job
from synos_tasks.iso.store import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 5
"""Seconds; none of it is spent unless a test fails."""


class Layer:
    """A compression that goes on until it is told to end."""

    def __init__(self, *, ends: bool = True) -> None:
        self.entry = Entry("key", Path("/nowhere"), {})
        self.begun, self.end, self.used = threading.Event(), threading.Event(), threading.Event()
        self.killed = False
        if ends:
            self.end.set()

    def __call__(self, wait_for_verdict: Callable[[], None]) -> Entry:
        self.begun.set()
        assert self.end.wait(PATIENCE)
        if self.killed:
            raise RuntimeError("killed")
        wait_for_verdict()
        self.used.set()
        return self.entry

    def kill(self) -> None:
        self.killed = True
        self.end.set()


@pytest.fixture(autouse=True)
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[_Job]]:
    """Give the jobs that there are. A test that would hang fails instead: they get a verdict when patience ends."""
    jobs: list[_Job] = []
    late = threading.Event()

    class Noted(_Job):
        def __init__(self) -> None:
            super().__init__()
            jobs.append(self)

    def give_verdicts() -> None:
        late.set()
        for job in jobs:
            job.tainted = True
            job.judged.set()

    monkeypatch.setattr(module, "_Job", Noted)
    watchdog = threading.Timer(PATIENCE * 2, give_verdicts)
    watchdog.start()
    yield jobs
    watchdog.cancel()
    assert not late.is_set(), "nobody gave a verdict"


def unused() -> None:
    pytest.fail("tools were stopped")


def test_results_come_back_in_order() -> None:
    slow, quick = Layer(ends=False), Layer()
    with Beside(unused) as beside:
        futures = [beside.compress(slow), beside.compress(quick)]
        assert quick.begun.wait(PATIENCE)
        slow.end.set()
        assert [id(entry) for entry in beside.wait_for(futures)] == [id(slow.entry), id(quick.entry)]


def test_nothing_is_used_before_it_is_judged(jobs: list[_Job]) -> None:
    layer = Layer()
    with Beside(unused) as beside:
        future = beside.compress(layer)
        assert jobs[0].compressed.wait(PATIENCE)
        assert not layer.used.wait(0.05)
        beside.wait_for([future])
        assert layer.used.is_set()


def test_what_is_done_before_a_stage_begins_cannot_be_harmed(jobs: list[_Job]) -> None:
    layer = Layer()
    with Beside(unused) as beside:
        future = beside.compress(layer)
        assert jobs[0].compressed.wait(PATIENCE)
        beside.stage_begins()
        assert layer.used.wait(PATIENCE)
        beside.stage_ended(["etc/passwd"])
        assert beside.wait_for([future]) == [layer.entry]


@pytest.mark.parametrize("ends", ["in the stage", "after it"])
def test_what_runs_while_a_stage_writes_is_thrown_away(jobs: list[_Job], ends: str) -> None:
    layer = Layer(ends=False)
    with Beside(unused) as beside:
        future = beside.compress(layer)
        assert layer.begun.wait(PATIENCE)
        beside.stage_begins()
        if ends == "in the stage":
            layer.end.set()
            assert jobs[0].compressed.wait(PATIENCE)
        beside.stage_ended(["etc/passwd"])
        layer.end.set()
        with pytest.raises(Tainted):
            beside.wait_for([future])
    assert not layer.used.is_set()


def test_a_stage_that_writes_into_no_old_file_harms_nothing() -> None:
    layer = Layer(ends=False)
    with Beside(unused) as beside:
        future = beside.compress(layer)
        beside.stage_begins()
        beside.stage_ended(())
        layer.end.set()
        assert beside.wait_for([future]) == [layer.entry]
    assert layer.used.is_set()


def test_a_later_stage_can_still_harm_what_an_earlier_one_did_not() -> None:
    layer = Layer(ends=False)
    with Beside(unused) as beside:
        future = beside.compress(layer)
        beside.stage_begins()
        beside.stage_ended(())
        beside.stage_begins()
        beside.stage_ended(["etc/passwd"])
        layer.end.set()
        with pytest.raises(Tainted):
            beside.wait_for([future])
    assert not layer.used.is_set()


def test_each_layer_is_judged_by_itself(jobs: list[_Job]) -> None:
    done, running, later = Layer(), Layer(ends=False), Layer()
    with Beside(unused) as beside:
        first, second = beside.compress(done), beside.compress(running)
        assert jobs[0].compressed.wait(PATIENCE)
        beside.stage_begins()
        beside.stage_ended(["etc/passwd"])
        third = beside.compress(later)
        running.end.set()
        assert beside.wait_for([first, third]) == [done.entry, later.entry]
        with pytest.raises(Tainted):
            beside.wait_for([second])


def test_what_waits_for_its_turn_is_harmed_too() -> None:
    layers = [Layer(ends=False) for _ in range(module.THREADS)]
    waiting = Layer()
    with Beside(unused) as beside:
        for layer in layers:
            beside.compress(layer)
        future = beside.compress(waiting)
        beside.stage_begins()
        beside.stage_ended(["etc/passwd"])
        for layer in layers:
            layer.end.set()
        with pytest.raises(Tainted):
            beside.wait_for([future])


def test_more_layers_than_threads_wait_for_their_turn_not_for_ever() -> None:
    layers = [Layer() for _ in range(2 * module.THREADS + 1)]
    with Beside(unused) as beside:
        futures = [beside.compress(layer) for layer in layers]
        assert beside.wait_for(futures) == [layer.entry for layer in layers]


def test_the_end_waits_for_all() -> None:
    layer, other = Layer(ends=False), Layer(ends=False)
    with Beside(unused) as beside:
        beside.compress(layer)
        future = beside.compress(other)
        timers = [threading.Timer(0.05, each.end.set) for each in (layer, other)]
        for timer in timers:
            timer.start()
    assert layer.used.is_set()
    assert future.result(0) is other.entry


def test_after_an_error_all_is_ended_and_nothing_used(jobs: list[_Job]) -> None:
    done, running, other = Layer(), Layer(ends=False), Layer(ends=False)
    stopped: list[bool] = []

    def stop() -> None:
        stopped.append(done.used.is_set())
        running.kill()
        other.kill()

    futures = []
    with suppress(ZeroDivisionError), Beside(stop) as beside:
        futures += [beside.compress(done), beside.compress(running)]
        futures += [beside.compress(other)]
        assert jobs[0].compressed.wait(PATIENCE)
        raise ZeroDivisionError
    assert stopped == [False]
    assert [type(future.exception(0)) for future in futures] == [Tainted, RuntimeError, RuntimeError]
    assert not done.used.is_set()


def test_an_error_comes_out() -> None:
    with pytest.raises(ZeroDivisionError), Beside(lambda: None):
        raise ZeroDivisionError


def test_an_error_of_the_work_comes_out() -> None:
    def broken(_: Callable[[], None]) -> Entry:
        raise ZeroDivisionError

    with Beside(lambda: None) as beside:
        sound, failed = beside.compress(Layer()), beside.compress(broken)
        with pytest.raises(ZeroDivisionError):
            beside.wait_for([sound, failed])
