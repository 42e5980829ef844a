"""Both ends of the lease, over real pipes; the container's `docker run` is a stand-in that needs no process."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

import pytest

from synos_tasks.engine import run as host
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.iso import lease as inside
from tests.unit.fake_docker import FakeDocker
from tests.unit.guest import Guest, until_end

SPEC = ContainerSpec(name="c", image="i", command=(), labels={})


class OneContainer(FakeDocker):
    def __init__(self, guest: Any = None) -> None:  # noqa: ANN401
        super().__init__()
        self.guest, self.release = guest, threading.Event()
        self.removed_names: list[str] = []

    def attach(self, spec: ContainerSpec) -> Any:  # noqa: ANN401
        return self.guest

    def remove_container(self, ref: str, *, force: bool = False, volumes: bool = True) -> str:
        assert self.guest.killed, "or the client stays where no engine answers"
        self.removed_names.append(ref)
        self.release.set()
        return ""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "RENEWAL_SECONDS", 0.02)
    monkeypatch.setattr(host, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(host, "PATIENCE_SECONDS", 0.2)


def test_the_request_comes_first_then_newlines_then_the_end(hasty: None) -> None:
    heard: list[bytes] = []

    def body(stdin: int, out: IO[bytes], _err: IO[bytes]) -> None:
        out.write(b'{"event": "start", "stage": "x"}\nno event\n')
        heard.append(until_end(stdin))

    engine = OneContainer(guest=Guest(body))
    with host.Leased(engine, SPEC, {"a": 1}) as container:
        lines = filter(None, container.lines())
        assert [next(lines) for _ in range(2)] == [b'{"event": "start", "stage": "x"}', b"no event"]
        time.sleep(0.1)
    (text,) = heard
    request, *renewals = text.split(b"\n")
    assert json.loads(request) == {"a": 1}
    assert len(renewals) > 2
    assert set(renewals) == {b""}
    assert engine.removed_names == []


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, RuntimeError])
def test_a_container_that_does_not_end_is_removed(hasty: None, error: type[BaseException] | None) -> None:
    engine = OneContainer()
    engine.guest = Guest(lambda _stdin, _out, _err: engine.release.wait(5))
    with pytest.raises(error) if error else pytest.MonkeyPatch.context(), host.Leased(engine, SPEC, {}):
        if error:
            raise error
    assert engine.removed_names == ["c"]
    assert engine.guest.killed


def test_events_end_with_the_deadline(hasty: None) -> None:
    engine = OneContainer()
    engine.guest = Guest(lambda _stdin, _out, _err: engine.release.wait(5))
    with host.Leased(engine, SPEC, {}, seconds=0.1) as container:
        assert set(container.lines()) == {b""}
        assert not container.succeeded()
        assert "in time" in container.lost("gone", "").why
    assert engine.removed_names == ["c"]


def test_a_line_without_end_is_cut_while_it_is_read(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "LINE_BYTES", 1000)

    def body(_stdin: int, out: IO[bytes], err: IO[bytes]) -> None:
        for _ in range(100):
            out.write(b"x" * 100_000)
            err.write(b"y" * 100_000)
        out.write(b"\nnext\n\nlast")

    with host.Leased(OneContainer(guest=Guest(body)), SPEC, {}) as container:
        assert list(filter(None, container.lines())) == [b"x" * 1000, b"next", b" ", b"last"]
        assert len(container.lost("gone", "").why) < 100_000


def test_lines_that_nobody_follows_keep_nothing_waiting(hasty: None) -> None:
    ended = threading.Event()

    def body(stdin: int, out: IO[bytes], _err: IO[bytes]) -> None:
        out.write(b"line\n" * 100_000)
        ended.set()

    engine = OneContainer(guest=Guest(body))
    with host.Leased(engine, SPEC, {}) as container:
        assert next(filter(None, container.lines())) == b"line"
        assert not ended.wait(0.1), "it waits for who reads"
    assert ended.is_set()
    assert engine.removed_names == []


def test_what_docker_complained_of_is_the_reason(hasty: None) -> None:
    engine = OneContainer(guest=Guest(lambda _stdin, _out, err: err.write(b"no such image\n")))
    with host.Leased(engine, SPEC, {"a": "b" * 100_000}) as container:
        assert list(filter(None, container.lines())) == []
        lost = container.lost("gone", "a hint")
    assert (lost.where, lost.why) == ("c", "no such image")


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The writing end of a pipe that is this process's standard input, as the container's side sees it."""
    read, write = os.pipe()
    stream = os.fdopen(read)
    monkeypatch.setattr("sys.stdin", stream)
    yield write
    stream.close()


def test_the_request_may_come_in_pieces_and_half_of_it_is_none(stdin: int) -> None:
    os.write(stdin, b'{"a":')
    threading.Timer(0.05, os.write, (stdin, b" 1}\n")).start()
    assert inside.read_request() == b'{"a": 1}\n'
    os.write(stdin, b"half")
    os.close(stdin)  # whoever asks is gone
    assert inside.read_request() == b""


@pytest.mark.parametrize("closed", [True, False], ids=["end of file", "silence"])
def test_the_lease_ends(stdin: int, closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "SILENCE_SECONDS", 0.3)
    stopped = threading.Event()
    lines: list[bytes] = []
    inside.watch(stopped.set, lines.append)
    for part in (b"\n", b"one\ntw", b"o\n\n", b"\n", b"half"):
        time.sleep(0.1)
        os.write(stdin, part)
    assert not stopped.is_set()
    assert lines == [b"one", b"two"], "replies come between renewals, and whole"
    if closed:
        os.close(stdin)
    assert stopped.wait(2)
    if not closed:
        os.close(stdin)


def in_a_container(body: Callable[[], object]) -> tuple[int, int]:
    """Run the container's side in a child; return its pid, and the writing end of its standard input."""
    read, write = os.pipe()
    if not (first := os.fork()):
        try:
            os.close(write)
            sys.stdin = os.fdopen(read)
            inside.continue_in_child()
            body()
        finally:
            os._exit(99)
    os.close(read)
    return first, write


@pytest.mark.allow_process(reason="a process that is stopped is another one")
def test_the_lease_ends_though_what_works_is_stopped() -> None:
    """As foreign code in the container can do."""
    said, say = os.pipe()

    def body() -> None:
        os.write(say, inside.read_request() + str(os.getpid()).encode())
        os.kill(os.getpid(), signal.SIGSTOP)

    first, stdin = in_a_container(body)
    os.write(stdin, b"a request\n")
    request, stopped = os.read(said, 100).decode().split("\n")
    assert request == "a request"
    os.close(stdin)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == 130
    finally:
        os.kill(int(stopped), signal.SIGKILL)  # in a container the kernel does that


@pytest.mark.allow_process(reason="it is the end of a process that counts")
@pytest.mark.parametrize(
    ("end", "code"),
    [(lambda: os._exit(31), 31), (lambda: os.kill(os.getpid(), signal.SIGKILL), 137)],
    ids=["exit", "kill"],
)
def test_the_container_ends_as_what_works_does(end: Callable[[], object], code: int) -> None:
    first, stdin = in_a_container(end)
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == code
    os.close(stdin)


@pytest.mark.allow_process(reason="it is a process that is told to end")
def test_the_container_ends_when_it_is_told_to() -> None:
    said, say = os.pipe()

    def body() -> None:
        os.write(say, str(os.getpid()).encode())
        time.sleep(60)

    first, stdin = in_a_container(body)
    works = int(os.read(said, 100))
    time.sleep(0.2)
    os.kill(first, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == 143
    os.kill(works, signal.SIGKILL)
    os.close(stdin)
