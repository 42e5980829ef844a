"""Backups are whole or not there, and are found by name, path and date."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from synos_tasks import backups
from synos_tasks.errors import BackupDamaged, DiskFull, OutputNotWritable, SettingsError
from tests.unit.backup_folders import FACTS, FILES, fill, make

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 2**22 + 1  # above pid_max of every Linux


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state/backups"


@pytest.fixture
def backup(folder: Path) -> Path:
    return make(folder)


def _raise(error: BaseException) -> Callable[[Path], NoReturn]:
    def now(_: Path) -> NoReturn:
        raise error

    return now


def test_what_was_written_is_what_verify_tells(backup: Path) -> None:
    manifest = backups.verify(backup)
    assert manifest.name == "one"
    assert manifest.facts == FACTS
    assert {file.path: file.bytes for file in manifest.files} == {p: len(c) for p, c in FILES.items()}
    assert [file.path for file in manifest.files] == sorted(FILES)
    assert manifest.bytes == sum(map(len, FILES.values()))
    made = dt.datetime.strptime(manifest.created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.UTC)
    assert abs(dt.datetime.now(dt.UTC) - made) < dt.timedelta(minutes=1)


def test_the_manifest_is_json_with_a_schema_and_a_sum_for_sha256sum(backup: Path) -> None:
    raw = (backup / "manifest.json").read_bytes()
    data = json.loads(raw)
    assert data["schema"] == "synos.backup/1"
    assert set(data) == {"schema", "name", "created", "facts", "files"}
    assert data["files"][0] == {"path": "empty", "bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    expected = f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n"
    assert (backup / "manifest.json.sha256").read_text() == expected


@pytest.mark.parametrize("umask", [0, 0o022])
def test_nobody_else_can_read_it_whatever_the_umask(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        backup = make(folder)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, backup, *backup.rglob("*")]}
    assert all(bits == (0o700 if path.is_dir() else 0o600) for path, bits in modes.items())


def test_meanwhile_it_is_hidden_and_closed_to_others(folder: Path) -> None:
    with backups.new_backup(folder, "one", {}) as working:
        assert working == folder / f".partial-one-{os.getpid()}"
        assert stat.S_IMODE(working.stat().st_mode) == 0o700
        assert not (folder / "one").exists()
        assert backups.listing(folder) == []
        with pytest.raises(SettingsError):
            backups.find(folder, working.name)
    assert [path.name for path in folder.iterdir()] == ["one"]


def test_all_is_on_disk_before_it_has_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def spy_fsync(descriptor: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(folder)))
        fsync(descriptor)

    def spy_rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "rename", spy_rename)
    make(folder)
    working = f".partial-one-{os.getpid()}"
    wanted = {
        working,
        *(f"{working}/{p}" for p in [*FILES, "manifest.json", "manifest.json.sha256", "nats/stream"]),
    }
    assert wanted <= set(done[: done.index("rename")])
    assert done[-1] == "."


def test_facts_may_be_learnt_while_it_is_made(folder: Path) -> None:
    facts: dict[str, int] = {}
    with backups.new_backup(folder, "one", facts):
        facts["rows"] = 3
    assert backups.verify(folder / "one").facts == {"rows": 3}


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), BackupDamaged("x"), OSError(5, "x", "/else")]
)
def test_after_an_exception_nothing_is_left(folder: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        make(folder, then=_raise(error))
    assert list(folder.iterdir()) == []


def test_facts_that_are_no_json_leave_nothing(folder: Path) -> None:
    with pytest.raises(TypeError), backups.new_backup(folder, "one", {"a": object()}) as working:
        fill(working, FILES)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_what_is_free(folder: Path, number: int) -> None:
    with pytest.raises(DiskFull) as caught:
        make(folder, then=_raise(OSError(number, os.strerror(number))))
    assert caught.value.where == str(folder)
    assert caught.value.why.split()[0].isdecimal()
    assert list(folder.iterdir()) == []


def test_a_disk_that_fills_while_it_is_sealed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        make(folder)
    assert list(folder.iterdir()) == []


def test_another_disk_that_is_full_is_the_callers_affair(folder: Path) -> None:
    with pytest.raises(OSError, match="full"), backups.new_backup(folder, "one", {}):
        raise OSError(errno.ENOSPC, "full", "/elsewhere/file")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritable) as caught:
        make(tmp_path / "file")
    assert str(tmp_path) in caught.value.where


def test_a_name_that_is_there_is_refused_before_any_work(backup: Path) -> None:
    with pytest.raises(SettingsError, match="already"), backups.new_backup(backup.parent, "one", {}):
        pytest.fail("the work began")
    backups.verify(backup)


@pytest.mark.parametrize("kind", ["backup", "file"])
def test_a_name_that_was_taken_meanwhile_is_refused(folder: Path, kind: str) -> None:
    def take(_: Path) -> None:
        if kind == "file":
            (folder / "one").touch()
        else:
            fill(folder / "one", {"theirs": b"1"})

    with pytest.raises(SettingsError, match="already"):
        make(folder, then=take)
    assert [path.name for path in folder.iterdir()] == ["one"]


def test_leftovers_of_dead_commands_go_and_those_of_running_ones_stay(folder: Path) -> None:
    own, running = f".partial-one-{os.getpid()}", ".partial-two-1"
    for name in (own, running, f".partial-x-y-{NOBODY}", ".partial-somebodys"):
        fill(folder / name, {"half": b"1"})
    assert backups.verify(make(folder)).bytes == sum(map(len, FILES.values()))
    assert {path.name for path in folder.iterdir()} == {"one", running, ".partial-somebodys"}


def test_a_leftover_that_is_a_link_takes_nothing_with_it(folder: Path, tmp_path: Path) -> None:
    fill(tmp_path / "precious", {"file": b"1"})
    folder.mkdir(parents=True)
    (folder / f".partial-x-{NOBODY}").symlink_to(tmp_path / "precious")
    make(folder)
    assert (tmp_path / "precious/file").exists()


@pytest.mark.parametrize("put", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
def test_only_files_are_backed_up(folder: Path, put: Callable[[Path], None]) -> None:
    with pytest.raises(BackupDamaged):
        make(folder, then=lambda working: put(working / "nats/odd"))
    assert list(folder.iterdir()) == []


def test_the_manifests_name_is_ours(folder: Path) -> None:
    with pytest.raises(OutputNotWritable):
        make(folder, files={"manifest.json": b"{}"})
    assert list(folder.iterdir()) == []


def test_names_of_files_may_be_anything(folder: Path) -> None:
    odd = {os.fsdecode(b"n\xff/\xfe\n"): b"1", 'a "b" \\ %': b"2", "é/manifest.json": b"3", "-": b"4"}
    assert {file.path for file in backups.verify(make(folder, files=odd)).files} == set(odd)


@pytest.mark.parametrize("name", ["a", "20261125T043000", "before-upgrade_1.2", "-", "_", "x" * 64])
def test_names_that_are_good(name: str) -> None:
    assert backups.valid_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "a\n", "ä", "x" * 65, "a\0", "~"])
def test_names_that_are_not(folder: Path, name: str) -> None:
    with pytest.raises(SettingsError):
        backups.valid_name(name)
    with pytest.raises(SettingsError), backups.new_backup(folder, name, {}):
        pytest.fail("the work began")


def test_a_free_name_is_the_first_that_nothing_has(tmp_path: Path) -> None:
    assert backups.free_name(tmp_path / "nowhere", "x") == "x"
    (tmp_path / "x").mkdir()
    assert backups.free_name(tmp_path, "x") == "x-2"
    (tmp_path / "x-2").symlink_to("nothing")
    assert backups.free_name(tmp_path, "x") == "x-3"
    assert backups.valid_name("x-3") == "x-3"


def test_the_default_name_is_the_time_and_valid() -> None:
    name = backups.default_name(dt.datetime(2026, 11, 25, 4, 30, tzinfo=dt.UTC))
    assert backups.valid_name(name) == "20261125T043000"


def test_a_backup_is_found_by_name_or_path(backup: Path, tmp_path: Path) -> None:
    assert backups.find(backup.parent, "one") == backup
    brought = shutil.copytree(backup, tmp_path / "usb stick/two")
    assert backups.find(backup.parent, f"{brought}/") == brought
    assert backups.verify(brought).name == "one"


def test_an_unknown_backup_is_answered_with_those_there_are(backup: Path) -> None:
    make(backup.parent, "before-upgrade")
    with pytest.raises(SettingsError) as caught:
        backups.find(backup.parent, "befor-upgrade")
    assert caught.value.hint == "did you mean 'before-upgrade'? there are: before-upgrade, one"
    for name in ("", ".", "..", "./one", "/nowhere/at/all", "a\0b", "/a\0b"):
        with pytest.raises(SettingsError):
            backups.find(backup.parent, name)


def test_where_there_is_none_that_is_said(folder: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        backups.find(folder, "one")
    assert caught.value.hint == f"there is none in {folder}"
    assert backups.listing(folder) == []


def test_the_listing_has_the_newest_first_and_says_what_is_wrong(folder: Path) -> None:
    for name, created in (
        ("old", "2026-01-01T00:00:00Z"),
        ("new", "2026-03-01T00:00:00Z"),
        ("mid", "2026-02-01T00:00:00Z"),
    ):
        redate(make(folder, name), created)
    (folder / "empty").mkdir()
    (folder / ".hidden").mkdir()
    (folder / "notes.txt").touch()
    (folder / "old/redis.rdb").unlink()
    (folder / "mid/redis.rdb").write_bytes(b"SEDIS0011")  # the same size: a listing reads no contents
    found = backups.listing(folder)
    assert [one.name for one in found] == ["new", "mid", "old", "empty"]
    assert [one.trouble for one in found] == ["", "", "redis.rdb: is missing", "manifest.json is missing"]
    assert found[0].created == "2026-03-01T00:00:00Z"
    assert found[0].facts == FACTS
    assert found[0].bytes == sum(map(len, FILES.values()))
    assert (found[3].created, found[3].bytes, found[3].facts) == ("", 0, {})


def test_a_listing_reads_no_contents(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("a file was read"))
    assert backups.listing(backup.parent)[0].trouble == ""


def redate(backup: Path, created: str) -> None:
    data = json.loads((backup / "manifest.json").read_text())
    raw = json.dumps({**data, "created": created}).encode()
    (backup / "manifest.json").write_bytes(raw)
    (backup / "manifest.json.sha256").write_text(f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n")
