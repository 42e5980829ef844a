"""A kill at a chosen moment, as files see it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest

CALLS = ("open", "fdopen", "fsync", "fchmod", "chmod", "replace", "rename", "unlink", "mkdir", "utime")


class Killed(BaseException):
    """Nothing runs after it: every further call that changes the disk raises it again."""


def kill_at(monkeypatch: pytest.MonkeyPatch, countdown: int) -> list[int]:
    """Let so many calls pass, and none after them; returns how many are left, below 0 once it was killed."""
    left = [countdown]

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*arguments, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    monkeypatch.setattr(io, "open", dying(io.open))  # what Path.open() uses
    return left
