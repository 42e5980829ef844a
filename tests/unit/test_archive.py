"""Archives are whole or absent, and whatever is done to a byte or file of one is found before anybody uses it."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from synos_tasks import archive
from synos_tasks.errors import BackupDamaged, DiskFull, OutputNotWritable, SettingsError
from tests.unit.contexts import files as lay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from synos_tasks.shapes import Shape

FACTS = {"postgres": {"version": "17.2", "rows": 12}, "services": ["nats", "redis"]}
FILES = {
    "postgres.dump": b"PGDMP" * 50,
    "nats/stream/1.blk": b"\0\1\2",
    "redis.rdb": b"REDIS0011",
    "empty": b"",
}
ENTRY = {"path": "x", "bytes": 1, "sha256": "0" * 64}


def write(draft: archive.Draft, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        folder, _, name = path.rpartition("/")
        with (draft.below(folder) if folder else draft).file(name) as out:
            out.write(content[:2])
            out.write(content[2:])


def make(folder: Path, name: str = "one", files: dict[str, bytes] | None = None) -> Path:
    with archive.create(folder, name, FACTS) as draft:
        write(draft, FILES if files is None else files)
    return folder / name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state/backups"


@pytest.fixture
def backup(folder: Path) -> Path:
    return make(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("backups"))


@pytest.fixture(scope="module")
def copy(whole: Path) -> Iterator[Callable[[], Path]]:
    """Returns a fresh copy of one backup, as often as a property needs it."""
    with tempfile.TemporaryDirectory() as place:
        count = iter(range(10**9))
        yield lambda: Path(shutil.copytree(whole, Path(place) / str(next(count))))


def why(backup: Path) -> str:
    with pytest.raises(BackupDamaged) as caught:
        archive.verify(backup)
    assert caught.value.where == str(backup)
    assert "nothing was touched" in caught.value.hint
    return caught.value.why


def rewrite(backup: Path, raw: bytes) -> None:
    """Put another manifest in place, with a checksum that fits."""
    (backup / archive.MANIFEST).write_bytes(raw)
    (backup / archive.CHECKSUM).write_text(f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n")


def edit(backup: Path, **changes: Any) -> None:  # noqa: ANN401
    data = json.loads((backup / archive.MANIFEST).read_text())
    rewrite(backup, json.dumps({**data, **changes}).encode())


def files_of(backup: Path) -> list[Path]:
    return sorted(path for path in backup.rglob("*") if path.is_file())


# writing


def test_what_was_written_is_what_verify_returns(backup: Path) -> None:
    manifest = archive.verify(backup)
    assert manifest == archive.manifest_of(backup)
    assert (manifest.name, manifest.facts, manifest.bytes) == ("one", FACTS, sum(map(len, FILES.values())))
    assert {file.path: file.bytes for file in manifest.files} == {path: len(FILES[path]) for path in FILES}
    assert abs(dt.datetime.now(dt.UTC).timestamp() - manifest.time) < 60


def test_the_manifest_is_json_with_a_schema_and_a_sum_for_sha256sum(backup: Path) -> None:
    raw = (backup / "manifest.json").read_bytes()
    data = json.loads(raw)
    assert data["schema"] == "synos.backup/1"
    assert set(data) == {"schema", "name", "created", "facts", "files"}
    assert data["files"][0] == {"path": "empty", "bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    checksum = (backup / "manifest.json.sha256").read_text()
    assert checksum == f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n"


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
    with archive.create(folder, "one", {}) as draft:
        assert draft.folder.parent == folder
        assert draft.folder.name.startswith(".")
        assert stat.S_IMODE(draft.folder.stat().st_mode) == 0o700
        assert not (folder / "one").exists()
        assert archive.listing(folder) == []
        with pytest.raises(SettingsError):
            archive.find(folder, draft.folder.name)
    assert [path.name for path in folder.iterdir()] == ["one"]


def test_all_is_on_disk_before_it_has_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def spy_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(folder)
        done.append("/".join(path.parts[1:] if path.parts and path.parts[0].startswith(".") else path.parts))
        fsync(descriptor)

    def spy_rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "rename", spy_rename)
    make(folder)
    before = done[: done.index("rename")]
    assert {*FILES, "manifest.json", "manifest.json.sha256", "nats/stream", "nats", ""} <= set(before)
    assert done[-1] == ""


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), BackupDamaged("x"), OSError(5, "x", "/else")]
)
def test_after_an_exception_nothing_is_left(folder: Path, error: BaseException) -> None:
    def fail() -> None:
        with archive.create(folder, "one", {}) as draft:
            write(draft, FILES)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("at", [(archive.Output, "write"), (os, "fsync")])
def test_a_full_disk_is_named_with_what_is_free(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, at: tuple[object, str]
) -> None:
    monkeypatch.setattr(*at, Mock(side_effect=OSError(number, os.strerror(number))))
    with pytest.raises(DiskFull) as caught:
        make(folder)
    assert caught.value.where == str(folder)
    assert caught.value.why.split()[0].isdecimal()
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritable) as caught:
        make(tmp_path / "file")
    assert str(tmp_path) in caught.value.where


def test_a_name_that_is_taken_is_refused_before_any_work(backup: Path) -> None:
    with pytest.raises(SettingsError, match="already"), archive.create(backup.parent, "one", {}):
        pytest.fail("the work began")
    archive.verify(backup)


@pytest.mark.parametrize("theirs", ["one", "one/theirs"])
def test_a_name_that_was_taken_meanwhile_is_not_overwritten(folder: Path, theirs: str) -> None:
    with pytest.raises(OutputNotWritable), archive.create(folder, "one", {}):
        lay(folder, theirs)
    assert [path.name for path in folder.iterdir()] == ["one"]


def test_what_killed_commands_left_goes_and_what_is_being_written_stays(folder: Path, tmp_path: Path) -> None:
    lay(tmp_path, "precious/file")
    folder.mkdir(parents=True)
    (folder / f"{archive.PARTIAL}killed").mkdir()
    (folder / f"{archive.PARTIAL}link").symlink_to(tmp_path / "precious")
    (folder / "other").mkdir()
    with archive.create(folder, "first", FACTS) as draft:
        assert {path.name for path in folder.iterdir()} == {"other", draft.folder.name}
        make(folder, "second")
        write(draft, FILES)
    assert {path.name for path in folder.iterdir()} == {"other", "first", "second"}
    archive.verify(folder / "first")
    assert (tmp_path / "precious/file").exists()


def test_names_of_files_may_be_anything(folder: Path) -> None:
    odd = {os.fsdecode(b"n\xff/\xfe\n"): b"1", 'a "b" \\ %': b"2", "é/manifest.json": b"3", "-": b"4"}
    assert {file.path for file in archive.verify(make(folder, files=odd)).files} == set(odd)


# names


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "a\n", "ä", "x" * 65, "a\0", "~"])
def test_names_that_are_not(folder: Path, name: str) -> None:
    with pytest.raises(SettingsError), archive.create(folder, name, {}):
        pytest.fail("the work began")


def test_an_unused_name_is_the_time_and_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Clock:
            return cls(2026, 11, 25, 4, 30, tzinfo=tz)

    monkeypatch.setattr(dt, "datetime", Clock)
    assert archive.unused_name(tmp_path / "nowhere") == "20261125T043000"
    (tmp_path / "x-20261125T043000").mkdir()
    assert archive.unused_name(tmp_path, "x-") == "x-20261125T043000-2"
    (tmp_path / "x-20261125T043000-2").symlink_to("nothing")
    assert archive.check_name(archive.unused_name(tmp_path, "x-")) == "x-20261125T043000-3"


def test_a_backup_is_found_by_name_or_path(backup: Path, tmp_path: Path) -> None:
    assert archive.find(backup.parent, "one") == backup
    brought = shutil.copytree(backup, tmp_path / "usb stick/two")
    assert archive.find(backup.parent, f"{brought}/") == brought
    assert archive.verify(brought).name == "one"


def test_an_unknown_backup_is_answered_with_those_there_are(backup: Path, tmp_path: Path) -> None:
    make(backup.parent, "before-upgrade")
    with pytest.raises(SettingsError) as caught:
        archive.find(backup.parent, "befor-upgrade")
    assert caught.value.hint == "did you mean 'before-upgrade'?"
    for name in ("", ".", "..", "./one", "/nowhere/at/all", "a\0b", "/a\0b"):
        with pytest.raises(SettingsError):
            archive.find(backup.parent, name)
    with pytest.raises(SettingsError) as caught:
        archive.find(tmp_path / "none", "one")
    assert caught.value.hint == "there are: none"


# listing


def test_the_listing_has_the_newest_first_and_says_what_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, month in (("old", 1), ("new", 3), ("mid", 2)):
        edit(make(folder, name), created=f"2026-0{month}-01T00:00:00Z")
    for name in ("empty", ".hidden"):
        (folder / name).mkdir()
    lay(folder, "notes.txt")
    (folder / "old/redis.rdb").unlink()
    (folder / "mid/redis.rdb").write_bytes(b"SEDIS0011")  # the same size: a listing reads no contents
    monkeypatch.setattr(shutil, "copyfileobj", lambda *_: pytest.fail("a file was read"))
    new, mid, old, empty = archive.listing(folder)
    assert (new.name, mid.name, old.name, empty.name) == ("new", "mid", "old", "empty")
    assert (new.trouble, mid.trouble, old.trouble) == ("", "", "redis.rdb: is missing")
    assert "manifest.json cannot be read: No such file" in empty.trouble
    assert (new.created, new.facts, new.bytes) == ("2026-03-01T00:00:00Z", FACTS, 262)
    assert (empty.created, empty.bytes, empty.facts) == ("", 0, {})
    assert archive.listing(folder / "nowhere") == []


# damage


@given(data=st.data())
def test_any_flipped_byte_is_found(copy: Callable[[], Path], data: st.DataObject) -> None:
    backup = copy()
    path = data.draw(st.sampled_from([path for path in files_of(backup) if path.stat().st_size]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert why(backup)


@given(data=st.data())
def test_any_shorter_or_longer_file_is_found(copy: Callable[[], Path], data: st.DataObject) -> None:
    backup = copy()
    path = data.draw(st.sampled_from(files_of(backup)))
    content = path.read_bytes()
    shorter = st.integers(0, max(0, len(content) - 1)).map(lambda size: content[:size])
    longer = st.binary(min_size=1, max_size=5).map(lambda more: content + more)
    path.write_bytes(data.draw(longer | shorter if content else longer))
    assert path.name in why(backup) or path.name == archive.MANIFEST


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20)


@given(NAMES, st.sampled_from(["", "nats", "nats/new"]))
def test_every_added_file_is_found(copy: Callable[[], Path], name: str, place: str) -> None:
    backup = copy()
    path = backup / place / name
    assume(name != ".." and not os.path.lexists(path))
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert "is not in the manifest" in why(backup)


def test_all_that_is_damaged_is_named(backup: Path) -> None:
    (backup / "postgres.dump").write_bytes(b"QGDMP" * 50)
    (backup / "redis.rdb").write_bytes(b"RE")
    (backup / "nats/stream/1.blk").unlink()
    (backup / "nats/stream/2.blk").touch()
    assert why(backup).splitlines() == [
        "nats/stream/1.blk: is missing",
        "postgres.dump: its SHA-256 differs",
        "redis.rdb: has 2 bytes, not 9",
        "nats/stream/2.blk: is not in the manifest",
    ]


def test_links_are_damage_even_to_the_same_bytes(backup: Path, tmp_path: Path) -> None:
    for name in ("redis.rdb", "nats"):
        (backup / name).rename(tmp_path / name)
        (backup / name).symlink_to(tmp_path / name)
    assert why(backup).splitlines() == [
        "nats/stream/1.blk: is missing",
        "redis.rdb: is not a regular file",
        "nats: is not in the manifest",
    ]


@pytest.mark.parametrize("name", ["manifest.json", "manifest.json.sha256"])
@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_a_manifest_that_is_no_file_is_damage(backup: Path, tmp_path: Path, name: str, kind: str) -> None:
    (backup / name).rename(tmp_path / name)
    if kind == "link":
        (backup / name).symlink_to(tmp_path / name)
    elif kind == "folder":
        (backup / name).mkdir()
    else:
        os.mkfifo(backup / name)
    assert why(backup)


def test_a_file_that_cannot_be_read_is_named(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad_disk = Mock(side_effect=OSError(errno.EIO, "Input/output error"))
    monkeypatch.setattr(shutil, "copyfileobj", bad_disk)
    assert "redis.rdb: cannot be read: Input/output error" in why(backup)
    monkeypatch.setattr(os, "open", bad_disk)
    assert why(backup) == "manifest.json cannot be read: Input/output error"


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 10_000])
def test_a_manifest_that_is_no_json(backup: Path, text: bytes) -> None:
    rewrite(backup, text)
    assert "the manifest is not valid" in why(backup)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None}, {"name": "../x"}, {"name": ""}, {"created": None}, {"created": "yesterday"}, {"facts": []},
        {"files": {}}, {"files": ["x"]}, {"files": [{}]}, {"files": 1},
        {"files": [ENTRY, ENTRY]},
        *({"files": [{**ENTRY, **wrong}]} for wrong in (
            {"path": 1}, {"bytes": True}, {"bytes": 1.0}, {"bytes": -1}, {"sha256": "A" * 64},
        )),
    ],
)  # fmt: skip
def test_a_manifest_of_another_shape_is_damage(backup: Path, changes: dict[str, Any]) -> None:
    edit(backup, **changes)
    assert why(backup)


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../x", "a/./x", "a//x", "a/", ".", "a\0", "manifest.json", "manifest.json.sha256"]
)  # fmt: skip
def test_paths_that_lead_out_of_a_backup_are_damage(backup: Path, path: str) -> None:
    edit(backup, files=[{"path": path, "bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}])
    assert "no path below an archive" in why(backup)


SHAPE: Shape = {"version": str, "counts": [int], "any": dict, "named": {str: {"owner": str}}}
GOOD = {
    "version": "1",
    "counts": [0, 2**63 - 1],
    "any": {"x": None},
    "named": {"a": {"owner": "o"}, "b": {"owner": ""}},
}


def test_facts_of_a_shape_come_back_and_what_else_there_is_does_not(backup: Path) -> None:
    edit(backup, facts={**GOOD, "later": [[math.nan]], "named": {"a": {"owner": "o", "later": 1}}})
    found = archive.manifest_of(backup, SHAPE).facts
    assert found == {**GOOD, "named": {"a": {"owner": "o"}}}
    assert archive.listing(backup.parent, SHAPE)[0].trouble == ""


@pytest.mark.parametrize(
    "value", [None, True, 1.5, -1, 2**63, math.nan, "x", [], ["x"], [None], {}, {"a": 1}]
)
@pytest.mark.parametrize("key", GOOD)
def test_facts_of_another_shape_are_damage_of_that_backup_alone(folder: Path, key: str, value: Any) -> None:  # noqa: ANN401
    fits = (key, value) in [("version", "x"), ("counts", []), ("any", {}), ("any", {"a": 1}), ("named", {})]
    for name in ("one", "two"):
        make(folder, name)
        edit(folder / name, facts=GOOD)
    edit(folder / "two", facts={**GOOD, key: value})
    assert {one.name: not one.trouble for one in archive.listing(folder, SHAPE)} == {"one": True, "two": fits}
    edit(folder / "two", facts={other: GOOD[other] for other in GOOD if other != key})
    with pytest.raises(BackupDamaged, match=r"damaged") as caught:
        archive.verify(folder / "two", SHAPE)
    assert key in caught.value.why


KEYS = [*ENTRY, "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["schema", "name", "created", "facts", "files"], JSON)),
    JSON,
)
def test_whatever_a_manifest_holds_it_is_read_or_damage(
    copy: Callable[[], Path], changes: dict[str, Any], instead: object
) -> None:
    backup = copy()
    edit(backup, **changes)
    with suppress(BackupDamaged):
        archive.verify(backup)
    rewrite(backup, json.dumps(instead).encode())
    assert why(backup)
