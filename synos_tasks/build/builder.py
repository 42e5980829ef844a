"""The builder container: what it may do, and how a request goes in and events come out."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import uuid
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from synos_tasks import errors
from synos_tasks.engine.labels import BUILDER_CAPABILITIES, TOOLCHAIN_CAPABILITIES, labels
from synos_tasks.engine.once import once_name
from synos_tasks.engine.run import leased
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.project import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from synos_tasks.engine.client import Docker, SystemInfo
    from synos_tasks.settings import Settings

CACHE = "/cache"
# of a root file system: the .debs, what they unpack to, and their copies while they are installed
TMPFS_PER_DEB_BYTE = 8
# the event that ends a request
ANSWERS = {"delivered", "lock", "entries", "compared", "built", "measured", "store", "evicted"}
COMPILER_CACHES = ("ccache", "sccache")
PRIVILEGED = (
    "a privileged container is NOT isolated: it can reach the host's disks, load kernel modules, and mount the host's "
    "devtmpfs. Its /dev is its own; do not mount another"
)
"""What is said before one starts."""
OWN_DEV = "synos-own-dev"
"""Entry in the image that gives a privileged container a /dev of its own."""


def store_volume(settings: Settings) -> str:
    """Name of the volume with the store: it outlives containers."""
    return settings.store_volume


def compiler_cache_volumes(settings: Settings) -> dict[str, str]:
    """Give the volumes of ccache and sccache, with where they are in the toolchain's container."""
    return {f"{settings.project_id}-{name}": f"/var/cache/{name}" for name in COMPILER_CACHES}


def read_only_binds(settings: Settings) -> tuple[Bind, ...]:
    """Return all that a build reads: the code, and docker/build. Never .synos, where the services' passwords are."""
    return (
        Bind(source=PACKAGE, target="/project/synos_tasks"),
        Bind(source=settings.project.data / "build", target="/project/docker/build"),
    )


@contextmanager
def once_volume(settings: Settings, docker: Docker) -> Iterator[str]:
    """Give a volume for one command, removed afterwards."""
    name = once_name(settings.project_id)
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
    """Give the default builder: unprivileged, limited, profiles and code read-only, ``output`` and the store writable.

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
        name=f"{settings.project_id}-build-{uuid.uuid4().hex[:8]}",
        image=image,
        command=("python3", "-m", "synos_tasks.iso"),
        labels=labels(settings.project_id, "build"),
        capabilities=BUILDER_CAPABILITIES,
        binds=(*read_only_binds(settings), *writable, *more),
        volumes={} if store is None else {store or store_volume(settings): CACHE},
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
    """Give the container in which components are compiled: the engine as root, compilers as the builder user.

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
    request: Mapping[str, Any],
    on_event: Callable[[dict[str, Any]], None],
) -> None:
    """Run one container to its end and hand on its events; raises the error that it met, or ContainerLost.

    All that it says goes into a log below .synos/logs, whose place is in the hint of an error.
    """
    for volume in spec.volumes:
        docker.create_volume(volume, labels(settings.project_id, "cache"))
    path = _log_path(settings, str(request["do"]), spec.name)
    answered = False
    with path.open("w", encoding="utf-8") as log, leased(docker, spec, request) as container:
        for event in container.events():
            _write_log(log, event)
            if event["event"] == "error":
                raise _error_of(event, path)
            answered = answered or event["event"] in ANSWERS
            on_event(event)
        if not answered:
            raise container.lost(
                "the builder container went away before it was done",
                hint="nothing was published; run the command again. `inv doctor` checks the engine",
            )


def _log_path(settings: Settings, what: str, container: str) -> Path:
    folder = settings.state_dir / "logs"
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


def _write_log(log: IO[str], event: dict[str, Any]) -> None:
    if event["event"] == "log":
        log.write(f"[{event['stage']}] {event['line']}\n")
    elif event["event"] in {"start", "done", "warning", "error", "delivered", "evicted"}:
        log.write(json.dumps(event) + "\n")


def _error_of(event: dict[str, Any], log: Path) -> errors.SynosError:
    """Make the error again that the container met; where the log is goes into its hint."""
    hint = "\n".join(part for part in (event.get("hint", ""), f"full log: {log}") if part)
    cls = errors.by_name(event.get("kind", ""))
    return cls(
        event.get("error", "failed"), where=event.get("where", ""), why=event.get("why", ""), hint=hint
    )
