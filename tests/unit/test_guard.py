from __future__ import annotations

from pathlib import Path

import pytest

from synos_tasks.errors import OutsideContainer
from synos_tasks.iso.guard import refuse_outside_container

CONTAINER = """\
714 617 0:97 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a:/b,upperdir=/c
716 714 0:101 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
717 716 0:102 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620,ptmxmode=666
"""
HOSTS = "32 25 0:5 / /somewhere/dev rw,nosuid,relatime shared:2 - devtmpfs udev rw,size=1k,mode=755\n"


def _refuse(folder: Path, mountinfo: str, marker: str = "synos-builder") -> None:
    (folder / "synos-builder").touch()
    (folder / "mountinfo").write_text(mountinfo)
    refuse_outside_container(folder / marker, folder / "mountinfo")


def test_the_builder_is_let_through_whatever_is_called_devtmpfs_in_it(tmp_path: Path) -> None:
    line = "800 714 0:99 /devtmpfs /mnt/devtmpfs rw - ext4 /dev/devtmpfs rw\n"
    _refuse(tmp_path, CONTAINER + line)


def test_without_the_marker_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(OutsideContainer) as caught:
        _refuse(tmp_path, CONTAINER, marker="missing")
    assert caught.value.exit_code == 22
    assert caught.value.where == str(tmp_path / "missing")
    assert "build.iso" in caught.value.hint


@pytest.mark.parametrize("text", [CONTAINER + HOSTS, HOSTS + CONTAINER])
def test_with_the_devtmpfs_of_the_host_it_refuses(tmp_path: Path, text: str) -> None:
    with pytest.raises(OutsideContainer) as caught:
        _refuse(tmp_path, text)
    assert caught.value.where == "/somewhere/dev"
