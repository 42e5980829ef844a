from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path
from typing import IO

import pytest

from synos_tasks.errors import OutputNotWritable
from synos_tasks.maint import logs
from synos_tasks.maint.files import PARTIAL
from synos_tasks.settings import Settings
from tests.unit.projects import tree

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
BUILD = "20270101T101010-build-abc.log"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / ".synos/logs").mkdir(parents=True)
    return Settings(root=tmp_path, project_id="synos-test")


def lay(settings: Settings, name: str, age: float, content: bytes = b"said\n" * 1000) -> Path:
    path = logs.folder_of(settings) / name
    path.write_bytes(content)
    path.chmod(0o640)
    os.utime(path, (NOW - age, NOW - age))
    return path


def names(settings: Settings) -> set[str]:
    return {path.name for path in logs.folder_of(settings).iterdir()}


def test_old_logs_go_packed_or_not(settings: Settings) -> None:
    for name in (BUILD, f"{BUILD}.gz", "dev-full.log"):
        lay(settings, name, 31 * DAY)
    done = logs.rotate(settings, 30, NOW)
    assert set(done.removed) == {BUILD, f"{BUILD}.gz", "dev-full.log"}
    assert not names(settings)
    assert done.before_bytes == 15_000
    assert done.after_bytes == 0


def test_one_of_yesterday_is_packed_with_its_date_mode_and_content(settings: Settings) -> None:
    path = lay(settings, BUILD, 25 * HOUR)
    before = path.stat()
    done = logs.rotate(settings, 30, NOW)
    packed = path.with_name(f"{BUILD}.gz")
    assert done.compressed == (BUILD,)
    assert names(settings) == {packed.name}
    assert gzip.decompress(packed.read_bytes()) == b"said\n" * 1000
    assert packed.stat().st_mtime_ns == before.st_mtime_ns
    assert packed.stat().st_mode == before.st_mode
    assert done.after_bytes == packed.stat().st_size < done.before_bytes
    again = logs.rotate(settings, 30, NOW)
    assert (again.removed, again.compressed, again.left) == ((), (), ())


def test_one_of_today_stays(settings: Settings) -> None:
    lay(settings, BUILD, 23 * HOUR)
    assert logs.rotate(settings, 30, NOW).compressed == ()
    assert names(settings) == {BUILD}


def test_a_large_one_does_not_wait_for_a_day(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LARGE", 1000)
    lay(settings, BUILD, 2 * HOUR)
    lay(settings, "20270102T101010-build-abd.log", HOUR / 2)
    done = logs.rotate(settings, 30, NOW)
    assert done.compressed == (BUILD,)
    assert done.left == ("20270102T101010-build-abd.log",)


def test_one_with_a_fixed_name_stays_until_it_is_large(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = {"crash.log", "dev-full.log", "base-image-bookworm.log"}
    for name in fixed:
        lay(settings, name, 5 * DAY)
    assert logs.rotate(settings, 30, NOW).compressed == ()
    assert names(settings) == fixed
    monkeypatch.setattr(logs, "LARGE", 1000)
    logs.rotate(settings, 30, NOW)
    assert names(settings) == {f"20270110T080000-{name}.gz" for name in fixed}


def test_the_next_of_a_fixed_name_does_not_replace_the_one_before(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LARGE", 10)
    for age in (5, 4):
        lay(settings, "dev-full.log", age * DAY, f"run {age}, and more of it".encode())
        logs.rotate(settings, 30, NOW)
    assert len(names(settings)) == 2


def test_one_that_a_process_has_open_is_left_alone(settings: Settings) -> None:
    old, day_old = lay(settings, BUILD, 40 * DAY), lay(settings, "20270102T101010-x.log", 2 * DAY)
    with old.open("ab"), day_old.open("ab"):
        done = logs.rotate(settings, 30, NOW)
    assert set(done.left) == names(settings) == {old.name, day_old.name}
    assert logs.rotate(settings, 30, NOW).left == ()


def test_no_days_mean_that_none_goes(settings: Settings) -> None:
    lay(settings, f"{BUILD}.gz", 4000 * DAY)
    assert logs.rotate(settings, 0, NOW).removed == ()


def test_dry_tells_the_same_and_changes_nothing(settings: Settings) -> None:
    lay(settings, BUILD, 2 * DAY)
    lay(settings, "dev-full.log", 40 * DAY)
    before = tree(settings.root)
    told = logs.rotate(settings, 30, NOW, dry=True)
    assert tree(settings.root) == before
    done = logs.rotate(settings, 30, NOW)
    assert (told.removed, told.compressed) == (done.removed, done.compressed)
    assert told.after_bytes == 5000


def test_what_is_no_log_is_none_of_ours(settings: Settings, tmp_path: Path) -> None:
    outside = tmp_path / "outside.log"
    outside.write_text("x")
    folder = logs.folder_of(settings)
    (folder / "link.log").symlink_to(outside)
    (folder / "folder.log").mkdir()
    lay(settings, "notes.txt", 4000 * DAY)
    before = tree(tmp_path)
    done = logs.rotate(settings, 1, NOW)
    assert (done.removed, done.compressed, done.before_bytes) == ((), (), 0)
    assert tree(tmp_path) == before


def test_without_a_folder_there_is_nothing_to_do(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, project_id="synos-test")
    assert logs.rotate(settings, 30, NOW).before_bytes == 0
    assert not (tmp_path / ".synos").exists()


def test_one_that_grows_while_it_is_packed_stays(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lay(settings, BUILD, 2 * DAY)
    copy = shutil.copyfileobj

    def grow(source: IO[bytes], target: IO[bytes]) -> None:
        copy(source, target)
        with path.open("ab") as stream:
            stream.write(b"more")

    monkeypatch.setattr(shutil, "copyfileobj", grow)
    logs.rotate(settings, 30, NOW)
    assert names(settings) == {BUILD}
    assert path.read_bytes().endswith(b"more")


@pytest.mark.parametrize("at", ["copyfileobj", "replace", "unlink"])
def test_cut_short_no_log_is_lost(settings: Settings, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    lay(settings, BUILD, 2 * DAY)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        target = shutil if at == "copyfileobj" else Path
        patch.setattr(target, at, die)
        with pytest.raises(KeyboardInterrupt):
            logs.rotate(settings, 30, NOW)
    assert names(settings) & {BUILD, f"{BUILD}.gz"}
    logs.rotate(settings, 30, NOW)
    assert names(settings) == {f"{BUILD}.gz"}
    packed = logs.folder_of(settings) / f"{BUILD}.gz"
    assert gzip.decompress(packed.read_bytes()) == b"said\n" * 1000


def test_what_a_killed_one_left_unfinished_goes(settings: Settings) -> None:
    lay(settings, BUILD, 2 * DAY)
    lay(settings, f"{PARTIAL}abc", HOUR)
    logs.rotate(settings, 30, NOW)
    assert names(settings) == {f"{BUILD}.gz"}


def test_a_disk_that_refuses_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lay(settings, BUILD, 40 * DAY)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputNotWritable, match="the logs") as refused:
        logs.rotate(settings, 30, NOW)
    assert refused.value.where == str(path)
