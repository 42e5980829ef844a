"""How what is built gets out of this machine: the proxies of the host, and the certificates that it trusts."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from synos_tasks.engine.spec import Bind
from synos_tasks.errors import SettingsError
from synos_tasks.iso.proxies import CERTIFICATES, NAMES, Proxies

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.engine.client import Docker

SECONDS = 2.0
USUAL = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian has them, and its programs look."""
LARGEST_SECRET = 500 * 1024
"""BuildKit refuses larger ones."""


def host_proxies(say: Callable[[str], object] = lambda _: None) -> Proxies:
    """Return the proxies of this command's environment, or else those of the Docker client; raises SettingsError."""
    found = Proxies.of(os.environ)
    found = found if found.addresses else _client_proxies(say)
    for field in ("http", "https"):
        address: str = getattr(found, field)
        try:
            parts = urlsplit(address)
            wrong = bool(address) and not (parts.hostname and address.isprintable() and parts.port != 0)
        except ValueError:  # the port is no number
            wrong = True
        if wrong or " " in address:
            hint = "it must be http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with special characters as %XX"
            raise SettingsError("the address of a proxy has a mistake", where=NAMES[field], hint=hint)
    return found


def _client_proxies(say: Callable[[str], object]) -> Proxies:
    try:
        folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        given = dict(json.loads((folder / "config.json").read_text())["proxies"]["default"])
    except (FileNotFoundError, NotADirectoryError, KeyError, RuntimeError):  # without a home
        return Proxies()
    except (OSError, ValueError, TypeError) as error:
        say(f"warning: whether {folder / 'config.json'} has proxies is not known: {error}")
        return Proxies()
    return Proxies.of({name: str(given.get(f"{field}Proxy", "")) for field, name in NAMES.items()})


def container_proxies(docker: Docker, say: Callable[[str], object]) -> Proxies:
    """Return the host's proxies as containers reach them; say which they cannot reach, and so do without.

    Raises SettingsError.
    """
    proxies = host_proxies(say)
    reached = {address: _inside(docker, address) for address in proxies.addresses}
    for address in (address for address, inside in reached.items() if not inside):
        say(
            f"warning: containers do without the proxy {proxies.masked(address)}: it listens on this machine's loopback "
            f"address alone, which they cannot reach. Let it listen on {_gateway(docker) or 'another address'} too"
        )
    return dataclasses.replace(
        proxies, http=reached.get(proxies.http, ""), https=reached.get(proxies.https, "")
    )


def _inside(docker: Docker, address: str) -> str:
    """Return the address by which containers reach a proxy; '' for none."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if host not in ("localhost", "::1") and not host.startswith("127."):
        return address
    gateway, port = _gateway(docker), parts.port or 80
    login, at, _ = parts.netloc.rpartition("@")
    return (
        parts._replace(netloc=f"{login}{at}{gateway}:{port}").geturl()
        if gateway and _listens(gateway, port)
        else ""
    )


def _gateway(docker: Docker) -> str:
    """Return the address of this machine on the engine's default bridge; '' where the engine is elsewhere."""
    network = docker.network("bridge")
    found = [str(one.get("Gateway", "")) for one in (network.ipam.config or [] if network else [])]
    for address in filter(None, found):
        try:
            socket.create_server((address, 0)).close()
        except OSError:
            continue
        return address
    return ""


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), SECONDS).close()
    except OSError:
        return False
    return True


def host_certificates() -> Path:
    """Return where the certificates are that this host trusts."""
    return Path(os.environ.get("SSL_CERT_FILE") or USUAL)


def certificates(*, network: bool = True) -> tuple[Bind, ...]:
    """Return what a container with a network has of the host's certificates: nothing where the host has none."""
    path = host_certificates()
    return (Bind(source=path.resolve(), target=str(CERTIFICATES)),) if network and path.is_file() else ()


def build_secrets(root: Path, say: Callable[[str], object] = lambda _: None) -> list[str]:
    """Return what the steps of an image's build may read of the host, as options of `docker build --secret`."""
    path = host_certificates()
    if not path.is_file():
        return []
    if path.stat().st_size > LARGEST_SECRET:
        size = f"more than {LARGEST_SECRET // 1024} kB, which BuildKit does not take"
        say(f"warning: images are built without the certificates in {path}: it has {size}")
        return []
    apt = root / "docker/build/image/apt.conf"
    return [f"id=certificates,src={path}", *([f"id=apt,src={apt}"] if apt.is_file() else [])]
