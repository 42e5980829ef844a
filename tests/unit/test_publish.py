"""The ISO gets its name last and at once, its companions before it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso import plan as planning
from synos_tasks.iso import publish
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
NAME = "synos-x-0123456789ab.iso"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    plan = planning.make(Profile(name="x"), files={}, tools="t", owner=(os.getuid(), os.getgid()))
    (tmp_path / "out").mkdir()
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


def _publish(shop: Workshop) -> dict[str, str]:
    partial = shop.output / f"{publish.PARTIAL}{NAME}"
    partial.write_bytes(b"iso")
    stages = [{"name": "iso", "key": "k", "seconds": 1.0}]
    return publish.publish(shop, partial, "0123456789ab", stages)


def test_the_iso_and_what_belongs_to_it(shop: Workshop) -> None:
    shop.events.log("rootfs", "hello")
    digest = hashlib.sha256(b"iso").hexdigest()
    assert _publish(shop) == {"iso": NAME, "sha256": digest}
    assert (shop.output / f"{NAME}.sha256").read_text() == f"{digest}  {NAME}\n"
    assert "[rootfs] hello" in (shop.output / f"{NAME}.log").read_text()
    assert (shop.output / "synos-x.iso").readlink() == Path(NAME)
    assert sorted(path.name for path in shop.output.iterdir()) == sorted(
        ["synos-x.iso", NAME, *(f"{NAME}.{end}" for end in ("sha256", "log", "manifest.json"))]
    )


def test_the_manifest_says_what_is_in_it(shop: Workshop) -> None:
    _publish(shop)
    manifest = json.loads((shop.output / f"{NAME}.manifest.json").read_text())
    assert manifest["schema"] == "synos.manifest/1"
    assert manifest["packages"] == [{"name": "sudo", "version": "1.9", "architecture": "amd64"}]
    assert manifest["bytes"] == {"iso": 3, "vmlinuz": 3}
    assert manifest["stages"] == [{"name": "iso", "key": "k"}]


def test_the_iso_comes_last_of_the_files(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[str] = []
    replace = Path.replace

    def noting(self: Path, target: Path) -> Path:
        settled.append(Path(target).name)
        assert self.name.startswith(publish.PARTIAL_PREFIX)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noting)
    _publish(shop)
    assert settled[-2:] == [NAME, "synos-x.iso"]
    assert set(settled[:-2]) == {f"{NAME}.sha256", f"{NAME}.log", f"{NAME}.manifest.json"}


def test_a_failure_on_the_way_leaves_the_earlier_iso(shop: Workshop) -> None:
    (shop.output / "synos-x-earlier.iso").write_bytes(b"earlier")
    (shop.output / "synos-x.iso").symlink_to("synos-x-earlier.iso")
    (shop.root / "var/lib/dpkg/status").unlink()
    with pytest.raises(FileNotFoundError):
        _publish(shop)
    assert not (shop.output / NAME).exists()
    assert (shop.output / "synos-x.iso").read_bytes() == b"earlier"


def test_the_same_build_again_replaces_itself(shop: Workshop) -> None:
    assert _publish(shop) == _publish(shop)
    assert (shop.output / NAME).stat().st_mode & 0o777 == 0o644
