"""What a person sees of a build, in a terminal and in a log, and what is remembered for the next one."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import pytest

from synos_tasks.build.view import LiveView, PlainView, progress_text, remember, view_for
from synos_tasks.builder import build_seconds
from synos_tasks.iso import plan as plans
from synos_tasks.iso.lock import Lock
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.protocol import Delivered, Done, Event, Failure, Log, Progress, Start, Tick
from synos_tasks.iso.stages.overlay import BASE_OVERLAY
from tests.unit.projects import settings_in

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.settings import Settings

STAGES = ["base", "packages-minimal", "iso"]
DONE = Done(name="base", key="k", hit=False, seconds=2.5, bytes=10**6)
FOUND = Done(name="packages-minimal", key="k", hit=True, seconds=0.0, bytes=10**6)
EVENTS: list[Event] = [
    Tick(), Start(stage="base"), Log(stage="base", line="hello"), Progress(stage="base", fraction=0.5),
    Start(stage="unknown"), Progress(stage="unknown", fraction=0.5), DONE, FOUND, Start(stage="iso"), Tick(),
    Failure(kind="StageFailed", error="failed"), Delivered(build_id="0123456789ab"),
]  # fmt: skip


def test_a_pipe_gets_a_line_when_a_stage_starts_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainView() as view:
        for event in EVENTS:
            view.handle(event)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split() for line in shown.err.splitlines()] == [
        ["base", "started"],
        ["unknown", "started"],
        ["base", "done", "2.5", "s", "1.0", "MB"],
        ["packages-minimal", "in", "store", "0.0", "s", "1.0", "MB"],
        ["iso", "started"],
    ]


def test_a_terminal_gets_a_bar_for_each_stage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with LiveView(STAGES, {"iso": 30.0}) as view:
        for event in EVENTS:
            view.handle(event)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2.5 s" in shown.err
    assert "in store" in shown.err, "a stage that was not run says so"
    assert "stopped" in shown.err, "a stage that did not end says so"


def test_a_bar_has_percent_and_the_time_left_where_the_whole_is_known() -> None:
    assert progress_text(10, 40) == "10 s  25 %  about 30 s left"
    assert progress_text(41, 40) == "41 s, longer than the 40 s expected"
    assert progress_text(10, None) == "10 s"


def test_a_tool_that_reports_a_fraction_gives_the_time_left() -> None:
    with LiveView(["squashfs"], {}) as view:
        view.handle(Start(stage="squashfs"))
        [task] = view._progress.tasks
        task.start_time = time.monotonic() - 10
        view.handle(Progress(stage="squashfs", fraction=0.25))
        assert task.fields["time"] == "10 s  25 %  about 30 s left"


def test_the_view_fits_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(view_for(STAGES, {}), LiveView)
    monkeypatch.setenv("NO_COLOR", "1")
    assert type(view_for(STAGES, {})) is PlainView


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


PLAN = plans.make(
    Profile(name="x", layers=(("base", ()),)),
    Lock(request="", epoch=0, packages=()),
    files={BASE_OVERLAY: "1"},
    tools="",
)


def test_what_was_not_found_in_the_store_is_remembered_for_its_profile_alone(settings: Settings) -> None:
    settings.project.state_dir.mkdir()
    before = {"x": {"packages-minimal": 9.0, "base": 1.0}, "y": {"iso": 1.0}}
    (settings.project.state_dir / "history.json").write_text(json.dumps(before))
    remember(settings, PLAN, [DONE, FOUND])
    assert build_seconds(settings) == {"x": {"packages-minimal": 9.0, "base": 2.5}, "y": {"iso": 1.0}}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"x": 7}', '{"x": "abc"}', "\0"])
def test_a_damaged_history_counts_as_empty(settings: Settings, text: str) -> None:
    settings.project.state_dir.mkdir()
    (settings.project.state_dir / "history.json").write_text(text)
    assert build_seconds(settings) == {}
    remember(settings, PLAN, [DONE])
    assert build_seconds(settings) == {"x": {"base": 2.5}}
