"""Runs verbs as `inv` does, and reads what they answer."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.program import Program


def inv(namespace: Collection, *words: str) -> int:
    """Run verbs of a namespace; return the exit code."""
    argv = ["inv", *words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        try:
            Program(namespace=namespace, name="inv").run(argv)
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


def answer(shown: pytest.CaptureFixture[str], verb: str) -> dict[str, Any]:
    """Return the one JSON object on standard output."""
    fields: dict[str, Any] = json.loads(shown.readouterr().out)
    assert fields.pop("schema") == f"synos.{verb}/1"
    return fields
