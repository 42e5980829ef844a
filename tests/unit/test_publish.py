"""The container delivers complete files; the host gives them their names, the ISO last and at once."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from synos_tasks.errors import DiskFull, StageFailed
from synos_tasks.iso.protocol import Done
from synos_tasks.iso.publish import (
    ISO,
    LOG,
    MANIFEST,
    STAGING_PREFIX,
    deliver,
    point_to,
    publish,
    published,
    staging,
)
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.store import Entry
from tests.unit.contexts import build_context
from tests.unit.plans import LOCK, planned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.tools import BuildContext

PLAN = planned()
NAME = f"synos-x-{PLAN.build_id}.iso"
DIGEST = hashlib.sha256(b"iso").hexdigest()
STAGES = [Done(name="iso", key="k", hit=False, seconds=1.0, bytes=3, began=0.5)]


OWNER = (os.getuid(), os.getgid())


def manifest_for(plan: Plan, **other: object) -> str:
    """A manifest as deliver() writes it, as far as the host looks at it."""
    return json.dumps({"key": plan.key, "stages": [asdict(stage) for stage in STAGES], **other})


@pytest.fixture
def context(tmp_path: Path) -> Iterator[BuildContext]:
    with build_context(tmp_path) as made:
        (made.output / ISO).write_bytes(b"iso")
        (made.work / "vmlinuz").write_bytes(b"1234")
        yield made


@pytest.fixture
def delivered(tmp_path: Path) -> Path:
    """A staging folder as a container leaves it."""
    folder = tmp_path / f"{STAGING_PREFIX}x"
    folder.mkdir()
    (folder / ISO).write_bytes(b"iso")
    (folder / LOG).write_text("log\n")
    (folder / MANIFEST).write_text(manifest_for(PLAN))
    return folder


def test_what_the_container_delivers(context: BuildContext) -> None:
    plan = planned()
    # the uppermost layer of packages notes sizes, the others have none
    facts: list[dict[str, Any]] = [
        {"installed": {"sudo": 5000}},
        {"installed": {"vim": 7000}},
        {"removed": []},
    ]
    layers = [Entry(f"k{number}", context.work, one) for number, one in enumerate(facts)]
    context.events.log("base", "hello")
    deliver(context, plan, layers, {"vmlinuz": context.work / "vmlinuz"}, STAGES)
    manifest = json.loads((context.output / MANIFEST).read_text())
    assert "[base] hello" in (context.output / LOG).read_text()
    assert manifest["schema"] == "synos.manifest/1"
    assert (manifest["profile"], manifest["suite"], manifest["architecture"]) == ("x", "trixie", "amd64")
    assert (manifest["build_id"], manifest["key"]) == (plan.build_id, plan.key)
    assert manifest["bytes"] == {"iso": 3, "vmlinuz": 4}
    assert manifest["stages"] == [
        {"name": "iso", "key": "k", "hit": False, "fetched": False, "seconds": 1.0, "bytes": 3, "began": 0.5}
    ]
    assert manifest["packages"][1] == {
        "name": "sudo", "version": "1", "architecture": "amd64", "sha256": "sudo", "layer": "packages-parent",
        "bytes": 1, "installed_bytes": 5000,
    }  # fmt: skip
    packages = [(package["name"], package["installed_bytes"]) for package in manifest["packages"]]
    assert packages == list(zip([package.name for package in LOCK.packages], (0, 5000, 7000), strict=True))


def test_the_iso_and_what_belongs_to_it(tmp_path: Path, delivered: Path) -> None:
    assert publish(delivered, PLAN, OWNER) == DIGEST
    assert (tmp_path / NAME).read_bytes() == b"iso"
    assert (tmp_path / f"{NAME}.sha256").read_text() == f"{DIGEST}  {NAME}\n"
    assert json.loads((tmp_path / f"{NAME}.manifest.json").read_text())["sha256"] == DIGEST
    assert (tmp_path / "synos-x.iso").readlink() == Path(NAME)
    companions = [f"{NAME}.{end}" for end in ("sha256", "log", "manifest.json")]
    names = sorted(path.name for path in tmp_path.iterdir() if path != delivered)
    assert names == sorted(["synos-x.iso", NAME, *companions])
    assert list(delivered.iterdir()) == []


def test_the_iso_comes_last_of_the_files(delivered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    replace = Path.replace

    def noting(self: Path, target: Path) -> Path:
        named.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noting)
    publish(delivered, PLAN, OWNER)
    assert named[-2:] == [NAME, "synos-x.iso"]
    assert set(named[:-2]) == {f"{NAME}.sha256", f"{NAME}.log", f"{NAME}.manifest.json"}


def test_a_link_in_the_way_is_not_followed_and_a_file_of_a_person_not_replaced(
    tmp_path: Path, delivered: Path
) -> None:
    (tmp_path / "precious").write_text("kept")
    for name in (NAME, f"{NAME}.sha256", f"{NAME}.log"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    (tmp_path / "synos-x.iso").write_text("kept")
    publish(delivered, PLAN, OWNER)
    assert (tmp_path / "precious").read_text() == (tmp_path / "synos-x.iso").read_text() == "kept"
    assert (tmp_path / NAME).read_bytes() == b"iso"


@pytest.mark.parametrize("name", [ISO, LOG, MANIFEST])
def test_a_file_without_end_gets_no_name(tmp_path: Path, delivered: Path, name: str) -> None:
    (tmp_path / NAME).write_text("earlier")
    os.truncate(delivered / name, 2**37)
    with pytest.raises(StageFailed, match="something else"):
        publish(delivered, PLAN, OWNER)
    assert sorted(tmp_path.iterdir()) == sorted([delivered, tmp_path / NAME])
    assert (tmp_path / NAME).read_text() == "earlier"


def test_no_mode_of_the_container_reaches_the_output_folder(tmp_path: Path, delivered: Path) -> None:
    for path in delivered.iterdir():
        path.chmod(0o6777)
    before = os.umask(0)
    try:
        publish(delivered, PLAN, OWNER)
    finally:
        os.umask(before)
    made = [path.lstat() for path in tmp_path.glob("synos-x-*")]
    assert {(one.st_mode & 0o7777, one.st_uid, one.st_nlink) for one in made} == {(0o644, os.getuid(), 1)}
    assert len(made) == 4


def test_a_container_gets_empty_files_in_a_folder_that_is_closed(tmp_path: Path) -> None:
    with staging(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == dict.fromkeys(
            [ISO, LOG, MANIFEST], b""
        )
    assert list(tmp_path.iterdir()) == []


def test_a_log_and_a_manifest_cannot_steer_a_terminal(context: BuildContext) -> None:
    context.events.log("hooks", "one\x1b]0;x\x07\r\x1b[31mtwo")
    context.events.finish_log()
    assert context.events.log_path.read_text() == "[hooks] one\ufffd]0;x\ufffd\ufffdtwo\n"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "[" * 100_000, manifest_for(PLAN, key="k"), manifest_for(PLAN, stages=[]),
     manifest_for(PLAN, stages=[{"name": 7}])],
)  # fmt: skip
def test_a_manifest_must_be_that_of_the_iso(tmp_path: Path, delivered: Path, text: str) -> None:
    (delivered / MANIFEST).write_text(text)
    with pytest.raises(StageFailed, match="something else"):
        publish(delivered, PLAN, OWNER)
    assert list(tmp_path.iterdir()) == [delivered]


def test_a_full_disk_is_one(delivered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fchmod", full)
    with pytest.raises(DiskFull):
        publish(delivered, PLAN, OWNER)


def test_the_same_build_again_replaces_itself(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        with staging(tmp_path) as folder:
            (folder / ISO).write_bytes(content)
            (folder / MANIFEST).write_text(manifest_for(PLAN))
            publish(folder, PLAN, OWNER)
    assert (tmp_path / NAME).read_bytes() == b"two"
    assert not list(tmp_path.glob(f"{STAGING_PREFIX}*"))


@pytest.fixture
def plan(tmp_path: Path, delivered: Path) -> Plan:
    """A plan whose ISO was published, with what a later build looks at."""
    made = planned()
    (delivered / MANIFEST).write_text(manifest_for(made))
    publish(delivered, made, OWNER)
    remove(delivered)
    return made


def test_to_look_for_an_iso_changes_nothing(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "synos-x.iso").unlink()
    before = sorted(tmp_path.iterdir())
    found = published(tmp_path, plan)
    assert found is not None
    assert [stage["name"] for stage in found["stages"]] == ["iso"]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("before", ["", "synos-x-of-another-build.iso", NAME])
def test_the_link_points_to_what_was_asked_for_last(tmp_path: Path, before: str) -> None:
    (tmp_path / NAME).write_bytes(b"iso")
    link = tmp_path / "synos-x.iso"
    if before:
        link.symlink_to(before)
    point_to(tmp_path / NAME, PLAN.profile)
    assert link.readlink() == Path(NAME)
    assert sorted(tmp_path.iterdir()) == sorted([link, tmp_path / NAME])


SENSELESS = ["", "{", "[]", "null", "7", "{}", '{"key": null}', "\0"]


@pytest.mark.parametrize(
    "damage",
    ["iso gone", "iso damaged", "manifest gone", {"key": "0" * 64}, {"stages": []}, *SENSELESS],
    ids=str,
)
def test_an_iso_that_is_not_whole_is_not_found(
    tmp_path: Path, plan: Plan, damage: str | dict[str, Any]
) -> None:
    iso = tmp_path / f"synos-x-{plan.build_id}.iso"
    manifest = Path(f"{iso}.manifest.json")
    if isinstance(damage, dict):
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **damage}))
    elif damage == "iso damaged":
        iso.write_bytes(b"isO")
    elif damage.endswith("gone"):
        (iso if damage == "iso gone" else manifest).unlink()
    else:
        manifest.write_text(damage)
    assert published(tmp_path, plan) is None
