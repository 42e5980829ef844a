"""Secrets are rotated in two phases, and a kill at any moment loses none."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import SecretsDamaged
from synos_tasks.services.secrets import Secrets
from tests.unit.fake_secrets import GOOD, NAMES, mode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def kept(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path / "state/secrets")


@pytest.fixture
def made(kept: Secrets) -> Secrets:
    kept.ensure(NAMES)
    return kept


def test_rotation(made: Secrets) -> None:
    before = {name: made.read(name) for name in NAMES}
    assert made.pending() == []
    assert made.propose(NAMES) == NAMES
    assert made.pending() == NAMES
    proposed = {name: made.read_proposed(name) for name in NAMES}
    assert {name: made.read(name) for name in NAMES} == before
    assert not set(before.values()) & set(proposed.values())
    made.accept("postgres_password")
    assert made.pending() == ["nats_password", "redis_password"]
    assert made.read("postgres_password") == proposed["postgres_password"]
    assert made.read("nats_password") == before["nats_password"]
    assert {mode(path) for path in made.folder.iterdir()} == {0o600}


def test_an_interrupted_rotation_goes_on_with_what_it_proposed(made: Secrets) -> None:
    made.propose(NAMES[:1])
    value = made.read_proposed(NAMES[0])
    assert made.propose(NAMES) == NAMES[1:]
    assert made.read_proposed(NAMES[0]) == value


@pytest.mark.parametrize(("content", "bits"), [(b"short", 0o600), (GOOD, 0o644)])
def test_a_damaged_proposal_is_never_accepted_and_is_made_anew(
    made: Secrets, content: bytes, bits: int
) -> None:
    before, path = made.read("nats_password"), made.folder / "nats_password.new"
    path.write_bytes(content)
    path.chmod(bits)
    for use in (made.accept, made.read_proposed):
        with pytest.raises(SecretsDamaged):
            use("nats_password")
    assert made.read("nats_password") == before
    assert made.propose(["nats_password"]) == ["nats_password"]
    made.accept("nats_password")
    assert made.read("nats_password") != before


def test_nothing_is_accepted_that_was_not_proposed(made: Secrets) -> None:
    with pytest.raises(SecretsDamaged, match="missing"):
        made.accept("nats_password")
    made.check(NAMES)


def test_rotation_repairs_a_damaged_secret(made: Secrets) -> None:
    made.path("nats_password").write_bytes(b"")
    made.propose(["nats_password"])
    made.accept("nats_password")
    made.check(NAMES)
    assert made.read("nats_password")


def test_pending_leaves_alone_what_is_not_ours(made: Secrets, tmp_path: Path) -> None:
    (made.folder / ".new").touch()
    (made.folder / ".x.new").touch()
    assert made.pending() == []
    assert Secrets(tmp_path / "none").pending() == []


class Killed(BaseException):
    """Nothing runs after it: every further call that changes the disk raises it again."""


def kill_at(monkeypatch: pytest.MonkeyPatch, countdown: int) -> list[int]:
    left = [countdown]

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*arguments, **options)

        return call

    for name in ("open", "fdopen", "fsync", "fchmod", "chmod", "replace", "rename", "unlink", "mkdir"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    monkeypatch.setattr(io, "open", dying(io.open))  # what Path.open() uses
    return left


def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    moments = 0
    while True:
        kept = Secrets(tmp_path / str(moments))
        kept.ensure(["early"])
        early = kept.read("early")
        with pytest.MonkeyPatch.context() as patch:
            left = kill_at(patch, moments)
            try:
                kept.ensure(["early", "late"])
                kept.propose(["early"])
                kept.accept("early")
            except Killed:
                pass
        proposed = kept.read_proposed("early") if kept.pending() else ""
        now = kept.read("early")
        assert proposed or now != early or left[0] < 0
        kept.check(["early", "late"])
        kept.ensure(["early", "late"])
        assert kept.read("early") == now  # what a service may have by now is never made anew
        kept.propose(["early"])
        assert not proposed or kept.read_proposed("early") == proposed
        expected = kept.read_proposed("early")
        kept.accept("early")
        assert kept.read("early") == expected
        kept.check(["early", "late"])
        if left[0] >= 0:
            break
        moments += 1
    assert moments > 20


def test_a_killed_commands_leftover_is_no_obstacle(kept: Secrets) -> None:
    kept.folder.mkdir(parents=True)
    (kept.folder / ".nats_password.part").write_text("half")
    assert kept.ensure(NAMES) == NAMES
    kept.check(NAMES)
    assert sorted(path.name for path in kept.folder.iterdir()) == NAMES
