"""The verbs of `inv services.*` as a person types them, on a stack that needs no engine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from invoke.collection import Collection
from invoke.program import Program

from synos_tasks.services import access_tasks, data_tasks, health, systemd
from synos_tasks.services import backup as backing
from synos_tasks.services import tasks as services
from synos_tasks.services.keepers import KEEPERS
from tests.unit.fake_compose import Scene, scene
from tests.unit.fake_keepers import FakeKeeper

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.cli import Command
    from synos_tasks.services.session import Session

Shown = pytest.CaptureFixture[str]


class Verbs:
    """Runs verbs, and tells what they did."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here: Scene = scene(root)
        self.opened: list[str] = []
        self.done: list[str] = []
        self.units = root / "units"
        self._monkeypatch = monkeypatch
        for module in (services, data_tasks, access_tasks):
            monkeypatch.setattr(module, "open_stack", self._open)
        monkeypatch.setattr("synos_tasks.engine.old_compose.DockerCompose", lambda _file: self.here.compose)
        monkeypatch.chdir(root)
        monkeypatch.chdir(root)
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(health, "POLL", 0.001)
        monkeypatch.setattr(systemd, "BOOTED", root)
        monkeypatch.setattr(systemd, "_folder", lambda: self.units)
        monkeypatch.setattr(systemd, "_run", lambda argv: self.done.append(" ".join(argv)))
        for name in KEEPERS:
            monkeypatch.setitem(KEEPERS, name, FakeKeeper(name, holds=2, done=self.done))

    def _open(self, _command: Command, stack: str) -> Session:
        self.opened.append(stack)
        return self.here.session

    def run(self, *words: str) -> int:
        """Run a verb as `inv` does; give the exit code."""
        namespace = Collection()
        namespace.add_collection(services.namespace, "services")
        argv = ["inv", *words]
        self._monkeypatch.setattr(sys, "argv", argv)
        try:
            Program(namespace=namespace, name="inv").run(argv, exit=False)
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    def started(self) -> None:
        """Have all running, with their secrets, and one backup; and forget how it came to that."""
        assert self.run("services.up") == 0
        backing.backup(self.here.session, "mine")
        self.forget()

    def forget(self) -> None:
        """Begin to keep what is done from here on."""
        for kept in (
            self.here.compose.asked, self.here.compose.given, self.here.compose.streams, self.done,
            self.here.engine.built, self.here.engine.started, self.here.engine.removed, self.here.said,
            self.opened,
        ):  # fmt: skip
            kept.clear()


def answer(shown: Shown, verb: str) -> dict[str, Any]:
    """Give the one JSON object on standard output."""
    fields: dict[str, Any] = json.loads(shown.readouterr().out)
    assert fields.pop("schema") == f"synos.services.{verb}/1"
    return fields
