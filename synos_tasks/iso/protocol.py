"""What the host asks of a container, and what that reports: each message is one line of JSON.

One request goes in. Events come out until the container ends; one of them is the answer to the request.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from synos_tasks.errors import printable
from synos_tasks.iso import codec
from synos_tasks.iso.boot.qemu import Boot as Boot
from synos_tasks.iso.boot.qemu import Booted as Booted
from synos_tasks.iso.boot.qemu import Console as Console
from synos_tasks.iso.boot.qemu import Log as Log
from synos_tasks.iso.boot.qemu import Ran as Ran
from synos_tasks.iso.boot.qemu import Run as Run
from synos_tasks.iso.boot.qemu import Running as Running
from synos_tasks.iso.codec import Event as Event
from synos_tasks.iso.codec import Request as Request
from synos_tasks.iso.components.recipe import Compilation
from synos_tasks.iso.eviction import Evicted as Evicted
from synos_tasks.iso.eviction import Limits, Stored
from synos_tasks.iso.lock import Lock
from synos_tasks.iso.plan import Plan
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.remote import Described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PACKAGES = Path("/packages")
"""Where compiled packages are, on their way into the store."""


# ---- requests


class Build(Request, name="build"):
    """Build an ISO into /output; then remove from the store what is beyond ``limits``. Answer: Delivered."""

    plan: Plan
    offline: bool = False
    limits: Limits | None = None
    umask: int = 0o022
    clock: int = 0
    """Seconds that tools see the clock ahead."""
    elsewhere: bool = False
    """Work in another folder than usual."""
    apart: bool = False
    """Ask for a container of its own for each foreign program, see RunApart; else it runs in this one."""
    store_key: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    awaits: bool = False
    """Components are being compiled: wait for those that the store lacks. The host ends the wait where that fails."""


class Layers(Build, name="layers"):
    """Make the layers and the initramfs of a plan, and no ISO; see Plan.until(). Answer: LayersStored."""


class Unpack(Build, name="unpack"):
    """Make what the ISO of a plan holds, unpacked, and keep it until the lease ends. Has no answer, see READY."""


class Resolve(Request, name="resolve"):
    """Choose the packages of a profile; versions of ``previous`` stay where they can. Answer: Resolved."""

    profile: Profile
    previous: Lock | None


class Inspect(Request, name="inspect"):
    """Say which keys the store has. Answer: Entries."""

    keys: tuple[str, ...]


class Export(Request, name="export"):
    """Copy entries of the store into the folders /output/KEY, which are there. Answer: Exported."""

    keys: tuple[str, ...]
    store_key: str = ""


class ListStore(Request, name="list"):
    """List all that the store holds. Answer: StoreContents."""


class Evict(Request, name="evict"):
    """Remove from the store what is beyond the limits. Answer: Evicted."""

    limits: Limits


class Compare(Request, name="compare"):
    """Compare two ISOs file by file. Answer: Compared."""

    one: Path
    two: Path


class Compile(Request, name="compile"):
    """Compile one component into /packages: this runs foreign code. Answer: Compiled."""

    component: Compilation
    offline: bool
    jobs: int

    def accepted(self, event: Event) -> Event:
        """Return an event as foreign code may report it: of its own stage alone, and any error as the end of its work."""
        stage = self.component.component.stage
        if isinstance(event, Failure):
            return replace(event, kind="ComponentFailed")
        if isinstance(event, Warn):
            return Warn(text=f"{stage}: {event.text}")
        if isinstance(event, Log | Start | Progress):
            return replace(event, stage=stage)
        if isinstance(event, Tick | Compiled):
            return event
        return Log(stage=stage, line=f"{event}"[:LOG_CHARACTERS])


class Keep(Request, name="keep"):
    """Say which components the store has, until one is missing, and put their .debs into /output where asked.

    Answer: Kept.
    """

    components: tuple[Compilation, ...]
    compiled: Mapping[str, Mapping[str, int]] | None
    """How the caches answered for the first of them, whose .debs are in /packages; None where nothing was compiled."""
    deliver: bool
    store_key: str = ""


# ---- events


class Tick(Event, name="tick"):
    """Nothing happened for half a second; the client makes these, so that clocks can move."""


class Warn(Event, name="warning"):
    """Something that a person should know, and that stops nothing."""

    text: str


class Start(Event, name="start"):
    """A stage begins to work: the store does not have its result."""

    stage: str


class Progress(Event, name="progress"):
    """How far a stage is, from 0 to 1."""

    stage: str
    fraction: float


@dataclass(frozen=True, kw_only=True)
class Deb:
    """A package that a component gives."""

    name: str
    version: str
    architecture: str
    file: str
    sha256: str
    bytes: int
    installed_bytes: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a compiled component: its packages; hits and misses of each of the compilers' caches."""

    packages: tuple[Deb, ...] = ()
    caches: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Done(Event, name="done"):
    """A stage's result is there. ``hit``: the store had it. Times in seconds, sizes in bytes."""

    name: str
    key: str
    hit: bool
    seconds: float
    bytes: int
    fetched: bool = False
    """A hit that came from the remote store."""
    began: float = 0.0
    """Since the beginning of the build."""
    facts: Facts = field(default_factory=Facts)


class RunApart(Event, name="run-apart"):
    """A program that is foreign code is to run in a container of its own. Answered by a line ``{"id", "code", "why"}``."""

    id: str
    """Folder in the work folder: ``out`` is a FIFO for what the program prints, ``in`` its standard input."""
    command: tuple[str, ...]
    mounts: tuple[tuple[str, str, bool], ...]
    """Folder in the work folder, where it is in the container, and whether it is writable."""
    work: str
    """The work folder."""
    network: bool = False


class Fetch(Event, name="fetch"):
    """Entries of the remote store are wanted. Answered by a line ``{"fetched", "found"}`` for each: it is in /remote, or nowhere."""

    keys: tuple[str, ...]


class Failure(Event, name="error"):
    """The error that ended the work; ``kind`` is its class in errors.py."""

    kind: str
    error: str
    where: str = ""
    why: str = ""
    hint: str = ""


class Delivered(Event, name="delivered"):
    """The ISO, its manifest and its log are in /output, complete but for the ISO's SHA-256."""

    build_id: str


class LayersStored(Event, name="layers-stored"):
    """The store has the layers of a plan."""


class Resolved(Event, name="resolved"):
    """A profile's lock."""

    lock: Lock


@dataclass(frozen=True, kw_only=True)
class Present:
    """What the store has under a key; ``initramfs``: the layer changes what belongs into it."""

    bytes: int
    initramfs: bool = False


class Entries(Event, name="entries"):
    """Of the keys that were asked for, those that the store has."""

    entries: Mapping[str, Present]


class Exported(Event, name="exported"):
    """The entries that the store has, of those that were asked for."""

    entries: tuple[Described, ...]


class StoreContents(Event, name="store"):
    """All that the store holds."""

    entries: tuple[Stored, ...]


class Compared(Event, name="compared"):
    """How two ISOs differ; see compare.py."""

    result: Mapping[str, Any]


class Compiled(Event, name="compiled"):
    """A component's .debs are in /packages. ``caches``: hits and misses of each of the compilers' caches."""

    caches: Mapping[str, Mapping[str, int]]


class Kept(Event, name="kept"):
    """A Done event was sent for each component up to the first that the store lacks."""


UNPACK, SHELL, READY = "unpack", "shell", "ready"
"""What an Unpack does after the stages of its plan; READY is a line of the second: a stage container has the system, and waits."""
LOG_CHARACTERS = 4000
"""What is kept of a line of the log."""


def decode_event(line: bytes) -> Event:
    """Read one line of a container; Tick for an empty one. What is no event becomes a line of the log.

    The one place that judges what containers say: whatever runs in one may print anything, in any order.
    """
    if not line:
        return Tick()
    text = line.decode(errors="replace")
    try:
        fields = _checked(json.loads(text))
        event = codec.from_data(Event.known[fields.pop("event")], fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        event = Log(stage="container", line=_checked(text))
    return replace(event, line=event.line[:LOG_CHARACTERS]) if isinstance(event, Log) else event


def _checked(value: Any, name: str = "") -> Any:  # noqa: ANN401
    """Return JSON with printable texts, without newlines but in why and hint; raises ValueError for a number out of range."""
    if isinstance(value, str):
        text = printable(value)
        return text if name in {"why", "hint"} else text.replace("\n", " ")
    if isinstance(value, int | float) and not 0 <= value < 2**63:  # false for NaN too
        raise ValueError(f"{name} is {value}")
    if isinstance(value, list):
        return [_checked(one, name) for one in value]
    if isinstance(value, dict):
        return {_checked(key): _checked(one, key) for key, one in value.items()}
    return value


class Events:
    """Passes events on to ``send``, and keeps the lines of tools in a log file. Safe to use from several threads."""

    def __init__(
        self, log: Path, send: Callable[[Event], object], masked: Callable[[str], str] = lambda line: line
    ) -> None:
        self.log_path, self.send, self._masked = log, send, masked
        self._lock = threading.Lock()
        self._log: IO[str] = log.open("w", encoding="utf-8")

    def log(self, stage: str, line: str) -> None:
        """Send one line of a tool's output, and keep it: it can steer no terminal, and tells no password of a proxy."""
        line = self._masked(printable(line))
        with self._lock:
            self._log.write(f"[{stage}] {line}\n")
        self.send(Log(stage=stage, line=line))

    def progress(self, stage: str, fraction: float) -> None:
        """Send how far a stage is, from 0 to 1."""
        self.send(Progress(stage=stage, fraction=fraction))

    def warn(self, text: str) -> None:
        """Send a warning."""
        self.send(Warn(text=text))

    def finish_log(self) -> None:
        """Flush the log to disk."""
        self._log.flush()
        os.fsync(self._log.fileno())
