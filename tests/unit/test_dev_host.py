"""What an image is told of the host: who commits. Owner and certificates are in test_dev_making.py."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from synos_tasks.dev import host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.allow_process(reason="what git reads is git's to say")
def test_git_in_a_container_reads_the_name_that_git_here_has(tmp_path: Path) -> None:
    told = {"name": 'Ann "A" O\'Neill \\ ; # é\tß\nx', "email": "ann@example.org"}
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    for key, value in told.items():
        subprocess.run(["git", "-C", tmp_path, "config", f"user.{key}", value], check=True)
    (tmp_path / "config").write_text(host.identity(tmp_path))
    for key, value in told.items():
        argv = ["git", "config", "--file", str(tmp_path / "config"), f"user.{key}"]
        assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == f"{value}\n"


def test_who_has_no_name_has_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none = subprocess.CompletedProcess([], 1, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: none)
    assert host.identity(tmp_path) == ""

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert host.identity(tmp_path) == ""
