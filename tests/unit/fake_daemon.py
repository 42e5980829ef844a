"""An engine's socket with what Docker answers, for code that asks over HTTP."""

from __future__ import annotations

import http.server
import json
import socketserver
import tempfile
import threading
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Daemon:
    """Answers by method and path, "GET /info" for instance; what it does not know is not found."""

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Status, and what is given as JSON; bytes are given as they are."""
    asked: list[str] = field(default_factory=list)
    """Method and path, in order."""
    queries: list[dict[str, str]] = field(default_factory=list)
    """What came with each of them."""
    host: str = ""

    def answer(self, method: str, target: str) -> tuple[int, bytes]:
        path, _, query = target.partition("?")
        self.asked.append(f"{method} {path}")
        self.queries.append(dict(urllib.parse.parse_qsl(query, strict_parsing=bool(query))))
        status, told = self.answers.get(f"{method} {path}", (404, {"message": f"no such thing: {path}"}))
        return status, told if isinstance(told, bytes) else json.dumps(told).encode()


@contextmanager
def listening() -> Iterator[Daemon]:
    """Listen at a socket file whose path is short enough for one."""
    daemon = Daemon()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            status, body = daemon.answer(self.command, self.path)
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if status != 204:
                self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815  (http.server calls them so)

        def address_string(self) -> str:
            return ""

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with tempfile.TemporaryDirectory(prefix="synos-api-") as folder:
        path = f"{folder}/d.sock"
        daemon.host = f"unix://{path}"
        with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield daemon
            finally:
                server.shutdown()
                thread.join()
