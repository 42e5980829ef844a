"""Secrets: made once, readable by nobody else, never quoted."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synos_tasks.errors import DiskFull, OutputNotWritable, SecretsDamaged
from synos_tasks.services.secrets import Secrets
from tests.unit.kills import Killed, kill_at

NAMES = ["nats_password", "postgres_password", "redis_password"]


def mode(path: Path) -> int:
    """Permission bits, of a link its own."""
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def kept(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path / "state")


@pytest.fixture
def made(kept: Secrets) -> Secrets:
    kept.ensure(NAMES)
    return kept


def check(secrets: Secrets) -> None:
    """Read those that are there; raises SecretsDamaged."""
    for path in sorted(secrets.folder.glob("[!.]*")):
        secrets.read(path.name)


def test_the_missing_are_made_and_the_others_kept(kept: Secrets) -> None:
    assert kept.ensure(NAMES[:1]) == NAMES[:1]
    before = kept.read(NAMES[0])
    assert kept.ensure([*NAMES, NAMES[1]]) == NAMES[1:]
    assert kept.ensure(NAMES) == []
    assert kept.read(NAMES[0]) == before
    assert len({kept.read(name) for name in NAMES}) == 3
    assert re.fullmatch(r"[0-9a-f]{64}\n", (kept.folder / NAMES[0]).read_text())  # 256 random bits


@pytest.mark.parametrize("umask", [0, 0o022, 0o277])
def test_nobody_else_can_read_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        kept = Secrets(tmp_path)
        kept.ensure(NAMES)
    finally:
        os.umask(before)
    assert mode(kept.folder) == 0o700
    assert {mode(path) for path in kept.folder.iterdir()} == {0o600}
    assert sorted(path.name for path in kept.folder.iterdir()) == NAMES


@pytest.mark.parametrize("use", [Secrets.ensure, Secrets.hand_out, Secrets.propose])
def test_a_folder_others_can_enter_is_corrected(
    made: Secrets, use: Callable[[Secrets, list[str]], object]
) -> None:
    made.folder.chmod(0o755)
    use(made, NAMES)
    assert mode(made.folder) == 0o700


@given(st.binary(max_size=200) | st.text(alphabet="aZ09._~-", max_size=140).map(str.encode))
@example(b"x" * 16)
@example(b"x" * 128 + b"\n")
@example(b"x" * 129)
@example(b"x" * 20 + b"\n\n")
@example(b"\n")
def test_whatever_a_file_holds_it_is_read_or_named_and_never_quoted(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        kept = Secrets(Path(folder))
        kept.ensure(["n"])
        (kept.folder / "n").write_bytes(content)
        value = content.removesuffix(b"\n")
        if re.fullmatch(rb"[A-Za-z0-9._~-]{16,128}", value):
            assert kept.read("n").encode() == value
            return
        with pytest.raises(SecretsDamaged) as caught:
            kept.read("n")
        assert caught.value.__cause__ is None
        assert caught.value.where == str(kept.folder / "n")
        assert caught.value.why in {
            "n is empty", "n is not one line of 16 to 128 letters, digits and . _ ~ -"
        }  # fmt: skip
        assert "services.secrets-rotate" in caught.value.hint


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o601])
def test_files_that_others_can_open_are_damaged(made: Secrets, bits: int) -> None:
    path = made.folder / "nats_password"
    path.chmod(bits)
    with pytest.raises(SecretsDamaged) as caught:
        check(made)
    assert f"mode {bits:04o}" in caught.value.why
    assert f"chmod 600 {path}" in caught.value.hint
    assert "services.secrets-rotate" in caught.value.hint
    path.chmod(0o400)
    check(made)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.symlink_to("target"), "is a link"),
        (lambda path: path.symlink_to("nowhere"), "is a link"),
        (Path.mkdir, "cannot be read"),
        (lambda path: os.mkfifo(path, 0o600), "is empty"),
    ],
)
def test_what_is_no_file_is_damaged(made: Secrets, make: Callable[[Path], None], why: str) -> None:
    path = made.folder / "nats_password"
    path.rename(made.folder / "target")
    make(path)
    assert made.ensure(NAMES) == []
    with pytest.raises(SecretsDamaged) as caught:
        made.hand_out(NAMES)
    assert why in caught.value.why
    assert not list(made.mounted.iterdir())  # all are read before one is handed out


def test_another_users_file_is_damaged(made: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    fstat = os.fstat

    def other(descriptor: int) -> os.stat_result:
        found = list(fstat(descriptor))
        found[stat.ST_UID] += 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", other)
    with pytest.raises(SecretsDamaged, match="damaged") as caught:
        check(made)
    assert f"belongs to uid {os.geteuid() + 1}, not {os.geteuid()}" in caught.value.why


def test_another_users_folder_is_for_root_only(made: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = made.folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    for use in (made.ensure, made.hand_out, made.propose):
        with pytest.raises(SecretsDamaged, match="another user"):
            use(NAMES)


def test_root_makes_secrets_for_the_user_who_has_the_folder(
    made: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_to: list[tuple[int, int]] = []
    with suppress(PermissionError):
        os.chown(made.folder, 12345, 12345)
    status = made.folder.stat()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given_to.append((uid, gid)))
    monkeypatch.setattr(os, "chown", lambda _, uid, gid: given_to.append((uid, gid)))
    assert made.ensure([*NAMES, "further"]) == ["further"]
    made.hand_out([])
    # in a development container of root the folder stays root's, which needs to give nothing away
    assert given_to == ([(status.st_uid, status.st_gid)] * 2 if status.st_uid else [])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_leaves_nothing(
    kept: Secrets, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(_: int) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull) as caught:
        kept.ensure(NAMES)
    assert "bytes are free" in caught.value.why
    assert list(kept.folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "secrets").touch()
    with pytest.raises(OutputNotWritable):
        Secrets(tmp_path).ensure(NAMES)
    with pytest.raises(OutputNotWritable):
        Secrets(tmp_path / "secrets").ensure(NAMES)


def test_no_repr_and_no_error_shows_a_secret(made: Secrets) -> None:
    value = made.read("nats_password")
    (made.folder / "nats_password").write_text(f"{value}\n{value}")
    with pytest.raises(SecretsDamaged) as caught:
        check(made)
    error = caught.value
    shown = [made, vars(made), error, error.lines(), error.__cause__]
    assert value not in repr(shown)


def test_both_secrets_are_there_until_the_new_one_is_accepted(made: Secrets) -> None:
    before = {name: made.read(name) for name in NAMES}
    made.propose(NAMES[:1])
    first = made.read(f"{NAMES[0]}.new")
    made.propose(NAMES)
    assert made.read(f"{NAMES[0]}.new") == first  # a service may have it already
    assert made.pending() == NAMES
    proposed = {name: made.read(f"{name}.new") for name in NAMES}
    assert {name: made.read(name) for name in NAMES} == before
    assert not set(before.values()) & set(proposed.values())
    made.accept("postgres_password")
    assert made.pending() == ["nats_password", "redis_password"]
    assert made.read("postgres_password") == proposed["postgres_password"]
    assert made.read("nats_password") == before["nats_password"]
    assert {mode(path) for path in made.folder.iterdir()} == {0o600}
    with pytest.raises(SecretsDamaged):
        made.accept("postgres_password")


@pytest.mark.parametrize(("content", "bits"), [(b"short", 0o600), (b"x" * 43, 0o644)])
def test_a_damaged_proposal_is_never_accepted_and_is_made_anew(
    made: Secrets, content: bytes, bits: int
) -> None:
    before, path = made.read("nats_password"), made.folder / "nats_password.new"
    path.write_bytes(content)
    path.chmod(bits)
    with pytest.raises(SecretsDamaged):
        made.accept("nats_password")
    assert made.read("nats_password") == before
    made.propose(["nats_password"])
    made.accept("nats_password")
    assert made.read("nats_password") != before


def test_what_is_handed_out_is_readable_in_a_folder_that_is_closed(made: Secrets) -> None:
    made.hand_out(NAMES)
    assert mode(made.mounted) == 0o700
    assert {path.name: mode(path) for path in made.mounted.iterdir()} == dict.fromkeys(NAMES, 0o644)
    assert made.pending() == []
    made.mounted.chmod(0o755)
    made.hand_out(NAMES)
    assert mode(made.mounted) == 0o700


@pytest.mark.parametrize("value", ["as-i-would-have-it", "x" * 128, "y" * 16])
def test_a_copy_changes_in_place_and_what_changed_it_is_pending(made: Secrets, value: str) -> None:
    """A container goes on seeing the file that it was started with."""
    made.hand_out(NAMES)
    copy = made.mounted / "nats_password"
    before = copy.stat()
    (made.folder / "nats_password").write_text(value)
    made.hand_out(NAMES)
    after = copy.stat()
    assert copy.read_text() == f"{value}\n"
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert made.pending() == ["nats_password"]
    assert made.read("nats_password.new") == value
    made.propose(["redis_password"])
    made.hand_out(NAMES)
    assert (made.mounted / "redis_password").read_text() == made.read("redis_password.new") + "\n"


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
                kept.hand_out(["early", "late"])
                kept.propose(["early"])
                kept.hand_out(["early", "late"])
                kept.accept("early")
            except Killed:
                pass
        proposed = kept.read("early.new") if kept.pending() else ""
        now = kept.read("early")
        assert proposed or now != early or left[0] < 0
        copy = kept.mounted / "early"
        mounted = copy.read_text().strip() if copy.exists() else now
        assert mounted in {early, now, proposed}  # whole, and never one that nobody else has
        assert mounted == now or kept.pending()  # what was handed out and maybe not taken yet is known
        check(kept)
        kept.ensure(["early", "late"])
        assert kept.read("early") == now  # what a service may have by now is never made anew
        kept.propose(["early"])
        assert not proposed or kept.read("early.new") == proposed
        expected = kept.read("early.new")
        kept.accept("early")
        assert kept.read("early") == expected
        check(kept)
        if left[0] >= 0:
            break
        moments += 1
    assert moments > 20
