"""The Engine API over its socket, for what the CLI gives slowly: `docker stats` takes a second, this a few milliseconds."""

from __future__ import annotations

import http.client
import json
import os
import socket
import urllib.parse
from pathlib import Path
from typing import Any

from synos_tasks.errors import EngineUnavailable

DEFAULT = "unix:///var/run/docker.sock"
DEFAULT_CONTEXT = "default"
"""What the CLI calls having none: the host of the environment, or the usual socket."""
TIMEOUT = 10.0
"""Seconds that one request may take."""


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path, self._seconds = path, timeout

    def connect(self) -> None:
        """Connect to the socket file; raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


def socket_path() -> str | None:
    """Path of the engine's socket; None where another way leads to it (a context, SSH, TCP), which only the CLI knows."""
    host = os.environ.get("DOCKER_HOST", "")
    if not host and _context() != DEFAULT_CONTEXT:
        return None
    host = host or DEFAULT
    return host.removeprefix("unix://") if host.startswith("unix://") else None


def get(path: str, query: dict[str, str] | None = None) -> Any:  # noqa: ANN401
    """Give the JSON of a GET request; None where the engine knows no such object.

    Raises EngineUnavailable when nobody answers at socket_path(), or with an error.
    """
    status, told = request("GET", path, query)
    if status == http.client.NOT_FOUND:
        return None
    if status != http.client.OK:
        raise EngineUnavailable("the Docker Engine refused a request", where=path, why=message_of(told))
    return told


def message_of(told: Any) -> str:  # noqa: ANN401
    """Give what the engine says in an answer that is an error."""
    return str(told.get("message", told)) if isinstance(told, dict) else str(told)


def request(
    method: str, path: str, query: dict[str, str] | None = None, *, timeout: float = TIMEOUT
) -> tuple[int, Any]:
    """Give the status and the JSON of a request, None where there is none to come; ``timeout`` in seconds.

    Raises EngineUnavailable when nobody answers at socket_path().
    """
    where = socket_path() or ""
    target = f"{path}?{urllib.parse.urlencode(query)}" if query else path
    try:
        connection = _OverSocket(where, timeout)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        return answer.status, _told(answer.status, body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise EngineUnavailable(
            "no Docker Engine answers",
            where=where,
            why=str(error),
            hint="./scripts/synos installs and starts one; `inv doctor` tells more",
        ) from error


def _told(status: int, body: bytes) -> Any:  # noqa: ANN401
    """Read an answer; that of a request which failed may be plain text."""
    if status == http.client.NO_CONTENT:
        return None
    try:
        return json.loads(body)
    except ValueError:
        if status == http.client.OK:
            raise
        return body.decode(errors="replace")


def _context() -> str:
    """Name of the context that the CLI would take where DOCKER_HOST is not set; the environment's goes before the file's."""
    if named := os.environ.get("DOCKER_CONTEXT"):
        return named
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker", "config.json")
    try:
        named = json.loads(path.read_text()).get("currentContext")
    except (OSError, ValueError, AttributeError):
        named = None
    return str(named or DEFAULT_CONTEXT)
