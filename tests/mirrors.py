"""Package mirrors that lie: Debian's own files, some of them changed, moved, or signed by a key of the tests."""

from __future__ import annotations

import functools
import hashlib
import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

from tests.build_helpers import docker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.build_helpers import Clone

Change = bytes | str | Callable[[bytes], bytes]
"""Instead of a file: its content, the path of another one, or what is made of its content."""
RELEASE, SECURITY = "/debian/dists/trixie/", "/debian-security/dists/trixie-security/"
UPDATES = "/debian/dists/trixie-updates/"
FOLDER = "main/binary-amd64/"
INDEX = f"{FOLDER}Packages"
_SIGNATURE = b"\n-----BEGIN PGP SIGNATURE-----"


def _flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def _unsigned(body: bytes) -> bytes:
    return body.partition(b"\n\n")[2].partition(_SIGNATURE)[0]


def _other_text(body: bytes) -> bytes:
    return body.replace(b"Components: main", b"Components: main other", 1)


MISPLACED: Mapping[str, tuple[Mapping[str, Change], str]] = {
    "another release": (
        {RELEASE: "/debian/dists/bookworm/"},
        "asked for: trixie; served: bookworm or ",
    ),
    "no security updates": (
        {SECURITY: RELEASE},
        "asked for: trixie-security; served: trixie or ",
    ),
    "a changed index": ({f"{RELEASE}{FOLDER}": f"{RELEASE}Release"}, "unexpected size"),
}
"""What Debian has signed, at the wrong place: what is served elsewhere, and words of the error."""
LIES: Mapping[str, Mapping[str, Change]] = {
    **{name: changes for name, (changes, _) in MISPLACED.items()},
    "updates as the release": {RELEASE: UPDATES},
    "security updates as the release": {RELEASE: SECURITY},
    "updates as security updates": {SECURITY: UPDATES},
    "security updates of another release": {SECURITY: "/debian-security/dists/bookworm-security/"},
    "an index with another bit": {f"{RELEASE}{FOLDER}": _flip},
    "the index of another suite": {f"{SECURITY}{FOLDER}": f"{RELEASE}{FOLDER}"},
    "no signature": {f"{RELEASE}InRelease": _unsigned, f"{RELEASE}Release.gpg": b""},
    "the signature of another text": {f"{RELEASE}InRelease": _other_text},
    "text before what is signed": {f"{RELEASE}InRelease": lambda body: b"Codename: trixie\n\n" + body},
    "text after the signature": {f"{RELEASE}InRelease": lambda body: body + b"\nCodename: trixie\n"},
    "two signed texts": {f"{RELEASE}InRelease": lambda body: body + body},
    "a signature that is cut": {f"{RELEASE}InRelease": lambda body: body[: -len(body.split(_SIGNATURE)[1]) // 2]},
    "an empty Release file": {f"{RELEASE}InRelease": b"", f"{RELEASE}Release": b"", f"{RELEASE}Release.gpg": b""},
    "a Release file without end": {f"{RELEASE}InRelease": lambda body: body + b"x" * 2**25, f"{RELEASE}Release.gpg": b""},
    "the signature of another suite": {
        f"{RELEASE}InRelease": lambda _: b"",
        f"{RELEASE}Release.gpg": f"{UPDATES}Release.gpg",
    },
}  # fmt: skip
"""What a mirror, or who is between it and the build, may serve of Debian's files: none may give a lock."""


_OPENER = urllib.request.build_opener()
"""Of the machine as it is: a proxy that a test sets later may ask this mirror itself."""


@functools.lru_cache(maxsize=512)
def debian(path: str) -> bytes | int:
    """Return a file of Debian's mirror, or what HTTP says instead."""
    try:
        with _OPENER.open(f"http://deb.debian.org{path}", timeout=60) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        return error.code


class Serving(BaseHTTPRequestHandler):
    """Answers with what body() gives for a path, or with a code."""

    def body(self) -> bytes | int:
        """Return the file at `self.path`, or the code that says why there is none."""
        raise NotImplementedError

    def do_GET(self) -> None:
        body = self.body()
        if isinstance(body, int):
            self.send_error(body)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):  # apt has seen enough
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class _Handler(Serving):
    changes: ClassVar[Mapping[str, Change]]
    asked: ClassVar[list[str]]

    def body(self) -> bytes | int:
        self.asked.append(self.path)
        start = max((one for one in self.changes if self.path.startswith(one)), key=len, default="")
        change = self.changes.get(start, self.path)
        if isinstance(change, bytes):
            return change if self.path == start else 404
        if isinstance(change, str):
            return debian(change + self.path.removeprefix(start) if change.endswith("/") else change)
        body = debian(self.path)
        return body if isinstance(body, int) else change(body)


@contextmanager
def mirror(changes: Mapping[str, Change]) -> Iterator[tuple[str, list[str]]]:
    """Serve Debian's files with some changed, for containers on the default bridge; yield the address and what is asked for.

    The keys of ``changes`` are paths, or how paths begin.
    """
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"changes": changes, "asked": asked})
    gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    with ThreadingHTTPServer((gateway, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{gateway}:{server.server_port}", asked
        server.shutdown()


class Signer:
    """A key of the tests, in a folder, with gpg from the builder image."""

    def __init__(self, folder: Path, image: str) -> None:
        self.folder, self._image = folder, image
        self._gpg(
            "--passphrase '' --quick-gen-key nobody@example.org ed25519 sign; gpg --export >/key/public"
        )

    @property
    def public(self) -> bytes:
        return (self.folder / "public").read_bytes()

    def signed(self, text: str) -> bytes:
        """Return a text with a signature, as InRelease has it."""
        (self.folder / "text").write_text(text)
        self._gpg("--yes --clearsign --output /key/signed /key/text")
        return (self.folder / "signed").read_bytes()

    def _gpg(self, words: str) -> None:
        script = f'export GNUPGHOME=/key; gpg() {{ command gpg --batch --quiet "$@"; }}; gpg {words}; chmod a+r /key/*'
        volume = f"--volume={self.folder}:/key"
        argv = ["docker", "run", "--rm", "--network=none", volume, self._image, "sh", "-euc", script]
        subprocess.run(argv, check=True, capture_output=True)


def release(suite: str, index: bytes, **fields: str) -> str:
    """Return a Release file of one index; ``fields`` replace or join its own."""
    known = {"Origin": "Debian", "Label": "Debian", "Suite": "stable", "Codename": suite,
             "Date": "Sat, 07 Jun 2025 09:00:00 UTC", "Architectures": "amd64", "Components": "main"}  # fmt: skip
    sums = f"{hashlib.sha256(index).hexdigest()} {len(index)} {INDEX}"
    known |= {"SHA256": f"\n {sums}", **{key.replace("_", "-"): value for key, value in fields.items()}}
    return "".join(f"{key}: {value}\n".replace(": \n", ":\n") for key, value in known.items() if value)


def stanza(name: str, data: bytes, **fields: str) -> str:
    """Return what an index has of a package that is served as pool/NAME.deb."""
    known = {"Package": name, "Version": "1", "Architecture": "all", "Description": "hostile", "Size": str(len(data)),
             "Filename": f"pool/{name}.deb", "SHA256": hashlib.sha256(data).hexdigest(), **fields}  # fmt: skip
    return "".join(f"{key}: {value}\n" for key, value in known.items()) + "\n"


def trust(clone: Clone, public: bytes) -> None:
    """Let the builds of a clone trust another key than Debian's."""
    (clone.root / "docker/build/mirror.gpg").write_bytes(public)
    code = clone.root / "synos_tasks/iso/resolve.py"
    text, count = re.subn(
        r"(?m)^KEYRING = .*$", 'KEYRING = "/project/docker/build/mirror.gpg"', code.read_text()
    )
    assert count == 1
    code.write_text(text)
