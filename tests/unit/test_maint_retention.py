"""What expires: one rule for images, ISOs, logs and stages, and the ages that people type."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synos_tasks.errors import OutputNotWritable, SettingsError
from synos_tasks.maint import retention
from synos_tasks.maint.retention import UNITS, seconds_of, verdicts
from synos_tasks.settings import Settings
from tests.unit.projects import tree

NOW = 1_800_000_000.0
DAY = 86400.0


@dataclass(frozen=True)
class Item:
    age: float
    group: str = ""

    @property
    def used(self) -> float:
        return NOW - self.age


ITEMS = st.lists(st.builds(Item, st.integers(0, 100), st.sampled_from(["", "a", "b"])), max_size=12)


def expired(items: list[Item], older: int, keep: int) -> list[Item]:
    judged = verdicts(items, now=NOW, older_than=older, keep_last=keep, group=lambda one: one.group)
    return [item for item, reason in reversed(judged) if not reason]


@given(ITEMS, st.integers(0, 100), st.integers(0, 4))
def test_what_expires_is_old_enough_and_not_among_the_newest(
    items: list[Item], older: int, keep: int
) -> None:
    gone = expired(items, older, keep)
    assert [one.age for one in gone] == sorted((one.age for one in gone), reverse=True)
    assert all(one.age >= older for one in gone)
    left = list(items)
    for one in gone:
        left.remove(one)
    for group in ("a", "b"):
        every = sorted(one.age for one in items if one.group == group)
        assert sorted(one.age for one in left if one.group == group)[:keep] == every[:keep]
        assert all(one.age < older for one in left if one.group == group and one.age not in every[:keep])


@given(ITEMS, st.integers(0, 100), st.integers(0, 4))
def test_a_second_time_nothing_expires(items: list[Item], older: int, keep: int) -> None:
    gone = expired(items, older, keep)
    left = list(items)
    for one in gone:
        left.remove(one)
    assert expired(left, older, keep) == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("12h", 43200), ("14d", 1_209_600), ("2w", 1_209_600), ("0d", 0), (" 3D ", 259_200)],
)
def test_an_age_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@given(st.integers(0, 999_999), st.sampled_from(sorted(UNITS)))
def test_every_number_with_every_unit_is_one(number: int, unit: str) -> None:
    assert seconds_of(f"{number}{unit}") == number * UNITS[unit]


def no_age(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,6}[mhdwMHDW]", text.strip()) is None


@given(st.text().filter(no_age))
@example("14")
@example("d")
@example("-1d")
@example("1.5h")
@example("1d2h")
@example("1 d")
@example("1000000d")
@example("٣d")
@example("1y")
@example("")
def test_anything_else_is_named_and_said_how(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        seconds_of(text)
    assert repr(text) in refused.value.what
    assert "14d" in refused.value.hint


# Logs


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path, project_id="synos-test")


def lay_log(settings: Settings, name: str, days: float) -> Path:
    path = settings.state_dir / "logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"said\n" * 1000)
    os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    return path


def old(settings: Settings, days: int) -> list[str]:
    return [log.path.name for log in retention.old_logs(settings, days, NOW)]


def test_logs_older_than_so_many_days_go(settings: Settings) -> None:
    for name, days in (("build.log", 31), ("packed.log.gz", 40), ("new.log", 29)):
        lay_log(settings, name, days)
    assert old(settings, 30) == ["packed.log.gz", "build.log"]
    retention.delete_logs(retention.old_logs(settings, 30, NOW))
    assert [log.path.name for log in retention.logs(settings)] == ["new.log"]


def test_zero_days_keep_all_and_without_a_folder_there_is_nothing_to_do(settings: Settings) -> None:
    assert old(settings, 30) == []
    assert not settings.state_dir.exists()
    lay_log(settings, "build.log", 4000)
    assert old(settings, 0) == []


def test_what_is_no_log_stays(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "outside.log").write_text("x")
    lay_log(settings, "notes.txt", 4000)
    folder = settings.state_dir / "logs"
    (folder / "link.log").symlink_to(tmp_path / "outside.log")
    (folder / "folder.log").mkdir()
    before = tree(tmp_path)
    retention.delete_logs(retention.old_logs(settings, 1, NOW))
    assert tree(tmp_path) == before


def test_a_log_that_cannot_be_deleted_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lay_log(settings, "build.log", 40)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputNotWritable) as refused:
        retention.delete_logs(retention.old_logs(settings, 30, NOW))
    assert refused.value.where == str(path)
