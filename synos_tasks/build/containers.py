"""The containers that build, compile and give a shell: what each may do, and what it can reach."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import tempfile
import uuid
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.builder import CACHE, CODE, container_name, state_folder
from synos_tasks.engine.labels import (
    BUILDER_CAPABILITIES,
    LABEL_PROJECT,
    LEASE_CAPABILITY,
    ONCE,
    TOOLCHAIN_CAPABILITIES,
    labels,
)
from synos_tasks.engine.spec import Bind, ContainerSpec, VolumeFolder
from synos_tasks.images.catalog import BUILDER, TOOLCHAINS
from synos_tasks.images.uplink import certificates
from synos_tasks.iso import publish
from synos_tasks.iso.components.recipe import files_of, folder_of
from synos_tasks.iso.protocol import PACKAGES
from synos_tasks.iso.proxies import CERTIFICATES, TRUST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from synos_tasks.build.planning import Context
    from synos_tasks.images.catalog import Recipe
    from synos_tasks.iso.components.recipe import Component
    from synos_tasks.iso.protocol import RunApart
    from synos_tasks.settings import Settings

# of a root file system: the .debs, what they unpack to, and their copies while they are installed
TMPFS_PER_DEB_BYTE = 8
COMPILER_CACHES = ("ccache", "sccache")
BUILD_DATA = "/project/docker/build"
PRIVILEGED = (
    "a privileged container is NOT isolated: it can reach the host's disks, load kernel modules, and mount the host's "
    "devtmpfs. Its /dev is its own; do not mount another"
)
"""What is said before one starts."""
OWN_DEV = "synos-own-dev"
"""Entry in the image that gives a privileged container a /dev of its own."""


def compiler_cache_volumes(settings: Settings, component: str = "") -> dict[str, str]:
    """Return the volumes of ccache and sccache, with where they are in the toolchain's container.

    Each component has its own: what compiles one could plant results for others. Those of '' are for shells.
    """
    suffix = component and "." + component.replace("+", "_")  # a volume's name has no +, a component's no _
    return {f"{settings.project.id}-{name}{suffix}": f"/var/cache/{name}" for name in COMPILER_CACHES}


def delivered_files(folder: Path) -> tuple[Bind, ...]:
    """Return the files of publish.staging() as the builder has them: what it can write of the host."""
    return tuple(
        Bind(source=folder / name, target=f"/output/{name}", writable=True) for name in publish.MOST_BYTES
    )


def store_volume(context: Context, *, cached: bool) -> AbstractContextManager[str]:
    """Yield the volume of a store: '' for the project's own; not ``cached``, a temporary one."""
    return nullcontext("") if cached else temporary_volume(context)


@contextmanager
def temporary_volume(context: Context) -> Iterator[str]:
    """Yield the name of a volume that is made where a container has it, and removed afterwards."""
    name = f"{context.settings.project.id}{ONCE}{uuid.uuid4().hex[:8]}"
    with context.lease(name):
        try:
            yield name
        finally:
            context.docker.remove_volume(name)


def builder_spec(
    context: Context,
    recipe: Recipe = BUILDER,
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
    settings, build = context.settings, context.settings.build
    cpus, memory = build.cpus, build.memory_mb
    if not context.dry:
        cpus = min(cpus, context.info.n_cpu or cpus)
        memory = min(memory, (context.info.mem_total or memory * 2**20) // 2**20)
    size_mb = build.work_mb or memory * 3 // 4
    on_tmpfs = build.work == "tmpfs" or (
        build.work == "auto" and packages_bytes * TMPFS_PER_DEB_BYTE < size_mb * 2**20
    )
    # never the whole project: in .synos are the services' passwords
    data = Bind(source=settings.project.build_data, target=BUILD_DATA)
    writable = (Bind(source=output, target="/output", writable=True),) if output else ()
    return ContainerSpec(
        name=container_name(settings.project.id, "build"),
        image=context.image(recipe),
        command=("python3", "-m", "synos_tasks.iso"),
        labels=labels(settings.project.id, "build"),
        capabilities=BUILDER_CAPABILITIES,
        binds=(CODE, data, *certificates(network=network), *writable, *more),
        volumes={} if store is None else {store or settings.project.store_volume: CACHE},
        # a volume, so that the containers of stages can have folders of it.
        # dev, suid, exec: a root file system has device nodes, sudo and programs
        anonymous_volumes={"/work": f"rw,dev,suid,exec,size={size_mb}m" if on_tmpfs else ""},
        cpus=cpus,
        memory_mb=memory,
        pids=build.pids,
        init=False,  # iso/lease.py
        network=None if network else "none",
        privileged=privileged,
        entrypoint=OWN_DEV if privileged else "",
    )


def stage_spec(builder: ContainerSpec, volume: str, wanted: RunApart) -> ContainerSpec:
    """Return the container of foreign code: what the builder may do, the folders that ``wanted`` names, and nothing else.

    Its first process alone has LEASE_CAPABILITY too. ``volume`` is the builder's work folder.
    """
    return ContainerSpec(
        name=container_name(builder.labels[LABEL_PROJECT], "stage"),
        image=builder.image,
        command=wanted.command,
        labels=builder.labels,
        capabilities=(*builder.capabilities, LEASE_CAPABILITY),
        # of the host's certificates a program with a network has as much as the builder
        binds=tuple(bind for bind in builder.binds if wanted.network and bind.target == str(CERTIFICATES)),
        volume_folders=tuple(
            VolumeFolder(volume=volume, folder=folder, target=target, writable=writable)
            for folder, target, writable in wanted.mounts
        ),
        # the image declares it: without labels nobody could tell whose it is where a killed engine leaves it
        anonymous_volumes={"/work": ""},
        cpus=builder.cpus,
        cpuset=builder.cpuset,
        memory_mb=builder.memory_mb,
        pids=builder.pids,
        network=builder.network if wanted.network else "none",
        hostname=builder.hostname,
        init=False,  # its own first process is the lease
    )


def toolchain_spec(
    context: Context, suite: str, *, output: Path | None = None, network: bool = True
) -> ContainerSpec:
    """Return the container of a suite's toolchain: the engine as root, compilers as the builder user.

    Unprivileged and limited as the builder, but that sudo works in it, for build dependencies, and that it has no store.
    """
    base = builder_spec(context, TOOLCHAINS[suite], output=output, store=None, network=network)
    on_tmpfs = context.settings.build.work == "tmpfs"  # compilers need the memory themselves
    return dataclasses.replace(
        base,
        name=container_name(context.settings.project.id, "compile"),
        user="0:0",
        capabilities=TOOLCHAIN_CAPABILITIES,
        new_privileges=True,
        volumes=compiler_cache_volumes(context.settings),
        anonymous_volumes=base.anonymous_volumes if on_tmpfs else {"/work": ""},
    )


def compile_spec(
    context: Context, component: Component, packages: str, *, suite: str, cached: bool, network: bool
) -> ContainerSpec:
    """Return the container that compiles a component for a suite: all in it is foreign code.

    It has the component's source and patches, the volume ``packages`` for what it makes, and the component's own
    caches where ``cached``. Raises ComponentError.
    """
    base = toolchain_spec(context, suite, network=network)
    caches = compiler_cache_volumes(context.settings, component.name) if cached else {}
    tree, patches = files_of(component, folder_of(context.settings.project.build_data))
    read = [(component.source[1], tree)] if tree else []
    read += zip(component.patches, patches, strict=True)
    targets = {str(folder_of(Path(BUILD_DATA)) / name): source for name, source in read}
    return dataclasses.replace(
        base,
        binds=(
            CODE,
            *certificates(network=network),
            *(Bind(source=source, target=target) for target, source in targets.items()),
        ),
        volumes={**caches, packages: str(PACKAGES)},
    )


def shell_spec(
    context: Context, *, toolchain: str = "", privileged: bool = False, command: str = ""
) -> ContainerSpec:
    """Return the container of a build, or of a compilation, with a shell in it and the output folder writable.

    ``toolchain`` is the suite that is compiled for. ``command`` is for the shell, which is interactive without one.
    """
    output = context.settings.output_dir
    if toolchain:
        spec = dataclasses.replace(toolchain_spec(context, toolchain, output=output), user=None)
    else:
        spec = builder_spec(context, output=output, privileged=privileged)
    return dataclasses.replace(
        spec,
        init=True,
        name=container_name(context.settings.project.id, "shell"),
        command=("bash", "-c", command) if command else ("bash",),
        terminal=not command and sys.stdin.isatty(),
    )


def open_shell(context: Context, spec: ContainerSpec) -> int:
    """Run the container of a shell; return its exit code."""
    context.settings.output_dir.mkdir(parents=True, exist_ok=True)
    for volume in spec.volumes:
        context.docker.create_volume(volume, labels(context.settings.project.id, "cache"))
    if spec.privileged:
        context.say(f"warning: {PRIVILEGED}")
    trusting = any(bind.target == str(CERTIFICATES) for bind in spec.binds)
    variables = {**context.proxies.variables, **(TRUST if trusting else {})}
    with (
        context.lease(spec.name),
        tempfile.NamedTemporaryFile("w", dir=state_folder(context.settings)) as file,
    ):
        file.writelines(f"{name}={value}\n" for name, value in variables.items())
        file.flush()
        return context.docker.interact(dataclasses.replace(spec, environment_file=Path(file.name)))


def permissions(spec: ContainerSpec) -> dict[str, str]:
    """Return what a container may do and reach, in words, by subject."""
    if spec.privileged:
        rights = "privileged: every capability and device; NOT isolated from the host"
    else:
        more = "sudo works" if spec.new_privileges else "no new privileges"
        rights = f"{' '.join(spec.capabilities) or 'no capability'}; {more}"
    binds = [(bind.writable, f"{bind.source} at {bind.target}") for bind in spec.binds]
    volumes = [f"volume {name} at {path}" for name, path in spec.volumes.items()]
    tmpfs = {**spec.tmpfs, **spec.anonymous_volumes}
    return {
        "image": spec.image,
        "command": shlex.join([spec.entrypoint, *spec.command] if spec.entrypoint else spec.command),
        "user": spec.user or "the image's own",
        "rights": rights,
        "read-only": ", ".join(text for writable, text in binds if not writable),
        "writable": ", ".join([*(text for writable, text in binds if writable), *volumes]),
        "temporary": ", ".join(
            f"{path} in memory ({what})" if what else path for path, what in tmpfs.items()
        ),
        "devices": ", ".join(spec.devices) or "none of the host",
        "limits": f"{spec.cpus:g} CPUs, {spec.memory_mb} MB of memory, {spec.pids} processes",
        "network": spec.network or "yes",
    }
