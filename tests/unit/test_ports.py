"""Whether a port is free, asked with real sockets."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from synos_tasks.host import ports

if TYPE_CHECKING:
    from collections.abc import Iterator


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
