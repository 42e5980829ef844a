"""The fixture that keeps unit tests from deleting what is not theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from synos_tasks.iso.scratch import remove
from tests.unit.conftest import DeletionBlocked


# none of them is there: should the fixture fail, this test must do no harm either
@pytest.mark.parametrize("path", ["/nowhere/at/all", "/tmp/../nowhere"])
def test_a_folder_that_is_not_temporary_is_kept(path: str) -> None:
    with pytest.raises(DeletionBlocked):
        shutil.rmtree(path)


def test_what_removes_folders_is_kept_from_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    with pytest.raises(DeletionBlocked):
        remove(Path("/nowhere/at/all"))


def test_a_temporary_folder_goes(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    remove(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
