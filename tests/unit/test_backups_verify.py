"""Whatever is done to one byte or file of a backup is found before anybody uses it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks import backups
from synos_tasks.errors import BackupDamaged
from tests.unit.backup_folders import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
def scratch(whole: Path) -> Iterator[Callable[[], Path]]:
    """Gives a fresh copy of one backup, as often as a property needs it."""
    with tempfile.TemporaryDirectory() as place:
        count = iter(range(10**9))
        yield lambda: Path(shutil.copytree(whole, Path(place) / str(next(count))))


def why(backup: Path) -> str:
    with pytest.raises(BackupDamaged) as caught:
        backups.verify(backup)
    assert caught.value.where == str(backup)
    assert "nothing was touched" in caught.value.hint
    return caught.value.why


def rewrite(backup: Path, text: str | bytes) -> None:
    """Put another manifest in place, with a checksum that fits."""
    raw = text.encode() if isinstance(text, str) else text
    (backup / "manifest.json").write_bytes(raw)
    (backup / "manifest.json.sha256").write_text(f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n")


def edit(backup: Path, **changes: Any) -> None:  # noqa: ANN401
    data = json.loads((backup / "manifest.json").read_text())
    rewrite(backup, json.dumps({**data, **changes}))


def files_of(backup: Path) -> list[Path]:
    return sorted(path for path in backup.rglob("*") if path.is_file())


@given(data=st.data())
def test_any_flipped_byte_is_found(scratch: Callable[[], Path], data: st.DataObject) -> None:
    backup = scratch()
    path = data.draw(st.sampled_from([path for path in files_of(backup) if path.stat().st_size]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert why(backup)


@given(data=st.data())
def test_any_truncated_file_is_found(scratch: Callable[[], Path], data: st.DataObject) -> None:
    backup = scratch()
    path = data.draw(st.sampled_from([path for path in files_of(backup) if path.stat().st_size]))
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))
    assert path.name in why(backup)


@given(data=st.data())
def test_any_longer_file_is_found(scratch: Callable[[], Path], data: st.DataObject) -> None:
    backup = scratch()
    path = data.draw(st.sampled_from(files_of(backup)))
    path.write_bytes(path.read_bytes() + data.draw(st.binary(min_size=1, max_size=5)))
    assert path.name in why(backup)


def test_every_removed_file_is_found(scratch: Callable[[], Path], whole: Path) -> None:
    for path in files_of(whole):
        backup = scratch()
        (backup / path.relative_to(whole)).unlink()
        assert f"{path.relative_to(whole) if path.name not in {'manifest.json'} else path.name}" in why(
            backup
        )
        assert "is missing" in why(backup)


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20))
@settings(max_examples=50)
def test_every_added_file_is_found(scratch: Callable[[], Path], name: str) -> None:
    for place in ("", "nats", "nats/new"):
        backup = scratch()
        path = backup / place / name
        if os.path.lexists(path) or name == "..":
            continue
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
    (backup / "redis.rdb").rename(tmp_path / "redis.rdb")
    (backup / "redis.rdb").symlink_to(tmp_path / "redis.rdb")
    assert why(backup) == "redis.rdb: is a link"


def test_a_linked_folder_is_damage(backup: Path, tmp_path: Path) -> None:
    (backup / "nats").rename(tmp_path / "nats")
    (backup / "nats").symlink_to(tmp_path / "nats")
    assert "nats/stream/1.blk: is missing" in why(backup)
    assert "nats: is not in the manifest" in why(backup)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.json.sha256"])
def test_a_linked_or_odd_manifest_is_damage(backup: Path, tmp_path: Path, name: str) -> None:
    (backup / name).rename(tmp_path / name)
    (backup / name).symlink_to(tmp_path / name)
    assert why(backup) == f"{name} is a link"
    (backup / name).unlink()
    (backup / name).mkdir()
    assert why(backup) == f"{name} is not a regular file"


def test_a_huge_manifest_is_not_read(backup: Path) -> None:
    os.truncate(backup / "manifest.json", 2**40)
    assert "larger" in why(backup)


def test_an_empty_folder_is_no_backup(folder: Path) -> None:
    folder.mkdir(parents=True)
    assert why(folder) == "manifest.json is missing"
    assert why(folder / "none") == "manifest.json is missing"


def test_a_file_that_cannot_be_read_is_named(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad_disk(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "open", bad_disk)
    assert "redis.rdb: cannot be read: Input/output error" in why(backup)


def test_a_folder_that_cannot_be_read_is_named(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "Permission denied" in why(backup)


def test_a_manifest_that_cannot_be_read_is_named(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert why(backup) == "manifest.json cannot be read: Permission denied"


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000, "9" * 10_000])
def test_a_manifest_that_is_no_json(backup: Path, text: str) -> None:
    rewrite(backup, text.encode("latin-1"))
    assert why(backup)


@pytest.mark.parametrize("schema", [None, 1, [], "synos.backup/2"])
def test_another_schema_is_named(backup: Path, schema: object) -> None:
    edit(backup, schema=schema)
    assert repr(schema) in why(backup)
    assert "synos.backup/1" in why(backup)
    rewrite(backup, json.dumps(schema))
    assert "synos.backup/1" in why(backup)


SHA = "0" * 64


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None}, {"name": "../x"}, {"name": ""}, {"created": None}, {"created": "yesterday"}, {"facts": []},
        {"files": {}}, {"files": ["x"]}, {"files": [{}]},
        {"files": [{"path": 1, "bytes": 1, "sha256": SHA}]},
        {"files": [{"path": "x", "bytes": True, "sha256": SHA}]},
        {"files": [{"path": "x", "bytes": 1.0, "sha256": SHA}]},
        {"files": [{"path": "x", "bytes": -1, "sha256": SHA}]},
        {"files": [{"path": "x", "bytes": 1, "sha256": SHA.replace("0", "A")}]},
        {"files": [{"path": "x", "bytes": 1, "sha256": SHA}] * 2},
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
    assert "no path below a backup" in why(backup)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "bytes", "sha256", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["schema", "name", "created", "facts", "files"], JSON)),
    JSON,
)
def test_whatever_a_manifest_holds_it_is_read_or_damage(
    scratch: Callable[[], Path], changes: dict[str, Any], instead: object
) -> None:
    backup = scratch()
    edit(backup, **changes)
    with suppress(BackupDamaged):
        backups.verify(backup)
    rewrite(backup, json.dumps(instead))
    assert why(backup)
