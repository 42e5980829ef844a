"""What is read of the machine: /dev, mounts, and ports with real sockets."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks import host

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNTINFO = """\
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
23 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=1k
31 22 0:40 / /home/me/my\\040synos/.synos/work/rootfs/dev rw - devtmpfs udev rw
32 22 0:41 / /tmp/synos-build-1/proc rw - proc proc rw
33 22 0:42 / /var/lib/docker/volumes/synos-store/_data rw - tmpfs tmpfs rw
34 22 259:3 / /home/me/my\\040synos rw master:3 propagate_from:2 - ext4 /dev/sda1 rw
this is no line of a mount table
"""


def node(mode: int, major: int = 0, minor: int = 0) -> os.stat_result:
    return os.stat_result((mode, 1, 2, 1, *[0] * 6), {"st_rdev": os.makedev(major, minor)})


def test_free_disk_of_a_folder_that_is_not_made_yet(tmp_path: Path) -> None:
    assert host.free_disk_bytes(tmp_path / "not" / "yet") > 0


def test_an_empty_dev_lacks_everything(tmp_path: Path) -> None:
    problems = host.dev_problems(tmp_path)
    assert len(problems) == len(host.NODES) + len(host.LINKS)
    assert all("missing" in problem for problem in problems)
    assert any("cannot be read" in problem for problem in host.dev_problems(tmp_path / "gone"))


def test_each_wrong_entry_of_dev_is_named_once_and_hidden_ones_are_left_alone(tmp_path: Path) -> None:
    for name in ("null", "sdx", ".lxc-boot-id", "stderr", "pts/ptmx", "folder/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "/somewhere/else"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    problems = host.dev_problems(tmp_path)
    assert sorted(problem for problem in problems if "missing" not in problem) == [
        f"{tmp_path}/null is -rw-r--r--, not character device 1:3",
        f"{tmp_path}/ptmx is -rw-r--r--, not character device 5:2",
        f"{tmp_path}/sdx is a regular file",
        f"{tmp_path}/stderr is not a link",
        f"{tmp_path}/stdout is a link to /somewhere/else",
    ]


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (node(stat.S_IFCHR | 0o666, 1, 5), "/dev/null is crw-rw-rw-, not character device 1:3"),
        (node(stat.S_IFCHR | 0o600, 1, 3), "/dev/null has mode 0600: not everybody may use it"),
        (node(stat.S_IFBLK | 0o666, 1, 3), "/dev/null is brw-rw-rw-, not character device 1:3"),
        (node(stat.S_IFLNK | 0o777), "/dev/null is lrwxrwxrwx, not character device 1:3"),
    ],
)
def test_a_damaged_node_is_named(found: os.stat_result, problem: str) -> None:
    assert host.node_problem(Path("/dev/null"), found, (1, 3)) == problem


@pytest.fixture
def table(tmp_path: Path) -> tuple[host.Mount, ...]:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    return host.mount_table(tmp_path / "mountinfo")


def test_mount_table_reads_optional_fields_and_escapes(table: tuple[host.Mount, ...]) -> None:
    assert len(table) == 6
    assert host.Mount("/home/me/my synos", "ext4", "/dev/sda1", "/") in table


def test_stale_mounts_are_below_the_project_or_named_ours(table: tuple[host.Mount, ...]) -> None:
    stale = host.stale_mounts(Path("/home/me/my synos"), table, ignore=[Path("/var/lib/docker")])
    assert [mount.point for mount in stale] == [
        "/home/me/my synos/.synos/work/rootfs/dev",
        "/tmp/synos-build-1/proc",
    ]
    assert host.KERNEL_KINDS.issuperset(mount.kind for mount in stale)
    volume = "/var/lib/docker/volumes/synos-store/_data"
    assert volume in [mount.point for mount in host.stale_mounts(Path("/elsewhere"), table)]


def test_a_project_inside_a_mount_named_like_ours_is_not_stale() -> None:
    outer = host.Mount("/mnt/synos-disk", "ext4", "/dev/sdb1", "/")
    assert host.stale_mounts(Path("/mnt/synos-disk/project"), [outer]) == ()
    assert host.stale_mounts(Path("/mnt/synos-disk"), [outer]) == ()


@pytest.fixture(params=["127.0.0.1", "::1"])
def listening(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as server:
        try:
            server.bind((request.param, 0))
        except OSError:
            pytest.skip(f"this machine has no {request.param}")
        server.listen()
        yield request.param, server.getsockname()[1]


def test_a_port_somebody_listens_on_is_taken_until_it_is_closed(listening: tuple[str, int]) -> None:
    address, port = listening
    assert host.is_taken(address, port)


def test_a_connection_that_ended_a_moment_ago_does_not_keep_the_port() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        server.bind(("127.0.0.1", 0))
        server.listen()
        address, port = server.getsockname()
        client = socket.create_connection((address, port))
        accepted, _ = server.accept()
        accepted.close()  # first: so that TIME_WAIT is on the server's side
        client.close()
    assert not host.is_taken(address, port)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "no"), OSError(99, "not here"), OSError(97, "no IPv6")]
)
def test_only_an_address_in_use_counts(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert not host.is_taken("127.0.0.1", 80)
