"""What is compressed while a stage writes into its files is never used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from synos_tasks.iso import background as module
from synos_tasks.iso.background import BackgroundJobs, InputsModified, _Job
from synos_tasks.iso.store import Entry

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

    def __call__(self, wait_until_safe: Callable[[], None]) -> Entry:
        self.begun.set()
        assert self.end.wait(PATIENCE)
        if self.killed:
            raise RuntimeError("killed")
        wait_until_safe()
        self.used.set()
        return self.entry

    def kill(self) -> None:
        self.killed = True
        self.end.set()


@pytest.fixture(autouse=True)
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[_Job]]:
    """Give the jobs that there are. A test that would hang fails instead: they are decided when patience ends."""
    jobs: list[_Job] = []
    late = threading.Event()

    class Noted(_Job):
        def __init__(self) -> None:
            super().__init__()
            jobs.append(self)

    def decide_all() -> None:
        late.set()
        for job in jobs:
            job.modified = True
            job.decided.set()

    monkeypatch.setattr(module, "_Job", Noted)
    watchdog = threading.Timer(PATIENCE * 2, decide_all)
    watchdog.start()
    yield jobs
    watchdog.cancel()
    assert not late.is_set(), "nobody decided"


def unused() -> None:
    pytest.fail("tools were stopped")


def stage(running_jobs: BackgroundJobs, *written: str) -> None:
    with running_jobs.stage():
        pass
    running_jobs.stage_ended(written)


def test_nothing_is_used_before_it_is_safe(jobs: list[_Job]) -> None:
    layer = Layer()
    with BackgroundJobs(unused) as running_jobs:
        future = running_jobs.start(layer)
        assert jobs[0].read_all.wait(PATIENCE)
        assert not layer.used.wait(0.05)
        running_jobs.wait_for([future])
        assert layer.used.is_set()


@pytest.mark.parametrize("ends", ["in the stage", "after it"])
def test_what_runs_while_a_stage_writes_is_thrown_away(jobs: list[_Job], ends: str) -> None:
    layer = Layer(ends=False)
    with BackgroundJobs(unused) as running_jobs:
        future = running_jobs.start(layer)
        assert layer.begun.wait(PATIENCE)
        with running_jobs.stage():
            if ends == "in the stage":
                layer.end.set()
                assert jobs[0].read_all.wait(PATIENCE)
        running_jobs.stage_ended(["etc/passwd"])
        layer.end.set()
        with pytest.raises(InputsModified):
            running_jobs.wait_for([future])
    assert not layer.used.is_set()


def test_a_job_that_fails_ends_the_stage_that_runs_and_no_other_begins() -> None:
    stopped = threading.Event()

    def fail(_: object) -> Entry:
        raise RuntimeError("of the job")

    def build() -> None:
        with BackgroundJobs(stopped.set) as running_jobs:
            with suppress(ValueError), running_jobs.stage():
                running_jobs.start(fail)
                assert stopped.wait(PATIENCE)
                raise ValueError("of its tool, which was ended")
            stage(running_jobs)
            pytest.fail("another stage began")

    with pytest.raises(RuntimeError, match="of the job"):
        build()


def test_a_copy_goes_away_between_stages_only(tmp_path: Path) -> None:
    """Its removal changes the link count of the tree's files, and with it their date of change."""
    copy, layer = tmp_path / "copy", Layer()
    copy.mkdir()

    def work(wait_until_safe: Callable[[], None]) -> Entry:
        running_jobs.remove(copy)
        return layer(wait_until_safe)

    with BackgroundJobs(unused) as running_jobs:
        with running_jobs.stage():
            future = running_jobs.start(work)
            assert not layer.begun.wait(0.05)
            assert copy.exists()
        assert running_jobs.wait_for([future]) == [layer.entry]
        assert not copy.exists()


def test_a_later_stage_can_still_harm_what_an_earlier_one_did_not() -> None:
    layer = Layer(ends=False)
    with BackgroundJobs(unused) as running_jobs:
        future = running_jobs.start(layer)
        stage(running_jobs)
        stage(running_jobs, "etc/passwd")
        layer.end.set()
        with pytest.raises(InputsModified):
            running_jobs.wait_for([future])
    assert not layer.used.is_set()


def test_each_layer_is_decided_by_itself(jobs: list[_Job]) -> None:
    done, running, later = Layer(), Layer(ends=False), Layer()
    with BackgroundJobs(unused) as running_jobs:
        first, second = running_jobs.start(done), running_jobs.start(running)
        assert jobs[0].read_all.wait(PATIENCE)
        stage(running_jobs, "etc/passwd")
        third = running_jobs.start(later)
        running.end.set()
        assert running_jobs.wait_for([first, third]) == [done.entry, later.entry]
        with pytest.raises(InputsModified):
            running_jobs.wait_for([second])


def test_what_waits_for_its_turn_is_harmed_too() -> None:
    layers = [Layer(ends=False) for _ in range(module.THREADS)]
    waiting = Layer()
    with BackgroundJobs(unused) as running_jobs:
        for layer in layers:
            running_jobs.start(layer)
        future = running_jobs.start(waiting)
        stage(running_jobs, "etc/passwd")
        for layer in layers:
            layer.end.set()
        with pytest.raises(InputsModified):
            running_jobs.wait_for([future])


def test_the_end_waits_for_all() -> None:
    layer, other = Layer(ends=False), Layer(ends=False)
    with BackgroundJobs(unused) as running_jobs:
        running_jobs.start(layer)
        future = running_jobs.start(other)
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

    with suppress(ZeroDivisionError), BackgroundJobs(stop) as running_jobs:
        futures = [running_jobs.start(layer) for layer in (done, running, other)]
        assert jobs[0].read_all.wait(PATIENCE)
        raise ZeroDivisionError
    assert stopped == [False]
    assert [type(future.exception(0)) for future in futures] == [InputsModified, RuntimeError, RuntimeError]
    assert not done.used.is_set()
