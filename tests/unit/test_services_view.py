"""What a person sees of services: durations and sizes, rows of a table, and lines that say only what is new."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks import console
from synos_tasks.services import view
from synos_tasks.services.health import Progress
from synos_tasks.services.status import ServiceStatus
from synos_tasks.services.view import LiveView, PlainView, duration, make_view, memory, rows

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}
REDIS = ServiceStatus(
    name="redis", state="running", health="healthy", uptime=65, cpu_percent=0.25, memory=5 * 2**20,
    memory_limit=768 * 2**20, ports=("127.0.0.1:6379->6379", "[::1]:1->1"), restarts=3, said="PONG",
)  # fmt: skip
MISSING = ServiceStatus(
    name="nats", state="missing", health="", uptime=None, cpu_percent=None, memory=None,
    memory_limit=None, ports=(), restarts=0, said="",
)  # fmt: skip


def progress(service: str, step: str, seconds: float = 0, said: str = "") -> Progress:
    return Progress(service=service, step=step, said=said, seconds=seconds, ready=step == "healthy")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 s"),
        (-5, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (245, "4 min 5 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (97200, "1 d 3 h"),
        (8640000, "100 d"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: int | None, text: str) -> None:
    assert duration(seconds) == text


@given(st.integers(0, 10**9))
def test_a_duration_says_what_it_was_but_for_what_is_smaller_than_it_says(seconds: int) -> None:
    text = duration(seconds)
    assert re.fullmatch(r"\d+ (d|h|min|s)( \d+ (h|min|s))?", text)
    parts = [(int(count), unit) for count, unit in re.findall(r"(\d+) (\w+)", text)]
    said = sum(count * SECONDS[unit] for count, unit in parts)
    assert 0 <= seconds - said < SECONDS[parts[-1][1]]
    assert seconds == said or len(parts) == 2
    sizes = [SECONDS[unit] for _, unit in parts]
    assert sizes == sorted(sizes, reverse=True)
    limits = {"h": 24, "min": 60, "s": 60}
    assert all(count < limits.get(unit, count + 1) for count, unit in parts)


@pytest.mark.parametrize(
    ("used", "limit", "text"),
    [
        (None, None, ""),
        (None, 5, ""),
        (2**20, None, "1 MB"),
        (2**20, 0, "1 MB"),
        (0, 2**20, "0 of 1 MB"),
        (3 * 2**19, 512 * 2**20, "2 of 512 MB"),
    ],
)
def test_memory_is_told_of_its_limit_where_there_is_one(
    used: int | None, limit: int | None, text: str
) -> None:
    assert memory(used, limit) == text


def test_a_row_has_a_cell_for_each_column() -> None:
    assert rows([REDIS, MISSING]) == [
        ["redis", "healthy", "1 min 5 s", "0.2 %", "5 of 768 MB", "3", "127.0.0.1:6379->6379, [::1]:1->1"],
        ["nats", "missing", "", "", "", "0", ""],
    ]
    assert all(len(row) == len(view.COLUMNS) for row in rows([REDIS, MISSING]))


def test_plain_lines_say_only_what_is_new(capfd: pytest.CaptureFixture[str]) -> None:
    looks: list[Sequence[Progress]] = [
        [progress("nats", "missing"), progress("redis", "starting", 0.2)],
        [progress("nats", "missing", 0.2), progress("redis", "starting", 0.4)],
        [progress("nats", "starting", 0.6), progress("redis", "starting", 0.6, "loading")],
        [progress("nats", "starting", 0.8), progress("redis", "healthy", 0.8)],
        [progress("nats", "healthy", 12.34), progress("redis", "healthy", 0.8)],
    ]
    with PlainView() as shown:
        for look in looks:
            shown.show(look)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "nats         missing      0.0 s",
        "redis        starting     0.2 s",
        "nats         starting     0.6 s",
        "redis        healthy      0.8 s",
        "nats         healthy     12.3 s",
    ]


def test_a_view_that_sees_nothing_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with PlainView() as shown:
        shown.show([])
    assert capfd.readouterr() == ("", "")


def test_without_a_terminal_lines_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_view(), PlainView)
    monkeypatch.setattr(console, "is_plain", lambda: False)
    assert isinstance(make_view(), LiveView)


def test_a_live_view_draws_the_last_look_and_what_a_check_says_until_all_is_well(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with LiveView() as shown:
        shown.show([progress("redis", "starting", 1, said="[red]loading[/red]")])
        shown.show([
            progress("redis", "healthy", 2.04, said="wrote and read"), progress("nats", "odd", said="[b")
        ])  # fmt: skip
    captured = capfd.readouterr()
    assert captured.out == ""
    assert re.search(r"redis +healthy +2\.0 s\s", captured.err)
    assert "wrote and read" not in captured.err
    assert "[b" in captured.err  # as it was said: no markup


def test_a_live_view_that_was_not_begun_draws_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    shown = LiveView()
    shown.show([progress("redis", "healthy")])
    shown.__exit__(None, None, None)
    assert capfd.readouterr() == ("", "")
