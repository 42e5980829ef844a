"""The verbs of `inv services.*` as a person types them, on a stack that needs no engine."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from invoke.collection import Collection
from invoke.program import Program

from synos_tasks.services import backup as backing
from synos_tasks.services import health
from synos_tasks.services import tasks as services
from synos_tasks.services.adapters import ADAPTERS
from tests.unit.fake_adapters import FakeAdapter
from tests.unit.fake_compose import Scene, scene

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.cli import Command
    from synos_tasks.services.stack import StackContext

Shown = pytest.CaptureFixture[str]


class Verbs:
    """Runs verbs, and tells what they did."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here: Scene = scene(root)
        self.opened: list[str] = []
        self.done: list[str] = []
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(services, "open_stack", self._open)
        monkeypatch.setattr("synos_tasks.engine.compose.Compose", lambda _file: self.here.context.compose)
        monkeypatch.chdir(root)
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(health, "POLL", 0.001)
        for name in ADAPTERS:
            monkeypatch.setitem(ADAPTERS, name, FakeAdapter(name, holds=2, done=self.done))

    def _open(self, _command: Command, stack: str, wait_timeout: int = 0) -> StackContext:
        self.opened.append(stack)
        return dataclasses.replace(self.here.context, timeout=wait_timeout or self.here.context.timeout)

    def run(self, *words: str) -> int:
        """Run a verb as `inv` does; return the exit code."""
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
        backing.backup(self.here.context, "mine")
        self.here.forget()
        self.done.clear()
        self.opened.clear()


def answer(shown: Shown, verb: str) -> dict[str, Any]:
    """Return the one JSON object on standard output."""
    fields: dict[str, Any] = json.loads(shown.readouterr().out)
    assert fields.pop("schema") == f"synos.services.{verb}/1"
    return fields
