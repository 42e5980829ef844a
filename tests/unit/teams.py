"""Machines that share a remote store, and the servers that it may be on."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synos_tasks.build import trust
from synos_tasks.build.remote import RemoteStore
from synos_tasks.iso.store import Store
from tests.unit.contexts import put_entry
from tests.unit.projects import settings_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from synos_tasks.iso.remote import Described

    Handler = Callable[..., BaseHTTPRequestHandler]

KEY = "ab" * 32
FILES = {"root.squashfs": bytes(range(256)) * 3000, "initrd.img": b"initrd"}
SIGNER, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


@dataclass
class Team:
    """A folder that is a remote store, and a machine that reads it."""

    folder: Path
    said: list[str] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def entry(self) -> Path:
        return self.store / "objects" / KEY

    def open(self, url: str = "") -> RemoteStore:
        self.store.mkdir(exist_ok=True)
        given = settings_in(self.folder / "project")
        trusted = {trust.fingerprint(SIGNER.public_key()): SIGNER.public_key()}
        return RemoteStore(given, trusted, self.said.append, url or self.store.as_uri())

    def push(self, key: str = KEY, signer: Ed25519PrivateKey = SIGNER) -> Described:
        """Push an entry that a store of this machine has."""
        with Store(self.folder / "cache", self.said.append) as store:
            entry = store.find(key) or put_entry(store, key, FILES, {"removed": []})
            described = store.describe(entry)
        self.open().push(described, entry.folder, signer)
        return described

    def fetch(self, url: str = "", key: str = KEY) -> bool:
        """Bring an entry, as a container asks for it; whether it came, and then it is right."""
        answers: list[Any] = []
        with self.open(url).fetching() as fetching:
            if fetching is None:
                return False
            fetching.start([key], answers.append)
            while not answers:
                time.sleep(0.01)
            [answer] = answers
            if answer["found"]:
                for name, content in FILES.items():
                    assert (fetching.folder / key / name).read_bytes() == content
        return bool(answer["found"])


@contextmanager
def served(handler: Handler) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...
