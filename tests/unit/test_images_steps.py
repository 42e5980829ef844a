"""What is told of the steps of an image's build, and of the one that fails."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.errors import BadSignature, ImageBuildFailed, MirrorUnreachable, SynosError
from synos_tasks.images.building import LAST_OUTPUT, Steps, _seconds

BEGAN = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


def _vertex(
    name: str = "[builder 2/3] RUN make && make install", ident: str = "sha256:a", **more: object
) -> dict[str, Any]:
    return {
        "digest": ident,
        "name": name,
        "started": "2024-05-06T07:08:09.000000001Z",
        "completed": "2024-05-06T07:08:10.500000001Z",
        **more,
    }


def _log(text: str | bytes, ident: str = "sha256:a") -> dict[str, Any]:
    data = text.encode() if isinstance(text, str) else text
    return {"logs": [{"vertex": ident, "stream": 1, "data": base64.b64encode(data).decode()}]}


def _said(*events: dict[str, Any]) -> list[str]:
    said: list[str] = []
    steps = Steps(said.append)
    for event in events:
        steps(event)
    return said


def test_a_step_is_a_line_with_its_seconds_told_once_and_when_it_has_ended() -> None:
    running = {"vertexes": [_vertex(completed=None)]}
    ended = {"vertexes": [_vertex()]}
    assert _said(running) == []
    assert _said(running, ended, ended) == ["    1.5 s  [builder 2/3] RUN make"]
    assert len(_said(ended, {"vertexes": [_vertex(ident="sha256:b")]})) == 2


def test_what_a_step_is_called_or_prints_does_not_steer_a_terminal() -> None:
    assert _said({"vertexes": [_vertex(name="RUN \x1b[2Jx\x07")]}) == ["    1.5 s  RUN x\ufffd"]
    with pytest.raises(ImageBuildFailed) as caught:
        _said(_log("a\x1b]0;b\x07\n"), {"vertexes": [_vertex(name="RUN\x9b", error="bad\x1bc")]})
    assert caught.value.where == "RUN\ufffd"
    assert caught.value.why == "a\ufffd]0;b\ufffd\nbad\ufffdc"


@given(st.integers(0, 10**6), st.integers(0, 999_999_999), st.integers(0, 9))
def test_seconds_are_right_however_many_digits_they_are_written_with(
    seconds: int, fraction: int, digits: int
) -> None:
    """Go leaves zeros at the end out, and the point with them."""
    written = f".{fraction:09}"[: digits + 1].rstrip("0").rstrip(".")
    ended = BEGAN + dt.timedelta(seconds=seconds)
    vertex = _vertex(started=f"{BEGAN:%Y-%m-%dT%H:%M:%S}Z", completed=f"{ended:%Y-%m-%dT%H:%M:%S}{written}Z")
    assert _seconds(vertex) == pytest.approx(seconds + float(written or 0), abs=1e-6)


@pytest.mark.parametrize("started", ["", "yesterday", None, 7])
def test_a_step_whose_times_are_unknown_is_told_all_the_same(started: object) -> None:
    assert _said({"vertexes": [_vertex(started=started)]}) == ["    0.0 s  [builder 2/3] RUN make"]


def test_a_failing_step_is_named_with_the_last_lines_that_it_said() -> None:
    lines = "".join(f"line {number}\n" for number in range(20))
    error = 'process "make" did not complete: exit code: 2'
    other = _log("of another step\n", "sha256:b")
    with pytest.raises(ImageBuildFailed) as caught:
        _said(_log(lines[:30]), other, _log(lines[30:]), {"vertexes": [_vertex(error=error)]})
    assert caught.value.where == "[builder 2/3] RUN make && make install"
    assert caught.value.why.splitlines() == [*(f"line {number}" for number in range(12, 20)), error]


def test_a_step_that_says_much_is_not_kept_whole() -> None:
    steps = Steps(print)
    for _ in range(100):
        steps(_log(b"\xff" * 1000))
    with pytest.raises(ImageBuildFailed) as caught:
        steps({"vertexes": [_vertex(error="failed")]})
    assert len(caught.value.why) <= LAST_OUTPUT + 10


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("Err:1 http://a.example bookworm InRelease  Could not resolve 'a.example'", MirrorUnreachable),
        ("E: Failed to fetch http://a.example/x/InRelease  Connection refused", MirrorUnreachable),
        ("E: Failed to fetch http://a.example/dists/x  Hash Sum mismatch", BadSignature),
    ],
)
def test_a_mirror_that_does_not_answer_or_serves_something_else_is_told_as_that(
    line: str, error: type[SynosError]
) -> None:
    with pytest.raises(error) as caught:
        _said(_log(f"{line}\n"), {"vertexes": [_vertex(error="exit code: 100")]})
    assert line in caught.value.why
    assert caught.value.where.startswith("[builder 2/3]")


def test_steps_that_ended_because_another_failed_are_not_to_blame() -> None:
    canceled = _vertex("[toolchain 1/9] RUN apt-get", "sha256:b", error="failed to solve: context canceled")
    failed = _vertex(error="exit code: 2")
    for vertexes in ([canceled, failed], [failed, canceled]):
        with pytest.raises(ImageBuildFailed) as caught:
            _said({"vertexes": vertexes})
        assert caught.value.where.startswith("[builder 2/3]")
