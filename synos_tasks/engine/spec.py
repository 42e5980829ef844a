"""What to run, as frozen data, and the `docker` command that runs it. Pure: nothing here starts anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LABEL_PROJECT = "io.synos.project"
LABEL_ROLE = "io.synos.role"
LABEL_IMAGE = "io.synos.image"
"""The name that an image of ours was made under. What is built on it inherits this label, but not the name."""
LABEL_BASE = "io.synos.base"
"""On a bootstrapped base image, in place of the project's label: what others build on it would inherit that."""

# Verified to be enough for mmdebstrap, debootstrap, mksquashfs, GRUB and xorriso. Notably absent: SYS_ADMIN.
BUILDER_CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "SETFCAP",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
)


# Of these, what installing build dependencies through sudo needs: nothing is made there that a machine boots from.
TOOLCHAIN_CAPABILITIES = tuple(name for name in BUILDER_CAPABILITIES if name not in {"MKNOD", "SYS_CHROOT"})


def labels(project: str, role: str) -> dict[str, str]:
    """Give the labels that everything we create carries."""
    return {LABEL_PROJECT: project, LABEL_ROLE: role}


def image_labels(project: str, role: str, tag: str) -> dict[str, str]:
    """Give the labels of an image of ours, which is made under the name ``tag``."""
    return {**labels(project, role), LABEL_IMAGE: tag}


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A folder of the host inside the container."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """One container. Memory in MB. All capabilities are dropped but those named."""

    name: str
    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    capabilities: tuple[str, ...] = ()
    binds: tuple[Bind, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Volume name to path inside; it outlives the container."""
    read_only_volumes: Mapping[str, str] = field(default_factory=dict)
    """The same for volumes that it cannot write."""
    anonymous_volumes: tuple[str, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    cpus: float | None = None
    memory_mb: int | None = None
    pids: int | None = None
    network: str | None = None
    privileged: bool = False
    new_privileges: bool = False
    """Let programs gain what their user has not, as sudo does; within the capabilities that are left."""
    entrypoint: str = ""
    terminal: bool = False
    """On the caller's terminal."""
    user: str | None = None
    """uid:gid; the image's own when None."""
    hostname: str | None = None
    cpuset: str | None = None
    """Cores it may use, as ``0`` or ``0-3``: unlike ``cpus``, programs in it see no others."""
    logged: bool = True
    """Let the engine keep what it prints. Of a stream that would be a whole copy, on the engine's disk."""
    ulimits: Mapping[str, str] = field(default_factory=dict)


def run_argv(spec: ContainerSpec) -> list[str]:
    """Give the `docker run` command for a spec: the one that is executed and that --dry prints."""
    argv = ["docker", "run", "--rm", "--pull=never", "--interactive", "--init", "--name", spec.name]
    argv += ["--tty"] if spec.terminal else []
    argv += [] if spec.logged else ["--log-driver=none"]
    argv += [f"--label={key}={value}" for key, value in sorted(spec.labels.items())]
    if spec.privileged:
        argv.append("--privileged")
    else:
        argv += ["--cap-drop=ALL", *(f"--cap-add={name}" for name in spec.capabilities)]
        argv += [] if spec.new_privileges else ["--security-opt=no-new-privileges"]
    if spec.entrypoint:
        argv.append(f"--entrypoint={spec.entrypoint}")
    if spec.hostname is not None:
        argv.append(f"--hostname={spec.hostname}")
    if spec.user is not None:
        argv.append(f"--user={spec.user}")
    argv += _limits(spec)
    for bind in spec.binds:
        mode = "" if bind.writable else ",readonly"
        argv.append(f"--mount=type=bind,source={bind.source},target={bind.target}{mode}")
    # one that went away since it was made is made anew by the engine, and is ours all the same
    marks = "".join(f",volume-label={key}={value}" for key, value in sorted(spec.labels.items()))
    argv += [f"--mount=type=volume,source={name},target={path}{marks}" for name, path in spec.volumes.items()]
    argv += [
        f"--mount=type=volume,source={name},target={path},readonly"
        for name, path in spec.read_only_volumes.items()
    ]
    argv += [f"--mount=type=volume,target={path}{marks}" for path in spec.anonymous_volumes]
    argv += [f"--tmpfs={path}:{options}" for path, options in spec.tmpfs.items()]
    argv += [f"--device={device}" for device in spec.devices]
    argv += [f"--env={key}={value}" for key, value in sorted(spec.environment.items())]
    return [*argv, spec.image, *spec.command]


def _limits(spec: ContainerSpec) -> list[str]:
    argv = []
    if spec.cpus is not None:
        argv.append(f"--cpus={spec.cpus:g}")
    if spec.cpuset is not None:
        argv.append(f"--cpuset-cpus={spec.cpuset}")
    if spec.memory_mb is not None:
        # swap = memory: without it the container may take as much again in swap
        argv += [f"--memory={spec.memory_mb}m", f"--memory-swap={spec.memory_mb}m"]
    if spec.pids is not None:
        argv.append(f"--pids-limit={spec.pids}")
    if spec.network is not None:
        argv.append(f"--network={spec.network}")
    argv += [f"--ulimit={key}={value}" for key, value in sorted(spec.ulimits.items())]
    return argv
