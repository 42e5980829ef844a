"""A proxy that alone reaches a mirror, and a private CA that signs for it."""

from __future__ import annotations

import base64
import select
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from tests.build_helpers import docker
from tests.mirrors import Serving, debian

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "mirror.invalid"
"""The name of the mirror, which nobody but the proxy knows."""
USER, PASSWORD = "kim", "s3cret-of-kim"


@dataclass(kw_only=True)
class Proxy:
    """A proxy that runs. ``port``: it listens on ``host``, which containers reach."""

    host: str
    port: int
    asked: list[str] = field(default_factory=list)
    """Addresses, or ``CONNECT HOST:PORT``, that were passed on."""

    @property
    def address(self) -> str:
        """Its address without user and password."""
        return f"http://{self.host}:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a host behind it."""
        address = f"http://{USER}:{PASSWORD}@{self.host}:{self.port}"
        return {"http_proxy": address, "HTTPS_PROXY": address, "no_proxy": "localhost,127.0.0.1"}


class _Mirror(Serving):
    """Debian's files, and those of a folder, whatever name the mirror is asked by."""

    protocol_version = "HTTP/1.1"  # or each answer ends without a goodbye of TLS, which newer apt refuses
    folder: ClassVar[Path | None] = None

    def body(self) -> bytes | int:
        path = urlsplit(self.path).path
        own = self.folder / path.lstrip("/") if self.folder else None
        return own.read_bytes() if own and own.is_file() else debian(path)


class _Proxy(_Mirror):
    proxy: ClassVar[Proxy]
    login: ClassVar[str]
    secure: ClassVar[tuple[str, int]]
    """Where the mirror's https is."""

    def do_GET(self) -> None:
        if self._may(urlsplit(self.path).hostname in (HOST, "deb.debian.org"), self.path):
            super().do_GET()

    def do_CONNECT(self) -> None:
        if not self._may(self.path == f"{HOST}:443", f"CONNECT {self.path}"):
            return
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with socket.create_connection(self.secure) as other, suppress(ConnectionError):
            ends = {self.connection: other, other: self.connection}
            while ready := select.select(list(ends), [], [], 60)[0]:
                for end in ready:
                    if not (data := end.recv(2**16)):
                        return
                    ends[end].sendall(data)

    def _may(self, known: bool, what: str) -> bool:
        wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
        if self.login and self.headers.get("Proxy-Authorization") != wanted:
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="company"')
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            return False
        self.proxy.asked.append(what)
        if not known:
            self.send_error(503)
        return known


@contextmanager
def _serving(host: str, handler: type[Serving], tls: ssl.SSLContext | None) -> Iterator[int]:
    """Serve, with TLS handshakes in the threads of the connections; yield the port."""
    with ThreadingHTTPServer((host, 0), handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def bridge() -> str:
    """Return the address of this machine that containers reach."""
    return docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")


@contextmanager
def proxy(
    tls: ssl.SSLContext, *, host: str = "", login: str = f"{USER}:{PASSWORD}", folder: Path | None = None
) -> Iterator[Proxy]:
    """Run a proxy that wants a ``login``: by it HOST is reached, by http and by https, which is ``tls``.

    Debian's own mirror answers by http too. ``folder`` has files that are served besides Debian's.
    """
    with _serving("127.0.0.1", type("Mirror", (_Mirror,), {"folder": folder}), tls) as secure:
        made = Proxy(host=host or bridge(), port=0)
        fields = {"proxy": made, "login": login, "secure": ("127.0.0.1", secure)}
        with _serving(host or made.host, type("Handler", (_Proxy,), fields), None) as made.port:
            yield made


@contextmanager
def secure_mirror(tls: ssl.SSLContext) -> Iterator[str]:
    """Serve Debian's files by https where containers reach it; yield the address."""
    with _serving(bridge(), _Mirror, tls) as port:
        yield f"https://{bridge()}:{port}"


def private_ca(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a CA and a server's certificate, for HOST and for the bridge; return the CA's, and what the server needs."""
    (folder / "names").write_text(f"subjectAltName=DNS:{HOST},IP:{bridge()}\n")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for argv in (
        ["req", "-x509", *new, "-subj=/CN=Private CA", "-keyout=ca.key", "-out=ca.pem"],
        ["req", *new, f"-subj=/CN={HOST}", "-keyout=key", "-out=request"],
        ["x509", "-req", "-in=request", "-CA=ca.pem", "-CAkey=ca.key", "-extfile=names", "-out=crt"],
    ):
        subprocess.run(["openssl", *argv], cwd=folder, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "crt", folder / "key")
    return folder / "ca.pem", tls
