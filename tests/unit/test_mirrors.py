"""Which address of a mirror is asked."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso import mirrors
from synos_tasks.iso.mirrors import over_https
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.proxies import NO_PROXIES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A server that stands for Debian's."""
    with ThreadingHTTPServer(("localhost", 0), BaseHTTPRequestHandler) as made:
        monkeypatch.setattr(mirrors, "DEBIAN", "localhost")
        monkeypatch.setattr(mirrors, "PORT", made.server_port)
        mirrors._answers.cache_clear()
        yield made
        made.shutdown()


def start(server: ThreadingHTTPServer, certificate: Path | None = None) -> Profile:
    if certificate:
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj=/CN=localhost",
                "-addext=subjectAltName=DNS:localhost", f"-keyout={certificate}", f"-out={certificate}.crt"]  # fmt: skip
        subprocess.run(argv, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}.crt", certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return Profile(name="x", mirror=f"http://{mirrors.DEBIAN}/debian", security_mirror="http://b.example/s")


@pytest.mark.allow_process(reason="openssl makes a certificate")
@pytest.mark.parametrize("trusted", [True, False])
def test_debians_mirror_is_asked_by_https_where_its_certificate_is_trusted(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    profile = start(server, tmp_path / "key")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "key.crt"))
    asked = over_https(profile, NO_PROXIES)
    assert asked.mirror == f"http{'s' * trusted}://{mirrors.DEBIAN}/debian"
    assert asked.security_mirror == profile.security_mirror


def test_a_mirror_without_https_and_one_of_another_host_are_asked_as_they_are_written(
    server: ThreadingHTTPServer,
) -> None:
    profile = start(server)
    assert over_https(profile, NO_PROXIES) == profile
    server.shutdown()
    for address in (f"http://{mirrors.DEBIAN}.example/debian", f"https://{mirrors.DEBIAN}/debian"):
        other = Profile(name="x", mirror=address, security_mirror=address)
        assert over_https(other, NO_PROXIES) == other


def test_a_name_server_that_is_silent_is_not_waited_for(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object, **__: object) -> None:
        time.sleep(3)
        raise OSError

    profile, began = start(server), time.monotonic()
    monkeypatch.setattr(mirrors, "SECONDS", 0.1)
    monkeypatch.setattr("socket.getaddrinfo", silent)
    assert over_https(profile, NO_PROXIES) == profile
    assert time.monotonic() - began < 2
