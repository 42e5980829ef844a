"""A cold machine with a remote store, against the same without one; and what a store may not pass off as its own."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scripts.benchmarks.workbench import INV, median, report, seconds
from synos_tasks.build import trust
from synos_tasks.build.remote import RemoteStore
from tests.build_helpers import Clone, copy_project, docker
from tests.conftest import remove_labelled
from tests.signing import new_key

if TYPE_CHECKING:
    from collections.abc import Iterator

FORGED = 1000
BUILD = [str(INV), "build.iso", "--profile", "minimal"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def bench_remote_store(rounds: int, seed: int) -> None:
    """Build `minimal` from nothing, with a warm store over HTTP, and with a server that never answers; then forge entries."""
    with tempfile.TemporaryDirectory(prefix="synos-remote-") as name:
        folder = Path(name)
        clone = copy_project(folder / "clone")
        try:
            _measure(clone, folder / "store", folder / "key", rounds)
            accepted = _accepted(clone, folder / "store", random.Random(seed))
            report("forged, truncated or foreign entries that were accepted", 0, accepted, entries=FORGED)
        finally:
            remove_labelled(clone.settings.project.id)


def _measure(clone: Clone, store: Path, key: Path, rounds: int) -> None:
    clone.inv("build.lock", "--profile", "minimal")
    new_key(key)
    clone.inv("build.store", "trust", "--key", f"{key}.pub")
    sums = {}
    cold, warm, silent, copied = [], [], [], []
    for number in range(rounds):
        cold.append(_build(clone, ""))
        sums[_sha256(clone)] = "cold"
        if not number:
            os.environ["INVOKE_SYNOS_BUILD_STORE_SIGNING_KEY"] = str(key)
            clone.inv("build.store", "push", "--profile", "minimal", "--to", store.as_uri())
        with _served(store) as url:
            warm.append(_build(clone, url))
            sums[_sha256(clone)] = "warm"
            copied.append(_copied(url, store))
        silent.append(_silence(clone))
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    times = {"cold": cold, "warm": warm, "copied": copied, "silent": silent, "bytes": size}
    report("warm remote store / cold", 0.35, median(warm) / median(cold), **times)
    report("warm remote store / copying its bytes", 1.3, median(warm) / median(copied))
    report("a store that never answers, seconds", 2.0, max(silent))
    report("different ISOs", 0, len(sums) - 1)


def _silence(clone: Clone) -> float:
    """Time until it is known that a server that takes connections, and never answers, has none of 40 entries."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        began = time.perf_counter()
        RemoteStore(clone.settings, {}, lambda _: None, url).describe(
            f"{number:064x}" for number in range(40)
        )
        return time.perf_counter() - began


def _build(clone: Clone, store: str) -> float:
    """Time a build on a machine that has the builder image, and nothing else."""
    docker("volume", "rm", "--force", clone.settings.project.store_volume)
    shutil.rmtree(clone.output, ignore_errors=True)
    os.environ["INVOKE_SYNOS_BUILD_STORE"] = store
    return seconds(BUILD, clone.root)


def _copied(url: str, store: Path) -> float:
    """Time to get all files over the same way, one after the other, and write them through to the disk in the volume's place."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=store.parent) as target:
        for path in (one for one in store.rglob("*") if one.is_file()):
            with (
                urllib.request.urlopen(f"{url}/{path.relative_to(store)}") as given,
                Path(target, path.parent.name + path.name).open("wb") as made,
            ):
                shutil.copyfileobj(given, made, 2**20)
                made.flush()
                os.fsync(made.fileno())
        return time.perf_counter() - began


def _sha256(clone: Clone) -> str:
    return (clone.output / "synos-minimal.iso").resolve().with_suffix(".iso.sha256").read_text().split()[0]


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def _accepted(clone: Clone, store: Path, chance: random.Random) -> int:
    """Count what is accepted of entries that somebody without a trusted key has made of real ones."""
    real = [path for path in (store / "objects").iterdir() if (path / "entry.json").stat().st_size < 10**6]
    small = [path for path in real if sum(one.stat().st_size for one in path.iterdir()) < 10**6]
    stranger = Ed25519PrivateKey.generate()
    keys = []
    for number in range(FORGED):
        source = chance.choice(small)
        # a bit of an entry or a file, or less of one, under its own key; whole ones under another; and what strangers sign
        kind = ("flip", "cut", "moved", "foreign")[number % 4]
        key = f"{number:064x}" if kind == "moved" else source.name
        target = store.parent / "forged" / str(number) / "objects" / key
        shutil.copytree(source, target)
        _forge(target, kind, chance, stranger)
        keys.append((target.parents[1], key))
    said: list[str] = []
    settings, found = clone.settings, 0
    trusted = trust.trusted_keys(settings)
    for root, key in keys:
        remote = RemoteStore(settings, trusted, said.append, root.as_uri())
        with tempfile.TemporaryDirectory() as folder:
            found += remote.download(key, Path(folder), threading.Event())
    print(f"{len(said)} warnings, as {said[0]}", file=sys.stderr)
    return found


def _forge(entry: Path, kind: str, chance: random.Random, stranger: Ed25519PrivateKey) -> None:
    if kind == "moved":
        return
    described = entry / "entry.json"
    if kind == "foreign":
        payload = base64.b64decode(json.loads(described.read_text())["payload"])
        described.write_bytes(trust.sign(payload, stranger))
        return
    path = chance.choice(sorted(entry.iterdir()))
    raw = bytearray(path.read_bytes())
    if kind == "flip":
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    else:
        del raw[chance.randrange(len(raw)) :]
    path.write_bytes(raw)
