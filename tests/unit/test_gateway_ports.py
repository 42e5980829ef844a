"""Ports that containers publish, as `docker ps` prints them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine import gateway
from synos_tasks.engine.gateway import DockerEngine, host_ports

ADDRESSES = st.sampled_from(["127.0.0.1:", "0.0.0.0:", "[::]:", "[::1]:", ":::", "[fe80::1%eth0]:"])
PROTOCOLS = st.sampled_from(["tcp", "udp", "sctp"])
PORTS = st.integers(1, 65000)


@st.composite
def published(draw: st.DrawFn) -> tuple[str, list[int]]:
    """Give one part of what `docker ps` prints, with the ports of the machine that it names."""
    first, inside, protocol = draw(PORTS), draw(PORTS), draw(PROTOCOLS)
    count = draw(st.integers(0, 5))
    span = f"-{first + count - 1}" if count > 1 else ""
    if not count:
        return f"{inside}/{protocol}", []  # exposed, not published
    text = f"{draw(ADDRESSES)}{first}{span}->{inside}{f'-{inside + count - 1}' if span else ''}/{protocol}"
    return text, list(range(first, first + count))


@given(st.lists(published(), max_size=6))
def test_ports_of_the_machine_are_read_in_their_order(parts: list[tuple[str, list[int]]]) -> None:
    text = ", ".join(text for text, _ in parts)
    assert host_ports(text) == [port for _, ports in parts for port in ports]


@pytest.mark.parametrize("text", ["", "5432/tcp", "80/tcp, 443/tcp", ", ", "->80/tcp"])
def test_what_is_not_published_is_no_port_of_the_machine(text: str) -> None:
    assert host_ports(text) == []


def test_a_port_is_told_with_the_container_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = "web\t0.0.0.0:80->80/tcp, [::]:80->80/tcp, 443/tcp\nquiet\t\ndb\t127.0.0.1:7000-7001->1-2/tcp\n"
    ran: list[list[str]] = []

    def output(argv: list[str]) -> subprocess.CompletedProcess[str]:
        ran.append(argv)
        return subprocess.CompletedProcess(argv, 0, printed, "")

    monkeypatch.setattr(gateway, "_output", output)
    assert DockerEngine().published_ports() == {80: "web", 7000: "db", 7001: "db"}
    assert ran == [["docker", "ps", "--format", "{{.Names}}\t{{.Ports}}"]]
