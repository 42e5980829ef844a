"""Unit tests start no process, unless a marker gives a reason, and delete no folder but temporary ones."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from synos_tasks.iso.store import Store
from synos_tasks.services import health
from synos_tasks.settings import Settings
from tests.unit.projects import project

WAYS = ("system", "execv", "execve", "fork", "forkpty", "posix_spawn", "posix_spawnp")


class ProcessBlocked(BaseException):
    """Not an Exception: code under test must not be able to swallow it."""


@pytest.fixture(autouse=True)
def no_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = request.node.get_closest_marker("allow_process")
    if marker is not None:
        assert marker.kwargs.get("reason"), "allow_process needs a reason"
        return

    def blocked(*arguments: object, **_: object) -> NoReturn:
        raise ProcessBlocked(f"a unit test tried to start a process: {arguments}")

    def blocked_init(_self: object, *arguments: object, **_: object) -> NoReturn:
        blocked(*arguments)

    # __init__, not the class: whoever imported Popen by name has it blocked too
    monkeypatch.setattr(subprocess.Popen, "__init__", blocked_init)
    for way in WAYS:
        monkeypatch.setattr(os, way, blocked)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests are to pass in a development container and under sudo, and mean what happens outside."""
    for name in ("SYNOS_DEV_CONTAINER", "SUDO_UID", "SUDO_GID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: what it keeps when the power fails, no test here can see."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often at services that get healthy."""
    monkeypatch.setattr(health, "POLL", 0.001)


class DeletionBlocked(BaseException):
    """Not an Exception either."""


@pytest.fixture(autouse=True)
def no_deletions_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Code that empties the folders of a container must not meet those of this machine in a test."""
    temporary = (Path(tempfile.gettempdir()).resolve(), tmp_path_factory.getbasetemp().resolve())
    rmtree = shutil.rmtree

    def guarded(path: Any, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        if not any(folder in Path(path).resolve().parents for folder in temporary):
            raise DeletionBlocked(f"a unit test tried to delete {path}")
        rmtree(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", guarded)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a small project, with what a plan reads."""
    return project(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that has nothing to warn of."""
    return Store(tmp_path / "cache", pytest.fail)


@pytest.fixture
def keep_signals() -> Iterator[None]:
    """Put the signals back that a verb takes over."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Invoke from reading an invoke.yaml, and crashes from being logged in the project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
