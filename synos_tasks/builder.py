"""The one client of the containers that build: their protocol is iso/protocol.py."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import IO, TYPE_CHECKING, Any, Protocol, Self, TypeVar

from synos_tasks import errors
from synos_tasks.engine.labels import is_own_container, labels
from synos_tasks.engine.run import Leased
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.iso import codec, protocol
from synos_tasks.iso.remote import FOLDER as REMOTE
from synos_tasks.iso.scratch import entries, write_whole
from synos_tasks.locks import exclusive, held
from synos_tasks.project import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from synos_tasks.engine.client import Container, Docker
    from synos_tasks.images import Context
    from synos_tasks.iso.eviction import Evicted, Limits, Stored
    from synos_tasks.iso.proxies import Proxies
    from synos_tasks.project import Project
    from synos_tasks.settings import Settings

Answer = TypeVar("Answer", bound=protocol.Event)


class Fetching(Protocol):
    """Brings entries of a remote store into ``folder``, and sends an answer for each of them."""

    @property
    def folder(self) -> Path:
        """A folder that the container has, read-only."""

    def start(self, keys: Iterable[str], send: Callable[[Mapping[str, Any]], object]) -> None:
        """Bring entries; do not wait for them."""


class RemoteStore(Protocol):
    """A remote store; see synos_tasks/build/remote.py."""

    def fetching(self) -> AbstractContextManager[Fetching | None]:
        """Yield what brings its entries to a container; None where nothing can."""


MakeStageSpec = Callable[[ContainerSpec, str, protocol.RunApart], ContainerSpec]
"""Makes the spec of a container for foreign code, of the builder's spec, its work volume, and the request."""

CACHE = "/cache"
CODE = Bind(source=PACKAGE, target="/project/synos_tasks")
SECRET_LENGTH = 12
HISTORY = "history.json"
STORE_SECONDS = 600.0
"""Within which the store answers."""
LOGGED = (
    protocol.Start | protocol.Done | protocol.Warn | protocol.Failure | protocol.Delivered | protocol.Evicted
)


def owner() -> tuple[int, int]:
    """User and group id that results belong to: who called, under sudo too."""
    return (int(os.environ.get("SUDO_UID", os.getuid())), int(os.environ.get("SUDO_GID", os.getgid())))


def remember_seconds(settings: Settings, profile: str, stages: Mapping[str, float]) -> None:
    """Store how long stages of a profile took; those of '' are components, for all profiles."""
    known = build_seconds(settings)
    known[profile] = {**known.get(profile, {}), **stages}
    write_whole(settings.project.state_dir / HISTORY, json.dumps(known, indent=1))


def expected_seconds(settings: Settings, profile: str = "") -> dict[str, float]:
    """Return how long stages took last time: those of a profile, and components wherever they were compiled last."""
    known = build_seconds(settings)
    return {**known.get(profile, {}), **known.get("", {})}


def build_seconds(settings: Settings) -> dict[str, dict[str, float]]:
    """Return the seconds that each stage of each profile took last time; nothing where they cannot be read."""
    try:
        known = json.loads((settings.project.state_dir / HISTORY).read_text())
        return {
            str(profile): {str(stage): float(seconds) for stage, seconds in stages.items()}
            for profile, stages in known.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def store_key(settings: Settings) -> str:
    """Return the key that seals the entries of the project's store, made where there is none; raises OutputNotWritable.

    It is in no container that runs foreign code.
    """
    path = state_folder(settings) / "store.key"
    with errors.writing("the key of the store cannot be written", path), exclusive(path):
        if not path.stat().st_size:
            write_whole(path, os.urandom(32).hex(), 0o600)
        return path.read_text()


def secrets_of(context: Context) -> dict[str, str]:
    """Return the secrets of the services and the proxies, by name; say which cannot be read.

    Short ones are left out: other words may contain them.
    """
    found = {}
    stacks = entries(context.settings.project.state_dir / "services")
    for stack in (path for path in stacks if path.is_dir()):
        try:
            for path in entries(stack / "secrets"):
                with suppress(UnicodeDecodeError):
                    if len(value := path.read_text().strip()) >= SECRET_LENGTH:
                        found[path.name] = value
        except OSError as error:
            what = f"{error.filename} cannot be read ({error.strerror})"
            context.say(f"warning: {what}: it is not checked whether its secrets are in what is built")
    return {**found, **context.proxies.secrets}


def ask(
    context: Context,
    spec: ContainerSpec,
    request: protocol.Request,
    answer: type[Answer],
    on_event: Callable[[protocol.Event], object] = lambda _: None,
    *,
    seconds: float | None = None,
    logged: bool = True,
    stage_spec: MakeStageSpec | None = None,
    remote: RemoteStore | None = None,
) -> Answer:
    """Run one container to its end, say its warnings, pass on its events, and return its answer.

    ``stage_spec`` makes the containers for the foreign code that it asks to run, ``remote`` brings the entries of its store
    that it asks for.

    Raises the error that the container met, or ContainerLost unless it gave one answer within ``seconds`` and then
    ended with exit code 0: whatever runs in it may print an answer too. Where ``logged``, all that it reports goes
    into a file below .synos/logs, which the hint of an error names.
    """
    for volume in spec.volumes:
        context.docker.create_volume(volume, labels(context.settings.project.id, "cache"))
    if spec.network != "none":
        request = dataclasses.replace(request, proxies=context.proxies)
    path = _log_path(context.settings, request.sent_as, spec.name) if logged else None
    answered: Answer | None = None
    with (
        path.open("w", encoding="utf-8") if path else nullcontext() as log,
        remote.fetching() if remote else nullcontext() as fetching,
        context.lease(spec.name),
        Leased(context.docker, _with_folder(spec, fetching), codec.encode(request), seconds) as container,
        _Stages(context, container, spec, stage_spec) as stages,
    ):
        for line in container.lines():
            event = _masked(request.accepted(protocol.decode_event(line)), request.proxies)
            if log:
                _write_log(log, event)
            if isinstance(event, protocol.Failure):
                raise _error_of(event, path)
            if isinstance(event, protocol.RunApart):
                stages.start(event)
            if isinstance(event, protocol.Fetch) and fetching:
                fetching.start(event.keys, container.send)
            if isinstance(event, protocol.Warn):
                context.say(f"warning: {event.text}")
            if isinstance(event, answer):
                if answered is not None:
                    raise container.lost("the container answered twice", "something in it printed an answer")
                answered = event
            on_event(event)
        if answered is None or not container.succeeded():
            raise container.lost(
                "the container went away before it was done",
                hint="nothing was published; run the command again. `inv doctor` checks the engine",
            )
    return answered


def _with_folder(spec: ContainerSpec, fetching: Fetching | None) -> ContainerSpec:
    if fetching is None:
        return spec
    return dataclasses.replace(spec, binds=(*spec.binds, Bind(source=fetching.folder, target=str(REMOTE))))


def _masked(event: protocol.Event, proxies: Proxies) -> protocol.Event:
    """Return an event whose words for a person tell no password: foreign code may print it."""
    if not proxies.secrets or not isinstance(event, protocol.Log | protocol.Warn | protocol.Failure):
        return event
    words: dict[str, Any] = {name: proxies.masked(value) for name, value in vars(event).items()}
    return dataclasses.replace(event, **words)


def leftovers(docker: Docker, project: Project) -> list[Container]:
    """Return the containers that build, whether they run or not, whose command is gone: it removes its own."""
    found = docker.containers(labels(project.id, "build"))
    leased = held(project.leases)  # after the listing: a lease is older than its container
    return [one for one in found if one.name not in leased and is_own_container(one, project.id)]


class _Stages:
    """The containers of foreign code that a builder asks for, each followed by a thread; on leaving all are gone."""

    def __init__(
        self, context: Context, builder: Leased, spec: ContainerSpec, make: MakeStageSpec | None
    ) -> None:
        self._context, self._builder, self._spec, self._make = context, builder, spec, make
        self._threads = ThreadPoolExecutor()
        self._running: list[Leased] = []
        self._over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def start(self, wanted: protocol.RunApart) -> None:
        self._threads.submit(self._run, wanted)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for container in self._running:
            container.release()
        self._threads.shutdown(cancel_futures=True)

    def _run(self, wanted: protocol.RunApart) -> None:
        code, why = 1, "this builder has no such containers"
        try:
            if self._make and not self._over.is_set():
                spec = self._make(self._spec, self._volume(wanted.work), wanted)
                with self._context.lease(spec.name), Leased(self._context.docker, spec, {}) as container:
                    self._running.append(container)
                    if self._over.is_set():
                        container.release()
                    code, why = container.code()
        except Exception as error:  # noqa: BLE001  (without a reply the build would wait for ever)
            why = str(error)
        self._builder.send({"id": wanted.id, "code": code, "why": why})

    def _volume(self, work: str) -> str:
        """Return the volume that the builder works in."""
        found = self._context.docker.container(self._spec.name)
        mounts = found.mounts or [] if found else []
        return next((mount.name or "" for mount in mounts if str(mount.destination) == work), "")


def container_name(project: str, what: str) -> str:
    """Return a new name for a container of a project; its id may have any words in it."""
    return f"{project}-{what}-{uuid.uuid4().hex[:8]}"


def list_store(context: Context, image: str) -> tuple[Stored, ...]:
    """Return what the project's store holds; raises what ask() raises."""
    return _ask_store(context, image, protocol.ListStore(), protocol.StoreContents).entries


def evict_store(context: Context, image: str, limits: Limits) -> Evicted:
    """Remove from the project's store what is beyond limits; raises what ask() raises."""
    return _ask_store(context, image, protocol.Evict(limits=limits), protocol.Evicted)


def _ask_store(context: Context, image: str, request: protocol.Request, answer: type[Answer]) -> Answer:
    project = context.settings.project
    spec = ContainerSpec(
        name=container_name(project.id, "store"),
        image=image,
        command=("python3", "-m", "synos_tasks.iso"),
        labels=labels(project.id, "build"),
        capabilities=("DAC_OVERRIDE", "FOWNER"),
        binds=(CODE,),
        volumes={project.store_volume: CACHE},
        tmpfs={"/work": "rw,size=64m"},
        network="none",
        init=False,  # iso/lease.py
    )
    return ask(context, spec, request, answer, seconds=STORE_SECONDS, logged=False)


def state_folder(settings: Settings, name: str = "") -> Path:
    """Return .synos or a folder in it, made where it is missing; raises OutputNotWritable."""
    folder = settings.project.state_dir.resolve() / name
    hint = "a command run as root may have made .synos: give it back to yourself"
    with errors.writing("the folder for state and logs cannot be made", folder, hint):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _log_path(settings: Settings, what: str, container: str) -> Path:
    folder = state_folder(settings, "logs")
    return folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{what}-{container.rpartition('-')[2]}.log"


def _write_log(log: IO[str], event: protocol.Event) -> None:
    if isinstance(event, protocol.Log):
        log.write(f"[{event.stage}] {event.line}\n")
    elif isinstance(event, LOGGED):
        log.write(json.dumps(codec.encode(event)) + "\n")


def _error_of(event: protocol.Failure, log: Path | None) -> errors.SynosError:
    """Return the error that the container met; where the log is goes into its hint."""
    hint = "\n".join(part for part in (event.hint, f"full log: {log}" if log else "") if part)
    return errors.by_name(event.kind)(event.error, where=event.where, why=event.why, hint=hint)
