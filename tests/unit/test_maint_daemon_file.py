"""A daemon.json: one key of it is changed, whole or not at all, and nothing else is lost."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.errors import OutputNotWritable, SettingsError
from synos_tasks.maint import daemon_file
from synos_tasks.maint.daemon_file import DaemonFile, read

if TYPE_CHECKING:
    from pathlib import Path

OURS = {"enabled": True, "policy": []}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "docker/daemon.json"


def lay(path: Path, text: str) -> DaemonFile:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return read(path)


@pytest.mark.parametrize("text", [None, "", "  \n", "{}"])
def test_a_file_that_says_nothing_is_none(path: Path, text: str | None) -> None:
    file = read(path) if text is None else lay(path, text)
    assert (file.text, file.gc) == (text, None)
    assert json.loads(file.with_gc(OURS)) == {"builder": {"gc": OURS}}


def test_a_new_file_gets_its_folder_and_has_no_copy(path: Path) -> None:
    file = read(path)
    assert file.write(file.with_gc(OURS)) is None
    assert read(path).gc == OURS
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == ["daemon.json"]  # noqa: PTH208  (hidden ones too)


def test_the_file_before_is_kept_beside_and_its_mode_stays(path: Path) -> None:
    text = '{"debug": true}'
    lay(path, text)
    path.chmod(0o600)
    file = read(path)
    copy = file.write(file.with_gc(OURS))
    assert copy is not None
    assert (copy.parent, copy.read_text()) == (path.parent, text)
    assert path.stat().st_mode & 0o777 == copy.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("indent", ["  ", "\t", "        "])
def test_order_and_indentation_stay(path: Path, indent: str) -> None:
    content = {"z": 1, "builder": {"entitlements": {"x": True}, "gc": {"enabled": False}}, "a": ["ä"]}
    text = json.dumps(content, indent=indent, ensure_ascii=False) + "\n"
    file = lay(path, text)
    content["builder"]["gc"] = OURS  # type: ignore[index]
    assert file.with_gc(OURS) == json.dumps(content, indent=indent, ensure_ascii=False) + "\n"


@given(st.dictionaries(st.text(max_size=5).filter(lambda key: key != "builder"), JSON, max_size=4))
def test_all_else_is_kept(others: dict[str, Any]) -> None:
    content = {**others, "builder": {"gc": {"enabled": False}, "entitlements": 1}}
    file = DaemonFile(path=None, text=json.dumps(content), content=content)  # type: ignore[arg-type]
    now = json.loads(file.with_gc(OURS))
    assert now == {**content, "builder": {"gc": OURS, "entitlements": 1}}


def test_what_dockerd_takes_for_the_same_key_is_no_second_one(path: Path) -> None:
    file = lay(path, '{"builder": {"GC": {"enabled": false}}}')
    assert file.gc == {"enabled": False}
    assert json.loads(file.with_gc(OURS)) == {"builder": {"GC": OURS}}


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "1", '{"builder": []}', '{"builder": null}', '{"a": 1, "a": 2}', "{'a': 1}", "\ufeff{}"],
)
def test_what_is_no_configuration_is_refused(path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="nothing was written") as caught:
        lay(path, text).with_gc(OURS)
    assert caught.value.where == str(path)
    assert path.read_text() == text


def test_bytes_that_are_no_text_are_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(SettingsError, match="is not JSON"):
        read(path)


def test_what_somebody_changed_meanwhile_stays(path: Path) -> None:
    file = lay(path, "{}")
    path.write_text('{"debug": true}')
    with pytest.raises(SettingsError, match="changed meanwhile"):
        file.write(file.with_gc(OURS))
    assert path.read_text() == '{"debug": true}'
    assert len(list(path.parent.iterdir())) == 1


def test_a_link_stays_one_and_its_file_is_written(path: Path) -> None:
    target = path.parent.parent / "kept/there.json"
    lay(target, "{}")
    path.parent.mkdir()
    path.symlink_to(target)
    file = read(path)
    file.write(file.with_gc(OURS))
    assert path.is_symlink()
    assert json.loads(target.read_text()) == {"builder": {"gc": OURS}}


def test_who_may_not_write_is_told_the_command_that_may(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read(path)
    file.refuse_unwritable()
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(OutputNotWritable) as caught:
        file.refuse_unwritable()
    assert caught.value.where == str(path)
    assert caught.value.hint.startswith("sudo /")
    assert caught.value.hint.endswith("/inv maint.gc-policy --write")


def test_a_disk_that_refuses_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = lay(path, "{}")

    def fails(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(daemon_file, "write_whole", fails)
    with pytest.raises(OutputNotWritable, match="cannot be written") as caught:
        file.write(file.with_gc(OURS))
    assert caught.value.why == "Read-only file system"
    assert path.read_text() == "{}"


def test_a_file_that_this_user_cannot_read_is_not_said_to_be_damaged(tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritable, match="cannot be read"):
        read(tmp_path)
