"""Every error has a code of its own, and the table of codes is current."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.repository import generated
from synos_tasks import errors
from synos_tasks.errors import DiskFull, OutputNotWritable

CLASSES = errors.error_classes()
ROOT = Path(__file__).resolve().parents[2]


def test_each_class_has_a_code_of_its_own_in_the_documented_range_and_a_summary() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.SynosError) and value is not errors.SynosError
    }
    assert defined == set(CLASSES), "subclasses of subclasses would be missed by error_classes()"
    assert len({cls.exit_code for cls in CLASSES}) == len(CLASSES)
    assert [cls for cls in CLASSES if not 10 <= cls.exit_code <= 59] == [errors.WrongUse]
    assert [cls for cls in CLASSES if cls.__doc__ in {None, errors.SynosError.__doc__}] == []


@pytest.mark.parametrize(
    ("first", "names"),
    [
        (10, "ProfileError ProfileNotFound SettingsError PackageNotFound IsoNotFound LockError LockDrift"),
        (17, "PackageVanished"),
        (20, "HostUnfit EngineUnavailable OutsideContainer EngineTooOld OutputNotWritable CacheUnusable"),
        (30, "StageFailed MirrorUnreachable BadSignature HookFailed DiskFull ImageBuildFailed ContainerLost"),
        (40, "BootFailed DoctorFound TestsFailed Irreproducible"),
    ],
)
def test_codes_that_scripts_rely_on_do_not_move(first: int, names: str) -> None:
    codes = {name: errors.by_name(name).exit_code for name in names.split()}
    assert codes == {name: code for code, name in enumerate(names.split(), first)}


def test_an_unknown_name_from_the_container_is_a_failed_stage() -> None:
    assert errors.by_name("NoSuchError") is errors.StageFailed


def test_json_has_kind_and_code() -> None:
    fields = errors.HostUnfit("no room", why="full").to_json()
    assert fields == {"kind": "HostUnfit", "exit_code": 20, "error": "no room", "why": "full"}


def test_the_generated_files_are_current() -> None:
    assert generated.stale_files(ROOT) == []


def test_a_path_of_another_user_is_told_with_what_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a backup that root took in a user's clone."""
    monkeypatch.setattr("os.access", lambda *_: False)
    uid = os.geteuid()
    (tmp_path / ".synos/backups/unified").mkdir(parents=True)
    real = Path.lstat

    def lstat(path: Path) -> SimpleNamespace:
        foreign = path.is_relative_to(tmp_path / ".synos/backups")
        return SimpleNamespace(st_uid=uid + 1 if foreign else uid, st_mode=real(path).st_mode)

    monkeypatch.setattr(Path, "lstat", lstat)
    place = tmp_path / ".synos/backups/unified/.partial-x"
    hint = f"belongs to uid {uid + 1}: sudo chown -R {uid}:{os.getegid()} {tmp_path}/.synos/backups"
    assert errors.owner_hint(place).endswith(hint)
    refused = errors.refused_by_host(PermissionError(errno.EACCES, "Permission denied", str(place)))
    assert isinstance(refused, OutputNotWritable)
    assert refused.hint.endswith(hint)
    monkeypatch.setattr(Path, "lstat", lambda _: SimpleNamespace(st_uid=uid + 1))
    assert "run the command as that user" in errors.owner_hint(place)
    assert isinstance(errors.refused_by_host(OSError(errno.ENOSPC, "No space left")), DiskFull)
    assert errors.refused_by_host(OSError(errno.ENOENT, "none", "x")) is None
