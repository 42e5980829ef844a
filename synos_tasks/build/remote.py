"""The remote store: entries of the stage store that others made, over HTTP(S), from S3 or in a folder.

An entry is the folder objects/KEY: the files of a stage, and entry.json, a signed envelope (trust.py) that describes them. It is
written last. An entry that cannot be fetched, or that no trusted key has signed, is a warning: the build makes the stage.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from synos_tasks import builder
from synos_tasks.build import trust
from synos_tasks.build.containers import builder_spec
from synos_tasks.build.store_client import PATIENCE, client, reason, without_login
from synos_tasks.builder import state_folder
from synos_tasks.errors import RemoteStoreFailed, printable
from synos_tasks.iso import codec, protocol
from synos_tasks.iso.remote import ENTRY, Described
from synos_tasks.iso.scratch import scratch
from synos_tasks.iso.store import sha256
from synos_tasks.locks import try_exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from obstore import GetResult
    from obstore.store import ObjectStore

    from synos_tasks.build.planning import Context
    from synos_tasks.settings import Settings

    Send = Callable[[Mapping[str, Any]], object]

THREADS = 8
SLOWEST, SLOW_SECONDS = 2**14, 10
"""Bytes a second below which a download is given up, once it has lasted this long."""
BUFFER = 2**16
"""Bytes of a file in memory, in each thread; so much is lost where a command is killed."""
LARGEST_ENTRY = 64 * 2**20
RESUMED = 20
"""How often a download is tried in a command, each time from where it was cut off."""
PART_SECONDS = 7 * 86400
"""Age from which an unfinished download is removed."""
PREFIX = "fetched-"
_SHA256 = re.compile("[0-9a-f]{64}")


def remote_of(context: Context) -> RemoteStore | None:
    """Return the remote store that the settings name; None where they name none, or no key is trusted. Raises SettingsError."""
    settings = context.settings
    if not settings.build.store:
        return None
    try:
        if trusted := trust.trusted_keys(settings):
            return RemoteStore(settings, trusted, context.say)
        why = f"{trust.keys_path(settings)} has no key. `inv build.store trust --key KEY` adds one"
    except RemoteStoreFailed as error:
        why = f"{error.where}: {error.why}"
    context.say(f"warning: the remote store is not used: {why}")
    return None


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
        self.name = without_login(self.url)
        """Its address without a password."""
        self._trusted, self._say = trusted, say
        self._state = state_folder(settings, "downloads")
        self._entries, self._files = (
            client(self.url, whole, writing=writing) for whole in (PATIENCE, dt.timedelta(days=1))
        )
        self._folder = Path(url2pathname(urlsplit(self.url).path)) if self.url.startswith("file:") else None
        self._failed = ""
        self._lock = threading.Lock()
        self._ignored = 0

    def describe(self, keys: Iterable[str]) -> dict[str, Described]:
        """Return the trusted entries of some keys."""
        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(self._describe, keys))
        return {one.key: one for one in found if one}

    @contextmanager
    def fetching(self) -> Iterator[Fetching | None]:
        """Yield what brings entries, as a container asks for them; what is not done ends with the block.

        Yield None where this machine has no place for them.
        """
        with ExitStack() as stack:
            try:
                self._remove_old_parts()
                folder = stack.enter_context(scratch(self._state, PREFIX))
            except OSError as error:
                self.give_up(str(error))
                yield None
                return
            threads = stack.enter_context(ThreadPoolExecutor(THREADS))
            fetching = Fetching(self, folder, threads)
            try:
                yield fetching
            finally:
                fetching.over.set()
                threads.shutdown(cancel_futures=True)

    def _remove_old_parts(self) -> None:
        for part in self._state.glob("*.part"):
            with try_exclusive(part) as alone:
                if alone and time.time() - part.stat().st_mtime > PART_SECONDS:
                    part.unlink()

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
                why=reason(error),
                hint="a server of static files cannot be written to: push to its folder (file:///…) or its bucket (s3://…)",
            ) from error

    def check(self) -> None:
        """Raise RemoteStoreFailed where the store cannot be asked."""
        self.describe(["0" * 64])
        if self._failed:
            raise RemoteStoreFailed("the remote store cannot be used", where=self.name, why=self._failed)

    def _get(self, client: ObjectStore, path: str, have: int = 0) -> GetResult:
        import obstore  # noqa: PLC0415

        if self._folder and not (self._folder / path).is_file():  # to open a pipe would wait for ever
            raise FileNotFoundError(path)
        return obstore.get(client, path, options={"range": {"offset": have}} if have else {})

    def _describe(self, key: str) -> Described | None:
        import obstore  # noqa: PLC0415

        if self._failed:
            return None
        try:
            found = self._get(self._entries, f"objects/{key}/{ENTRY}")
            envelope = b"" if found.meta["size"] > LARGEST_ENTRY else bytes(found.bytes())
            if envelope.lstrip()[:1] != b"<":
                return _read(key, trust.verified(envelope, self._trusted))
            self.give_up("it answers with a page of HTML: is that its address?")
        except FileNotFoundError:
            return None
        except (obstore.exceptions.BaseError, OSError) as error:
            self.give_up(reason(error))
        except (ValueError, RecursionError) as error:
            self._ignore(key, str(error))
        return None

    def _download(self, path: str, size: int, digest: str, target: Path, over: threading.Event) -> str:
        """Bring a file, after what is left of an earlier download; return why it could not be had."""
        part = self._state / f"{digest}.part"
        with try_exclusive(part) as alone:
            part = part if alone else target  # another command downloads it too
            resumed = part.exists() and part.stat().st_size > 0
            try:
                if why := self._complete(path, size, part, over):
                    return why
            except OSError:  # the disk is full: leave room for the build
                part.unlink(missing_ok=True)
                raise
            if part.stat().st_size == size and sha256(part) == digest:
                part.replace(target)
                return ""
            part.unlink()
        if resumed:
            return self._download(path, size, digest, target, over)
        return f"{target.name} is not what was signed"

    def _complete(self, path: str, size: int, part: Path, over: threading.Event) -> str:
        import obstore  # noqa: PLC0415

        with part.open("ab", BUFFER) as out:
            began, received = time.monotonic(), 0
            for _ in range(RESUMED):
                if (have := out.tell()) >= size:
                    break
                try:
                    for chunk in self._get(self._files, path, have).stream(min_chunk_size=1):
                        received += out.write(chunk)
                        if over.is_set():
                            return "the command ended"
                        least = (time.monotonic() - began - SLOW_SECONDS) * SLOWEST
                        if received < least:
                            self.give_up("it is too slow")
                            return f"{path} cannot be had"
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
                        if not received:  # or the next command would get the same answer
                            out.truncate(0)
                        self.give_up(reason(error))
                        return f"{path} cannot be had"
            else:
                return f"{path} was cut off {RESUMED} times"
        return ""

    def give_up(self, why: str) -> None:
        """Ask the store for nothing any more."""
        with self._lock:
            first, self._failed = not self._failed, why
        if first:
            self._say(f"warning: the remote store is not used any further: {self.name}: {_short(why)}")

    def _ignore(self, key: str, why: str) -> None:
        with self._lock:
            self._ignored += 1
            count = self._ignored
        if count <= 3:
            more = "; further ones are not named" if count == 3 else ""
            self._say(f"warning: remote store: entry {key[:12]} is ignored: {_short(why)}{more}")


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


def push(context: Context, keys: Iterable[str], url: str = "") -> Pushed:
    """Write the entries of some stages that the local store has and the remote one, at ``url`` or that of the settings, lacks.

    Raises SettingsError without a signing key, RemoteStoreFailed, and what the container met.
    """
    settings, key = context.settings, trust.signing_key(context.settings)
    store = RemoteStore(settings, trust.trusted_keys(settings), lambda _: None, url, writing=True)
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
    return Pushed(
        entries=len(found),
        bytes=sum(entry.bytes for entry in found),
        there=len(wanted) - len(missing),
        key=trust.fingerprint(key.public_key()),
    )


def _read(key: str, payload: bytes) -> Described:
    """Read what a trusted key has signed; raises ValueError where it is not the entry of that key."""
    described = codec.from_data(Described, json.loads(payload))
    if described.key != key:
        raise ValueError(f"it is that of {described.key[:12]}")
    for name, (_, digest) in described.files.items():
        if not name or "/" in name or name in {".", "..", ENTRY}:
            raise ValueError(f"a file is called {name!r}")
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256")
    return described


def _short(why: str) -> str:
    """Return what a server or an entry says as a line for a terminal."""
    return printable(" ".join(why[:400].split()))
