"""What compose commands print for a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from synos_tasks.engine.compose import Compose, ComposeFile


@pytest.mark.allow_process(reason="a command whose output passes through a pipe")
def test_what_services_log_does_not_steer_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = Compose(ComposeFile(project="p", path=Path("c.yml"), environment={}))
    said = r"pg | user \"a\033]0;b\007\033[2Jc\rpg | forged\302\233\"\n\tnext\nlast"
    monkeypatch.setattr(compose, "command", lambda *_: ["sh", "-c", f'printf "{said}"; exit 3'])
    assert compose.show("logs") == 3
    assert capfd.readouterr().out == 'pg | user "a\ufffd]0;b\ufffdc\ufffdpg | forged\ufffd"\n\tnext\nlast'
