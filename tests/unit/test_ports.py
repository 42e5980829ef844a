"""Which process has a port, from a fake /proc, and from the real one for a socket of this process."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.host import ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
OTHER_UID = 999 if os.geteuid() != 999 else 998


def line(port: int, inode: int, *, uid: int = OTHER_UID, state: str = "0A", address: str = "0100007F") -> str:
    counters = "00000000:00000000 00:00000000 00000000"
    return f"   0: {address}:{port:04X} 00000000:0000 {state} {counters} {uid:5}        0 {inode} 1 0 100 0 0 10 0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(HEADING)
    (tmp_path / "sys").mkdir()
    return tmp_path


def listen(proc: Path, *lines: str, table: str = "tcp") -> None:
    (proc / "net" / table).write_text(HEADING + "".join(lines))


def process(proc: Path, pid: int, name: str, *inodes: int) -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "comm").write_text(f"{name}\n")
    (proc / str(pid) / "fd/0").symlink_to("/dev/null")
    (proc / str(pid) / "fd/1").write_text("no link")
    for number, inode in enumerate(inodes, 3):
        (proc / str(pid) / "fd" / str(number)).symlink_to(f"socket:[{inode}]")


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
    assert ports.is_taken(address, port)
    assert f"(process {os.getpid()})" in ports.holder(port)


def test_a_free_port_is_not_taken() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    assert not ports.is_taken("127.0.0.1", port)
    assert ports.holder(port) == ""


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
    assert not ports.is_taken(address, port)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "no"), OSError(99, "not here"), OSError(97, "no IPv6")]
)
def test_only_an_address_in_use_counts(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert not ports.is_taken("127.0.0.1", 80)


def test_nobody(proc: Path) -> None:
    assert ports.holder(6379, proc) == ""


def test_the_process_is_named(proc: Path) -> None:
    listen(proc, line(6379, 77))
    process(proc, 9, "other", 78)
    process(proc, 1234, "redis-server", 76, 77)
    assert ports.holder(6379, proc) == "redis-server (process 1234)"


def test_ipv6_has_a_table_of_its_own(proc: Path) -> None:
    listen(proc, line(4222, 5, address="0" * 32), table="tcp6")
    process(proc, 10, "docker-proxy", 5)
    assert ports.holder(4222, proc) == "docker-proxy (process 10)"


def test_who_listens_by_ipv4_and_ipv6_is_named_once(proc: Path) -> None:
    listen(proc, line(4222, 5))
    listen(proc, line(4222, 6, address="0" * 32), table="tcp6")
    process(proc, 10, "nats-server", 5, 6)
    assert ports.holder(4222, proc) == "nats-server (process 10)"


def test_different_holders_at_different_addresses_are_all_named(proc: Path) -> None:
    listen(proc, line(5432, 5), line(5432, 6, address="010011AC"))
    process(proc, 10, "postgres", 5)
    process(proc, 11, "docker-proxy", 6)
    assert ports.holder(5432, proc) == "postgres (process 10) and docker-proxy (process 11)"


def test_of_processes_that_share_a_socket_the_eldest_is_named(proc: Path) -> None:
    listen(proc, line(80, 5))
    for pid in (*range(100, 130), 99, *range(130, 160)):
        process(proc, pid, "nginx", 5)
    assert ports.holder(80, proc) == "nginx (process 99)"


def test_only_listeners_on_that_very_port_count(proc: Path) -> None:
    listen(proc, line(6379, 5, state="01"), line(6380, 6))
    process(proc, 10, "redis-cli", 5, 6)
    assert ports.holder(6379, proc) == ""


def test_a_process_whose_descriptors_cannot_be_read(proc: Path) -> None:
    listen(proc, line(5432, 5))
    (proc / "44").mkdir()
    assert ports.holder(5432, proc) == f"a process of another user (uid {OTHER_UID})"


def test_a_socket_of_ours_that_no_visible_process_has(proc: Path) -> None:
    listen(proc, line(5432, 5, uid=os.geteuid()))
    assert ports.holder(5432, proc) == f"a process that cannot be seen from here (uid {os.geteuid()})"


def test_a_process_may_name_itself_anything(proc: Path) -> None:
    listen(proc, line(5432, 5), line(5432, 6))
    process(proc, 10, "a\x1b[31m b", 5)
    process(proc, 11, "", 6)
    assert ports.holder(5432, proc) == "a?[31m b (process 10) and a process that has just ended (process 11)"


@given(
    st.lists(
        st.tuples(st.integers(1, 65535), st.integers(1, 2**32), st.integers(0, 2**32 - 1), st.sampled_from(["0A", "01"]))
    ),
    st.text(),
)  # fmt: skip
def test_listeners_are_read_whatever_stands_around_them(
    rows: list[tuple[int, int, int, str]], noise: str
) -> None:
    table = HEADING + "".join(line(port, inode, uid=uid, state=state) for port, inode, uid, state in rows)
    for port in {row[0] for row in rows} | {1}:
        expected = [ports.Listener(inode=r[1], uid=r[2]) for r in rows if r[0] == port and r[3] == "0A"]
        assert ports.listeners(table, port) == expected
    ports.listeners(noise, 1)
