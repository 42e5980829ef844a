"""The fixtures that keep unit tests from starting processes, and from deleting what is not theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synos_tasks.iso.scratch import remove
from tests.unit.conftest import DeletionBlocked, ProcessBlocked


@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run(["true"], check=False),
        lambda: subprocess.check_output(["true"]),
        lambda: os.system("true"),
        lambda: os.execvp("true", ["true"]),
        lambda: os.fork(),  # noqa: PLW0108  (looked up late, when it is blocked)
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: os.popen("true"),
        lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
    ],
)
def test_every_way_to_start_a_process_is_blocked(start: object) -> None:
    assert callable(start)
    with pytest.raises(ProcessBlocked):
        start()


@pytest.mark.allow_process(reason="this is what the marker is for")
def test_the_marker_allows_it() -> None:
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


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
