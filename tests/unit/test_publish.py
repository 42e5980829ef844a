"""The container delivers complete files; the host gives them their names, the ISO last and at once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.build.publish import STAGING_PREFIX, publish, staging
from synos_tasks.errors import StageFailed
from synos_tasks.iso import deliver
from synos_tasks.iso import plan as planning
from synos_tasks.iso.events import Events
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.tools import Workshop

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS = """Package: sudo
Status: install ok installed
Version: 1.9
Architecture: amd64

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: all
"""
IDENT = "0123456789ab"
NAME = f"synos-x-{IDENT}.iso"
DIGEST = hashlib.sha256(b"iso").hexdigest()
DELIVERED = {"build_id": IDENT, "sha256": DIGEST}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    plan = planning.make(Profile(name="x"), files={}, tools="t", owner=(os.getuid(), os.getgid()))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / deliver.ISO).write_bytes(b"iso")
    descriptor = os.open(os.devnull, os.O_WRONLY)
    events = Events(tmp_path / "build.log", descriptor)
    made = Workshop(plan=plan, work=tmp_path, docker_build=tmp_path, output=tmp_path / "out", events=events)
    (made.tree / "live").mkdir(parents=True)
    (made.tree / "live/vmlinuz").write_bytes(b"123")
    (made.root / "var/lib/dpkg").mkdir(parents=True)
    (made.root / "var/lib/dpkg/status").write_text(STATUS)
    yield made
    events._log.close()
    os.close(descriptor)


@pytest.fixture
def delivered(tmp_path: Path) -> Path:
    """A staging folder as a container leaves it."""
    folder = tmp_path / f"{STAGING_PREFIX}x"
    folder.mkdir()
    (folder / deliver.ISO).write_bytes(b"iso")
    (folder / deliver.LOG).write_text("log")
    (folder / deliver.MANIFEST).write_text("{}")
    return folder


def test_what_the_container_delivers(shop: Workshop) -> None:
    shop.events.log("rootfs", "hello")
    assert deliver.deliver(shop, IDENT, [{"name": "iso", "key": "k", "seconds": 1.0}]) == DIGEST
    assert "[rootfs] hello" in (shop.output / deliver.LOG).read_text()
    manifest = json.loads((shop.output / deliver.MANIFEST).read_text())
    assert manifest["packages"] == [{"name": "sudo", "version": "1.9", "architecture": "amd64"}]
    assert manifest["bytes"] == {"iso": 3, "vmlinuz": 3}
    assert manifest["sha256"] == DIGEST
    assert manifest["stages"] == [{"name": "iso", "key": "k"}]
    for path in shop.output.iterdir():
        assert path.stat().st_mode & 0o777 == 0o644


def test_the_iso_and_what_belongs_to_it(tmp_path: Path, delivered: Path) -> None:
    assert publish(delivered, "x", DELIVERED) == tmp_path / NAME
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
    publish(delivered, "x", DELIVERED)
    assert named[-2:] == [NAME, "synos-x.iso"]
    assert set(named[:-2]) == {f"{NAME}.sha256", f"{NAME}.log", f"{NAME}.manifest.json"}


@pytest.mark.parametrize(
    "told",
    [{"build_id": "../../../etc/x"}, {"build_id": f"{IDENT}\n"}, {"build_id": ""}, {"sha256": "x"}],
    ids=["path", "newline", "empty", "digest"],
)
def test_names_are_not_the_containers_to_choose(
    tmp_path: Path, delivered: Path, told: dict[str, str]
) -> None:
    with pytest.raises(StageFailed, match="something else"):
        publish(delivered, "x", {**DELIVERED, **told})
    assert list(tmp_path.iterdir()) == [delivered]


@pytest.mark.parametrize("name", [deliver.ISO, deliver.LOG, deliver.MANIFEST])
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
        publish(delivered, "x", DELIVERED)
    assert sorted(tmp_path.iterdir()) == sorted([delivered, earlier])
    assert earlier.read_text() == "earlier"


def test_the_same_build_again_replaces_itself(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        with staging(tmp_path) as folder:
            (folder / deliver.ISO).write_bytes(content)
            (folder / deliver.LOG).touch()
            (folder / deliver.MANIFEST).touch()
            publish(folder, "x", DELIVERED)
    assert (tmp_path / NAME).read_bytes() == b"two"
    assert not list(tmp_path.glob(f"{STAGING_PREFIX}*"))


def test_a_staging_folder_goes_whatever_happens(tmp_path: Path) -> None:
    with suppress(RuntimeError), staging(tmp_path) as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / f"{STAGING_PREFIX}killed").mkdir()
    (tmp_path / f"{STAGING_PREFIX}killed/image.iso").touch()
    (tmp_path / f"{STAGING_PREFIX}old-file").touch()
    (tmp_path / "synos-x.iso").touch()
    with staging(tmp_path) as folder:
        assert sorted(tmp_path.iterdir()) == sorted([folder, tmp_path / "synos-x.iso"])


def test_a_build_beside_this_one_keeps_its_folder(tmp_path: Path) -> None:
    with staging(tmp_path) as first, staging(tmp_path) as second:
        assert first != second
        assert first.is_dir()
        assert second.is_dir()


def test_the_lock_goes_with_the_build(tmp_path: Path) -> None:
    with staging(tmp_path):
        pass
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
