"""The remote store: entries of the stage store that others made, over HTTP(S), from S3 or in a folder.

objects/KEY/entry.json describes an entry in a signed envelope (trust.py), and is written last; its files are beside it. What
fails, or is not signed by a trusted key, costs a warning and no build: the stage is made here.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks import builder
from synos_tasks.build import trust
from synos_tasks.build.containers import builder_spec
from synos_tasks.builder import state_folder
from synos_tasks.errors import RemoteStoreFailed, SettingsError
from synos_tasks.images.uplink import host_certificates, host_proxies
from synos_tasks.iso import codec, protocol
from synos_tasks.iso.remote import ENTRY, Described
from synos_tasks.iso.scratch import scratch
from synos_tasks.iso.store import sha256
from synos_tasks.locks import try_exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from obstore.store import ClientConfig, ObjectStore

    from synos_tasks.build.planning import Context
    from synos_tasks.settings import Settings

    Send = Callable[[Mapping[str, Any]], object]

SCHEMES = ("file", "http", "https", "s3")
THREADS = 8
PATIENCE = dt.timedelta(seconds=1.8)
"""What a server has for a connection, an entry, and each part of a file: so much does one cost that does not answer."""
CHUNK = 2**16
"""Bytes of a file in memory, in each thread; so much is lost where a download is cut off."""
LARGEST_ENTRY = 64 * 2**20
RESUMED = 20
"""How often a download goes on after it was cut off."""
PART_SECONDS = 7 * 86400
"""Age from which an unfinished download is removed."""
PREFIX = "fetched-"
_LOGIN = re.compile(r"//[^/@]*@")
_MEANINGS = {"TimedOut": "no answer in time", "InvalidCertificate": "its certificate is not trusted"}
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"|<Code>(\w+)</Code>')
"""What the system or a server of S3 says, in the details of an error of the client."""


def remote_of(context: Context) -> RemoteStore | None:
    """Return the remote store that the settings name; None where they name none, or no key is trusted. Raises SettingsError."""
    settings = context.settings
    if not settings.build.store:
        return None
    trusted = trust.trusted_keys(settings)
    if not trusted:
        hint = "`inv build.store trust --key KEY` adds one"
        context.say(f"warning: the remote store is not used: {trust.keys_path(settings)} has no key. {hint}")
        return None
    try:
        return RemoteStore(settings, trusted, context.say)
    except RemoteStoreFailed as error:
        context.say(f"warning: the remote store is not used: {error.where}: {error.why}")
        return None


def to_push(context: Context, url: str = "") -> RemoteStore:
    """Return the remote store at ``url``, or that of the settings, to write to; raises SettingsError."""
    address = url or context.settings.build.store
    return RemoteStore(
        context.settings, trust.trusted_keys(context.settings), lambda _: None, address, writing=True
    )


class RemoteStore:
    """The remote store of a project. Used from several threads."""

    def __init__(
        self,
        settings: Settings,
        trusted: Mapping[str, Ed25519PublicKey],
        say: Callable[[str], object],
        url: str = "",
        *,
        writing: bool = False,
    ) -> None:
        """Connect to nothing yet; ``url`` takes the place of the settings'. ``writing`` makes a folder that is not there.

        Raises SettingsError for a wrong address, RemoteStoreFailed.
        """
        self.url = url or settings.build.store
        self.name = _LOGIN.sub("//***@", self.url)
        """Its address without a password."""
        self._trusted, self._say = trusted, say
        self._state = state_folder(settings, "downloads")
        self._entries, self._files = (
            _client(self.url, seconds, mkdir=writing) for seconds in (PATIENCE, None)
        )
        self._failed = ""
        self._lock = threading.Lock()
        self._ignored = 0

    def describe(self, keys: Iterable[str]) -> dict[str, Described]:
        """Return the trusted entries of some keys."""
        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(self._describe, keys))
        return {one.key: one for one in found if one}

    @contextmanager
    def fetching(self) -> Iterator[Fetching]:
        """Yield what brings entries, as a container asks for them; what is not done ends with the block."""
        for part in self._state.glob("*.part"):
            with try_exclusive(part) as alone:
                if alone and time.time() - part.stat().st_mtime > PART_SECONDS:
                    part.unlink()
        with scratch(self._state, PREFIX) as folder, ThreadPoolExecutor(THREADS) as threads:
            fetching = Fetching(self, folder, threads)
            try:
                yield fetching
            finally:
                fetching.over.set()
                threads.shutdown(cancel_futures=True)

    def download(self, key: str, folder: Path, over: threading.Event) -> bool:
        """Bring an entry into ``folder``/KEY, whole and verified; return whether it is there."""
        described = self._describe(key)
        if described is None:
            return False
        (folder / key).mkdir()
        for name, (size, digest) in described.files.items():
            why = self._download(f"objects/{key}/{name}", size, digest, folder / key / name, over)
            if why:
                self._ignore(key, why)
                return False
        (folder / key / ENTRY).write_text(json.dumps(codec.to_data(described)))
        return not over.is_set()

    def push(self, described: Described, folder: Path, key: Ed25519PrivateKey) -> None:
        """Write an entry, whose files are in ``folder``; what says that it is there comes last. Raises RemoteStoreFailed."""
        import obstore  # noqa: PLC0415  (most commands have no remote store)

        place, text = f"objects/{described.key}", json.dumps(codec.to_data(described))
        try:
            for name in described.files:
                obstore.put(self._files, f"{place}/{name}", folder / name)
            obstore.put(self._files, f"{place}/{ENTRY}", trust.sign(text.encode(), key))
        except (obstore.exceptions.BaseError, OSError) as error:
            raise RemoteStoreFailed(
                "the remote store takes no entries",
                where=self.name,
                why=_reason(error),
                hint="a server of static files cannot be written to: push to its folder (file:///…) or its bucket (s3://…)",
            ) from error

    def check(self) -> None:
        """Raise RemoteStoreFailed where the store cannot be asked."""
        self.describe(["0" * 64])
        if self._failed:
            raise RemoteStoreFailed("the remote store cannot be used", where=self.name, why=self._failed)

    def _describe(self, key: str) -> Described | None:
        import obstore  # noqa: PLC0415

        if self._failed:
            return None
        try:
            found = obstore.get(self._entries, f"objects/{key}/{ENTRY}")
            envelope = b"" if found.meta["size"] > LARGEST_ENTRY else bytes(found.bytes())
            if envelope.lstrip()[:1] != b"<":
                return _read(key, trust.verified(envelope, self._trusted))
            self.give_up("it answers with a page of HTML: is that its address?")
        except FileNotFoundError:
            return None
        except (obstore.exceptions.BaseError, OSError) as error:
            self.give_up(_reason(error))
        except (ValueError, RecursionError) as error:
            self._ignore(key, str(error))
        return None

    def _download(self, path: str, size: int, digest: str, target: Path, over: threading.Event) -> str:
        """Bring a file, after what is left of an earlier download; return why it could not be had."""
        part = self._state / f"{digest}.part"
        with try_exclusive(part) as alone:
            part = part if alone else target  # another command downloads it too
            resumed = part.exists() and part.stat().st_size > 0
            if why := self._complete(path, size, part, over):
                return why
            if part.stat().st_size == size and sha256(part) == digest:
                part.replace(target)
                return ""
            part.unlink()
        return (
            self._download(path, size, digest, target, over)
            if resumed
            else f"{target.name} is not what was signed"
        )

    def _complete(self, path: str, size: int, part: Path, over: threading.Event) -> str:
        import obstore  # noqa: PLC0415

        with part.open("ab") as out:
            for _ in range(RESUMED):
                if (have := out.tell()) >= size:
                    break
                try:
                    found = obstore.get(
                        self._files, path, options={"range": {"offset": have}} if have else {}
                    )
                    for chunk in found.stream(min_chunk_size=CHUNK):
                        out.write(chunk)
                        if over.is_set():
                            return "the command ended"
                        if out.tell() > size:
                            break
                    break
                except obstore.exceptions.NotSupportedError:  # a server without ranges
                    out.seek(0)
                    out.truncate()
                except FileNotFoundError:
                    return f"{path} is missing"
                except obstore.exceptions.BaseError as error:
                    if out.tell() == have:
                        self.give_up(_reason(error))
                        return f"{path} cannot be had"
        return ""

    def give_up(self, why: str) -> None:
        """Ask the store for nothing any more."""
        with self._lock:
            first, self._failed = not self._failed, why
        if first:
            self._say(f"warning: the remote store is not used any further: {self.name}: {why}")

    def _ignore(self, key: str, why: str) -> None:
        with self._lock:
            self._ignored += 1
            count = self._ignored
        if count <= 3:
            more = "; further ones are not named" if count == 3 else ""
            self._say(f"warning: remote store: entry {key[:12]} is ignored: {why}{more}")


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What was pushed, how many entries were there before, and the fingerprint of the key that signed."""

    entries: int
    bytes: int
    there: int
    key: str


@dataclass(frozen=True)
class Fetching:
    """Downloads for one container, which has ``folder`` read-only."""

    store: RemoteStore
    folder: Path
    threads: ThreadPoolExecutor
    over: threading.Event = field(default_factory=threading.Event)

    def start(self, keys: Iterable[str], send: Send) -> None:
        """Bring entries; ``send`` gets an answer for each of them, whatever happens."""
        for key in keys:
            self.threads.submit(self._fetch, key, send)

    def _fetch(self, key: str, send: Send) -> None:
        found = False
        try:
            found = not self.over.is_set() and self.store.download(key, self.folder, self.over)
        except OSError as error:
            self.store.give_up(error.strerror or str(error))
        finally:
            send({"fetched": key, "found": found})


def push(context: Context, store: RemoteStore, keys: Iterable[str]) -> Pushed:
    """Write the entries of some stages that the local store has and the remote one lacks.

    Raises SettingsError without a signing key, RemoteStoreFailed, and what the container met.
    """
    settings = context.settings
    if not settings.build.store_signing_key:
        hint = f"name the private key's file in synos.build.store_signing_key; {trust.GENERATE}"
        raise SettingsError("there is no key to sign with", where="synos.build.store_signing_key", hint=hint)
    path = (settings.project.root / settings.build.store_signing_key).expanduser()
    key = trust.private_key(path)
    store.check()
    wanted = set(keys)
    missing = tuple(wanted - store.describe(wanted).keys())
    with scratch(state_folder(settings, "downloads"), PREFIX) as folder:
        for one in missing:
            (folder / one).mkdir()  # the container's user may not be this one
        spec = builder_spec(context, output=folder, network=False)
        request = protocol.Export(keys=missing, store_key=builder.store_key(settings))
        found = builder.ask(context, spec, request, protocol.Exported, logged=False).entries
        for entry in found:
            store.push(entry, folder / entry.key, key)
    size = sum(entry.bytes for entry in found)
    return Pushed(
        entries=len(found),
        bytes=size,
        there=len(wanted) - len(missing),
        key=trust.fingerprint(key.public_key()),
    )


def _client(url: str, timeout: dt.timedelta | None, *, mkdir: bool) -> ObjectStore:
    """Return the client of a store, which tries nothing twice; raises SettingsError, RemoteStoreFailed."""
    from obstore.exceptions import BaseError  # noqa: PLC0415
    from obstore.store import HTTPStore, LocalStore, S3Store  # noqa: PLC0415

    scheme = url.partition("://")[0]
    if scheme not in SCHEMES or len(url) <= len(f"{scheme}://"):
        hint = "https://HOST/PATH, s3://BUCKET/PATH or file:///PATH"
        raise SettingsError(f"{url!r} is no address of a store", where="synos.build.store", hint=hint)
    server = os.environ.get("AWS_ENDPOINT_URL", "https:") if scheme == "s3" else url
    proxies = host_proxies()
    proxy = proxies.http if server.startswith("http:") else proxies.https
    options: ClientConfig = {
        "allow_http": server.startswith("http:"),
        "connect_timeout": PATIENCE,
        "read_timeout": PATIENCE,
        "timeout": timeout or dt.timedelta(days=1),
    }
    if proxy:
        options |= {"proxy_url": proxy, "proxy_excludes": proxies.no}
    if server.startswith("https:") and (certificates := host_certificates()).is_file():
        options["root_certificate"] = certificates.read_bytes()
    retry: Any = {"max_retries": 0, "retry_timeout": PATIENCE}
    try:
        if scheme == "file":
            return LocalStore.from_url(url, mkdir=mkdir)
        if scheme == "s3":
            return S3Store.from_url(url, client_options=options, retry_config=retry)
        return HTTPStore.from_url(url, client_options=options, retry_config=retry)
    except (BaseError, ValueError, OSError) as error:
        raise RemoteStoreFailed(
            "the remote store cannot be used", where=_LOGIN.sub("//***@", url), why=_reason(error)
        ) from error


def _read(key: str, payload: bytes) -> Described:
    """Read what a trusted key has signed; raises ValueError where it is not the entry of that key."""
    described = codec.from_data(Described, json.loads(payload))
    if described.key != key:
        raise ValueError(f"it is that of {described.key[:12]}")
    for name in described.files:
        if not name or "/" in name or name in {".", "..", ENTRY}:
            raise ValueError(f"a file is called {name!r}")
    return described


def _reason(error: BaseException) -> str:
    """Return what matters of what the client says, which goes on for pages."""
    first, _, details = str(error).partition("\n")
    for word, meaning in _MEANINGS.items():
        if word in details:
            return meaning
    cause = _CAUSE.search(details)
    status = first.rpartition(" - ")[2].partition("<")[0].strip(" :")[:300]
    return status if cause is None else cause[1] or f"{status}: {cause[2]}"
