"""What the words of compose become."""

from __future__ import annotations

from pathlib import Path

import pytest

from synos_tasks.engine.compose import ComposeFile, failure
from synos_tasks.errors import DiskFull, EngineUnavailable, PortTaken, ServiceFailed

FILE = ComposeFile(project="p", path=Path("/stack.yml"), environment={})


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("Bind for 127.0.0.1:5432 failed: port is already allocated", PortTaken, ""),
        ("listen tcp4 0.0.0.0:80: bind: address already in use", PortTaken, ""),
        ("write /var/lib: No space left on device", DiskFull, "docker system df"),
        ("Cannot connect to the Docker daemon at unix:///x", EngineUnavailable, ""),
        ("error during connect: EOF", EngineUnavailable, ""),
        ("all predefined address pools have been fully subnetted", ServiceFailed, "docker network ls"),
        ("service x has neither an image nor a build context", ServiceFailed, ""),
    ],
)
def test_each_failure_of_compose_has_its_error(text: str, error: type[Exception], hint: str) -> None:
    raised = failure(["up"], f"first\n{text}", FILE)
    assert type(raised) is error
    assert text in raised.why
    assert "/stack.yml" in raised.where
    assert hint in raised.hint
