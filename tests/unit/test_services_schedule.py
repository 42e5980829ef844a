"""Backups as cron takes them: verified, few enough, never the last good one, and watched."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invoke.collection import Collection

from synos_tasks import archive
from synos_tasks.archive import Summary
from synos_tasks.errors import BackupDamaged, WrongUse
from synos_tasks.services import backup, schedule, stack, tasks
from synos_tasks.services.adapters import ADAPTERS
from tests.unit.fake_compose import NAMES, FakeAdapter, Scene, scene
from tests.unit.verbs import inv

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("keep_signals")
Shown = pytest.CaptureFixture[str]
WHOLE = {name: {"version": "1"} for name in NAMES}
MONDAY = dt.datetime(2026, 11, 30, 2, 30, tzinfo=dt.UTC)


def taken(days: float, facts: dict[str, Any] = WHOLE, name: str = "", trouble: str = "") -> Summary:
    """Return a backup that was taken so many days before a Monday."""
    when = MONDAY - dt.timedelta(days=days)
    name = name or f"{when:%Y%m%dT%H%M%S}"
    return Summary(name, when.strftime(archive.CREATED), 1, facts, trouble)


def left(found: list[Summary], last: int, weekly: int) -> list[Summary]:
    gone = schedule.expired(found, last=last, weekly=weekly)
    return [one for one in found if one not in gone]


def test_the_newest_stay_and_the_newest_of_each_week() -> None:
    every = [taken(day) for day in range(60)]
    assert left(every, 7, 0) == every[:7]
    # day 1 is the Sunday before: the newest of its week
    assert left(every, 0, 3) == [every[0], every[1], every[8]]
    assert left(every, 3, 3) == [*every[:3], every[8]]


def test_a_week_without_a_backup_does_not_count() -> None:
    every = [taken(0), taken(70), taken(71), taken(140)]
    assert left(every, 1, 2) == every[:2]


NAMED = [taken(90, name="release"), taken(91, name="before-restore-20260101T000000")]


def test_what_a_person_named_or_what_is_damaged_does_not_expire() -> None:
    damaged = taken(92, trouble="redis/number: is missing")
    every = [taken(0), taken(1), *NAMED, damaged]
    assert left(every, 1, 0) == [every[0], *NAMED, damaged]


def test_backups_of_one_service_do_not_displace_whole_ones() -> None:
    lacking = {**WHOLE, "postgres": {"left_out": [{"what": "database x", "why": "1", "data": True}]}}
    whole, parts = taken(9), [taken(day, {"redis": {"version": "1"}}) for day in range(4)]
    less = [taken(5, lacking), taken(6, lacking)]
    assert left([*parts, *less, whole], 1, 0) == [parts[0], less[0], whole]


@given(
    days=st.lists(st.integers(0, 100), max_size=30, unique=True),
    parts=st.sets(st.integers(0, 100)),
    last=st.integers(0, 9),
    weekly=st.integers(0, 9),
)
def test_retention_is_stable_and_keeps_the_newest(
    days: list[int], parts: set[int], last: int, weekly: int
) -> None:
    every = [taken(day, {"redis": {}} if day in parts else WHOLE) for day in sorted(days)]
    stay = left(every, last, weekly)
    assert left(stay, last, weekly) == stay
    for facts in [WHOLE, {"redis": dict[str, str]()}]:
        group = [one for one in every if one.facts == facts]
        assert [one for one in stay if one in group][:last] == group[:last]
        assert group[:1] == [one for one in stay if one in group][:1] or not last + weekly


# ---- with a stack


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = scene(tmp_path)
    made.runs()
    monkeypatch.setattr(stack, "open_stack", lambda *_: made.context)
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.setitem(ADAPTERS, name, FakeAdapter(name, holds=2))
    return made


def run(*words: str) -> int:
    return inv(Collection(services=tasks.namespace), *words)


def lay(here: Scene, name: str, days: float = 0.0, services: list[str] = NAMES) -> Path:
    """Take a backup that says that it was taken some days ago."""
    facts = {service: ADAPTERS[service].facts(here.context) for service in services}
    folder = backup.folder_of(here.context)
    with archive.create(folder, name, facts) as draft:
        for service in services:
            ADAPTERS[service].save(here.context, draft.below(service), facts[service])
    manifest = archive.manifest_of(folder / name)
    when = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
    text = dataclasses.replace(manifest, created=when.strftime(archive.CREATED)).text().encode()
    (folder / name / archive.MANIFEST).write_bytes(text)
    (folder / name / archive.CHECKSUM).write_bytes(archive._checksum(text))
    return folder / name


def names(here: Scene) -> list[str]:
    return sorted(path.name for path in backup.folder_of(here.context).iterdir())


def test_one_command_takes_a_backup_and_removes_those_that_expired(here: Scene, capfd: Shown) -> None:
    old = [lay(here, f"2026010{day}T023000", 30 + day).name for day in (1, 2, 3)]
    lay(here, "release", 100)
    assert run("services.backup", "--keep", "2", "--json") == 0
    shown = capfd.readouterr()
    told = json.loads(shown.out)
    assert told["removed"] == [old[1], old[2]]
    assert shown.err.endswith(f"restore it: inv services.restore {told['name']}\n")
    assert f"removed 2 old, 0 kB: {old[1]}, {old[2]}" in shown.err
    assert names(here) == sorted([old[0], "release", told["name"]])
    assert run("services.backup") == 0
    assert len(names(here)) == 4, "without --keep nothing is removed"


def test_a_clock_that_was_wrong_does_not_remove_what_was_just_taken(here: Scene, capfd: Shown) -> None:
    lay(here, "20990101T023000", -9999)
    assert run("services.backup", "--keep", "1", "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert told["name"] in names(here)


def test_nothing_is_removed_when_the_new_one_cannot_be_read_back(
    here: Scene, capfd: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (1, 2):
        lay(here, f"2026010{day}T023000", 30 + day)
    take = backup.backup

    def harmed(*args: Any, **options: Any) -> Path:  # noqa: ANN401
        path = take(*args, **options)
        (path / "redis/number").write_text("9")
        return path

    monkeypatch.setattr(backup, "backup", harmed)
    assert run("services.backup", "--keep", "1") == BackupDamaged.exit_code
    assert len(names(here)) == 3


def test_a_damaged_one_stays_and_is_named(here: Scene, capfd: Shown) -> None:
    (lay(here, "20260101T023000", 30) / "redis/number").unlink()
    assert run("services.backup", "--keep", "1") == 0
    assert "20260101T023000" in names(here)
    assert here.said[-1] == (
        "warning: backup 20260101T023000 is damaged, and is not removed: redis/number: is missing"
    )


def test_monitoring_learns_what_is_wrong(here: Scene, capfd: Shown) -> None:
    def check(*words: str) -> tuple[int, list[list[str]]]:
        code = run("services.backups", "--check", "--json", *words)
        told = json.loads(capfd.readouterr().out)
        assert ("error" in told) == bool(code)
        return code, [[one["kind"], one["what"]] for one in told["problems"]]

    assert check() == (45, [["missing", name] for name in NAMES])
    lay(here, "old", 2)
    assert check() == (45, [["old", name] for name in NAMES])
    assert check("--max-age", "3d") == (0, [])
    lay(here, "part", 0, ["redis"])
    assert check() == (45, [["old", "nats"], ["old", "postgres"]])
    whole = lay(here, "whole", 0)
    assert check() == (0, [])
    (whole / "redis/number").write_text("9")  # of the same size
    assert check()[1] == [["damaged", "whole"], ["old", "nats"], ["old", "postgres"]]
    assert run("services.backups", "--check") == 45
    assert "whole: redis/number: its SHA-256 differs" in capfd.readouterr().err
    assert run("services.backups", "--check", "--max-age", "soon") == WrongUse.exit_code


def test_what_a_backup_had_to_leave_out_is_a_problem(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"what": "database x", "why": "its name is too long", "data": True}
    facts = {**WHOLE, "postgres": {"left_out": [entry, {**entry, "what": "passwords", "data": False}]}}
    monkeypatch.setattr(backup, "listing", lambda _: [taken(0, facts)])
    monkeypatch.setattr(backup, "verify", lambda _: None)
    [found] = schedule.problems(here.context, 3600, MONDAY.timestamp())
    assert (found.kind, found.what) == ("incomplete", "postgres")
    assert "database x: its name is too long" in found.why
