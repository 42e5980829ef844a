"""The containers that build: what they may do, and the one client of their protocol (iso/protocol.py)."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import uuid
from contextlib import contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, TypeVar

from synos_tasks import errors
from synos_tasks.engine.labels import (
    BUILDER_CAPABILITIES,
    TOOLCHAIN_CAPABILITIES,
    labels,
    temporary_volume_name,
)
from synos_tasks.engine.run import Leased
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.iso import protocol
from synos_tasks.project import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from synos_tasks.engine.client import Docker, SystemInfo
    from synos_tasks.iso.eviction import Evicted, Limits, Stored
    from synos_tasks.settings import Settings

Answer = TypeVar("Answer", bound=protocol.Event)

CACHE = "/cache"
# of a root file system: the .debs, what they unpack to, and their copies while they are installed
TMPFS_PER_DEB_BYTE = 8
COMPILER_CACHES = ("ccache", "sccache")
PRIVILEGED = (
    "a privileged container is NOT isolated: it can reach the host's disks, load kernel modules, and mount the host's "
    "devtmpfs. Its /dev is its own; do not mount another"
)
"""What is said before one starts."""
OWN_DEV = "synos-own-dev"
"""Entry in the image that gives a privileged container a /dev of its own."""
STORE_SECONDS = 600.0
"""Within which the store answers."""
LOGGED = (
    protocol.Start | protocol.Done | protocol.Warn | protocol.Failure | protocol.Delivered | protocol.Evicted
)


def compiler_cache_volumes(settings: Settings) -> dict[str, str]:
    """Return the volumes of ccache and sccache, with where they are in the toolchain's container."""
    return {f"{settings.project.id}-{name}": f"/var/cache/{name}" for name in COMPILER_CACHES}


def read_only_binds(settings: Settings) -> tuple[Bind, ...]:
    """Return all that a build reads: the code, and docker/build. Never .synos, where the services' passwords are."""
    return (
        Bind(source=PACKAGE, target="/project/synos_tasks"),
        Bind(source=settings.project.data / "build", target="/project/docker/build"),
    )


@contextmanager
def once_volume(settings: Settings, docker: Docker) -> Iterator[str]:
    """Yield the name of a volume for one command, removed afterwards."""
    name = temporary_volume_name(settings.project.id)
    try:
        yield name
    finally:
        docker.remove_volume(name)


def owner() -> tuple[int, int]:
    """User and group id that results belong to: who called, under sudo too."""
    return (int(os.environ.get("SUDO_UID", os.getuid())), int(os.environ.get("SUDO_GID", os.getgid())))


def builder_spec(
    settings: Settings,
    info: SystemInfo | None,
    image: str,
    *,
    output: Path | None = None,
    packages_bytes: int = 0,
    store: str | None = "",
    network: bool = True,
    privileged: bool = False,
    more: tuple[Bind, ...] = (),
) -> ContainerSpec:
    """Return the default builder: unprivileged, limited, profiles and code read-only, ``output`` and the store writable.

    ``packages_bytes``, the size of all .debs, decides whether the work fits into memory. ``store`` is a volume,
    the project's for ''; with None it is the container's own and ends with it. ``privileged`` gives every
    capability and a /dev of its own.
    """
    build = settings.build
    cpus = min(build.cpus, info.n_cpu or build.cpus) if info else build.cpus
    memory = min(build.memory_mb, (info.mem_total or 0) // 2**20) if info else build.memory_mb
    size_mb = build.work_mb or memory * 3 // 4
    on_tmpfs = build.work == "tmpfs" or (
        build.work == "auto" and packages_bytes * TMPFS_PER_DEB_BYTE < size_mb * 2**20
    )
    writable = (Bind(source=output, target="/output", writable=True),) if output else ()
    return ContainerSpec(
        name=f"{settings.project.id}-build-{uuid.uuid4().hex[:8]}",
        image=image,
        command=("python3", "-m", "synos_tasks.iso"),
        labels=labels(settings.project.id, "build"),
        capabilities=BUILDER_CAPABILITIES,
        binds=(*read_only_binds(settings), *writable, *more),
        volumes={} if store is None else {store or settings.project.store_volume: CACHE},
        # dev, suid, exec: a root file system has device nodes, sudo and programs
        tmpfs={"/work": f"rw,dev,suid,exec,size={size_mb}m"} if on_tmpfs else {},
        anonymous_volumes=() if on_tmpfs else ("/work",),
        cpus=cpus,
        memory_mb=memory,
        pids=build.pids,
        network=None if network else "none",
        privileged=privileged,
        entrypoint=OWN_DEV if privileged else "",
    )


def toolchain_spec(
    settings: Settings,
    info: SystemInfo | None,
    image: str,
    *,
    output: Path | None,
    store: str | None,
    network: bool,
) -> ContainerSpec:
    """Return the container in which components are compiled: the engine as root, compilers as the builder user.

    Unprivileged and limited as the builder, but that sudo works in it, for build dependencies. With the project's
    own store come the caches of the compilers; with another, as for --no-cache, they do not.
    """
    base = builder_spec(settings, info, image, output=output, store=store, network=network)
    on_tmpfs = settings.build.work == "tmpfs"  # compilers need the memory themselves
    caches = {} if store or store is None else compiler_cache_volumes(settings)
    return dataclasses.replace(
        base,
        name=base.name.replace("-build-", "-compile-"),
        user="0:0",
        capabilities=TOOLCHAIN_CAPABILITIES,
        new_privileges=True,
        volumes={**base.volumes, **caches},
        tmpfs=base.tmpfs if on_tmpfs else {},
        anonymous_volumes=base.anonymous_volumes if on_tmpfs else ("/work",),
    )


def ask(
    settings: Settings,
    docker: Docker,
    spec: ContainerSpec,
    request: protocol.Request,
    answer: type[Answer],
    say: Callable[[str], object] = lambda _: None,
    on_event: Callable[[protocol.Event], object] = lambda _: None,
    *,
    seconds: float | None = None,
    logged: bool = True,
) -> Answer:
    """Run one container to its end, ``say`` its warnings, pass on its events, and return its answer.

    Raises the error that the container met, or ContainerLost where it ended without an answer, or did not answer
    within ``seconds``. Where ``logged``, all that it reports goes into a file below .synos/logs, which the hint of an
    error names.
    """
    for volume in spec.volumes:
        docker.create_volume(volume, labels(settings.project.id, "cache"))
    path = _log_path(settings, request.sent_as, spec.name) if logged else None
    answered: Answer | None = None
    with (
        path.open("w", encoding="utf-8") if path else nullcontext() as log,
        Leased(docker, spec, protocol.encode(request), seconds) as container,
    ):
        for fields in container.events():
            event = protocol.decode_event(fields)
            if log:
                _write_log(log, event)
            if isinstance(event, protocol.Failure):
                raise _error_of(event, path)
            if isinstance(event, protocol.Warn):
                say(f"warning: {event.text}")
            if isinstance(event, answer):
                answered = event
            on_event(event)
        if answered is None:
            raise container.lost(
                "the container went away before it was done",
                hint="nothing was published; run the command again. `inv doctor` checks the engine",
            )
    return answered


def list_store(settings: Settings, docker: Docker, image: str) -> tuple[Stored, ...]:
    """Return what the project's store holds; raises what ask() raises."""
    return _ask_store(settings, docker, image, protocol.ListStore(), protocol.StoreContents).entries


def evict_store(settings: Settings, docker: Docker, image: str, limits: Limits) -> Evicted:
    """Remove from the project's store what is beyond limits; raises what ask() raises."""
    return _ask_store(settings, docker, image, protocol.Evict(limits=limits), protocol.Evicted)


def _ask_store(
    settings: Settings, docker: Docker, image: str, request: protocol.Request, answer: type[Answer]
) -> Answer:
    spec = ContainerSpec(
        name=f"{settings.project.id}-store-{uuid.uuid4().hex[:8]}",
        image=image,
        command=("python3", "-m", "synos_tasks.iso"),
        labels=labels(settings.project.id, "build"),
        capabilities=("DAC_OVERRIDE", "FOWNER"),
        binds=read_only_binds(settings)[:1],
        volumes={settings.project.store_volume: CACHE},
        tmpfs={"/work": "rw,size=64m"},
        network="none",
    )
    return ask(settings, docker, spec, request, answer, seconds=STORE_SECONDS, logged=False)


def _log_path(settings: Settings, what: str, container: str) -> Path:
    folder = settings.project.state_dir / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.OutputNotWritable(
            "the folder for logs cannot be made",
            where=str(folder),
            why=error.strerror or str(error),
            hint="a command run as root may have made .synos: give it back to yourself",
        ) from error
    return folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{what}-{container.rpartition('-')[2]}.log"


def _write_log(log: IO[str], event: protocol.Event) -> None:
    if isinstance(event, protocol.Log):
        log.write(f"[{event.stage}] {event.line}\n")
    elif isinstance(event, LOGGED):
        log.write(json.dumps(protocol.encode(event)) + "\n")


def _error_of(event: protocol.Failure, log: Path | None) -> errors.SynosError:
    """Return the error that the container met; where the log is goes into its hint."""
    hint = "\n".join(part for part in (event.hint, f"full log: {log}" if log else "") if part)
    return errors.by_name(event.kind)(event.error, where=event.where, why=event.why, hint=hint)
