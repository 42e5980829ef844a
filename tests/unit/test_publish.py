"""The container delivers complete files; the host gives them their names, the ISO last and at once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.errors import StageFailed
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
)
from synos_tasks.iso.scratch import scratch
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
    (folder / LOG).write_text("log")
    (folder / MANIFEST).write_text("{}")
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
    assert deliver(context, plan, layers, {"vmlinuz": context.work / "vmlinuz"}, STAGES) == DIGEST
    manifest = json.loads((context.output / MANIFEST).read_text())
    assert "[base] hello" in (context.output / LOG).read_text()
    assert manifest["schema"] == "synos.manifest/1"
    assert (manifest["profile"], manifest["suite"], manifest["architecture"]) == ("x", "bookworm", "amd64")
    assert (manifest["build_id"], manifest["key"]) == (plan.build_id, plan.key)
    assert manifest["bytes"] == {"iso": 3, "vmlinuz": 4}
    assert manifest["sha256"] == DIGEST
    assert manifest["stages"] == [
        {"name": "iso", "key": "k", "hit": False, "seconds": 1.0, "bytes": 3, "began": 0.5}
    ]
    assert manifest["packages"][1] == {
        "name": "sudo", "version": "1", "architecture": "amd64", "sha256": "sudo", "layer": "packages-parent",
        "bytes": 1, "installed_bytes": 5000,
    }  # fmt: skip
    packages = [(package["name"], package["installed_bytes"]) for package in manifest["packages"]]
    assert packages == list(zip([package.name for package in LOCK.packages], (0, 5000, 7000), strict=True))
    modes = {path.name: path.stat().st_mode & 0o777 for path in context.output.iterdir()}
    assert modes == dict.fromkeys([ISO, LOG, MANIFEST], 0o644)


def test_the_iso_and_what_belongs_to_it(tmp_path: Path, delivered: Path) -> None:
    assert publish(delivered, PLAN, DIGEST) == tmp_path / NAME
    assert (tmp_path / f"{NAME}.sha256").read_text() == f"{DIGEST}  {NAME}\n"
    assert (tmp_path / "synos-x.iso").readlink() == Path(NAME)
    companions = [f"{NAME}.{end}" for end in ("sha256", "log", "manifest.json")]
    assert sorted(path.name for path in tmp_path.iterdir() if path != delivered) == sorted(
        ["synos-x.iso", NAME, *companions]
    )
    assert list(delivered.iterdir()) == []


def test_the_iso_comes_last_of_the_files(delivered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    replace = Path.replace

    def noting(self: Path, target: Path) -> Path:
        named.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noting)
    publish(delivered, PLAN, DIGEST)
    assert named[-2:] == [NAME, "synos-x.iso"]
    assert set(named[:-2]) == {f"{NAME}.sha256", f"{NAME}.log", f"{NAME}.manifest.json"}


@pytest.mark.parametrize("digest", ["x", f"{DIGEST}\n", "0" * 64])
def test_a_sum_that_is_not_the_isos_is_refused(tmp_path: Path, delivered: Path, digest: str) -> None:
    with pytest.raises(StageFailed, match="something else"):
        publish(delivered, PLAN, digest)
    assert list(tmp_path.iterdir()) == [delivered]


def test_a_link_in_the_way_is_not_followed_and_a_file_of_a_person_not_replaced(
    tmp_path: Path, delivered: Path
) -> None:
    (tmp_path / "precious").write_text("kept")
    (delivered / "sha256").symlink_to(tmp_path / "precious")
    (tmp_path / "synos-x.iso").write_text("kept")
    publish(delivered, PLAN, DIGEST)
    assert (tmp_path / "precious").read_text() == (tmp_path / "synos-x.iso").read_text() == "kept"
    assert (tmp_path / f"{NAME}.sha256").read_text() == f"{DIGEST}  {NAME}\n"


@pytest.mark.parametrize("name", [ISO, LOG, MANIFEST])
@pytest.mark.parametrize("kind", ["missing", "link", "folder"])
def test_only_regular_files_get_a_name(tmp_path: Path, delivered: Path, name: str, kind: str) -> None:
    earlier = tmp_path / NAME
    earlier.write_text("earlier")
    (delivered / name).unlink()
    if kind == "link":
        (delivered / name).symlink_to(earlier)
    elif kind == "folder":
        (delivered / name).mkdir()
    with pytest.raises(StageFailed, match="something else"):
        publish(delivered, PLAN, DIGEST)
    assert sorted(tmp_path.iterdir()) == sorted([delivered, earlier])
    assert earlier.read_text() == "earlier"


def test_the_same_build_again_replaces_itself(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        with scratch(tmp_path, STAGING_PREFIX) as folder:
            (folder / ISO).write_bytes(content)
            (folder / LOG).touch()
            (folder / MANIFEST).touch()
            publish(folder, PLAN, hashlib.sha256(content).hexdigest())
    assert (tmp_path / NAME).read_bytes() == b"two"
    assert not list(tmp_path.glob(f"{STAGING_PREFIX}*"))


@pytest.fixture
def plan(tmp_path: Path, delivered: Path) -> Plan:
    """A plan whose ISO was published, with what a later build looks at."""
    made = planned()
    fields = {"key": made.key, "sha256": DIGEST, "stages": [asdict(stage) for stage in STAGES]}
    (delivered / MANIFEST).write_text(json.dumps(fields))
    publish(delivered, made, DIGEST)
    delivered.rmdir()
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
