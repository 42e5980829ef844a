"""What a container that runs once may do, as frozen data. Pure: nothing here starts anything."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.labels import LABEL_CONTAINER
from synos_tasks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A folder or file of the host inside the container."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, kw_only=True)
class VolumeFolder:
    """A folder of a volume inside the container."""

    volume: str
    folder: str
    target: str
    writable: bool


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """A container to run once; it is removed when it ends."""

    name: str
    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    capabilities: tuple[str, ...] = ()
    binds: tuple[Bind, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Volume name to path inside; it outlives the container."""
    read_only_volumes: Mapping[str, str] = field(default_factory=dict)
    volume_folders: tuple[VolumeFolder, ...] = ()
    anonymous_volumes: Mapping[str, str] = field(default_factory=dict)
    """Path inside to the options of a tmpfs, or to '' for one on the engine's disk; each ends with the container."""
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_file: Path | None = None
    """Lines ``NAME=value`` that no command line shows."""
    cpus: float | None = None
    memory_mb: int | None = None
    pids: int | None = None
    network: str | None = None
    ports: tuple[int, ...] = ()
    """Each gets a free port of the host, on 127.0.0.1 alone."""
    privileged: bool = False
    new_privileges: bool = False
    """Let programs gain privileges as sudo does, within the capabilities that are left."""
    entrypoint: str = ""
    terminal: bool = False
    """On the caller's terminal."""
    init: bool = True
    """Put the engine's init before the command; else the command itself is the container's first process."""
    user: str | None = None
    """uid:gid; the image's own when None."""
    hostname: str | None = None
    cpuset: str | None = None
    """Cores it may use, as ``0`` or ``0-3``; unlike ``cpus``, programs in it see no others."""
    logged: bool = True
    """Let the engine keep what it prints. Of a data stream that would be a whole copy on the engine's disk."""

    def options(self) -> dict[str, Any]:
        """Return the arguments of python-on-whales' `container.create`."""
        memory = None if self.memory_mb is None else f"{self.memory_mb}m"
        rights: dict[str, Any] = (
            {"privileged": True}
            if self.privileged
            else {
                "cap_drop": ["ALL"],
                "cap_add": list(self.capabilities),
                "security_options": [] if self.new_privileges else ["no-new-privileges"],
            }
        )
        return {
            "name": self.name,
            "labels": {**self.labels, LABEL_CONTAINER: self.name},
            "remove": True,
            "pull": "never",
            "interactive": True,
            "init": self.init,
            "tty": self.terminal,
            "log_driver": None if self.logged else "none",
            "entrypoint": self.entrypoint or None,
            "hostname": self.hostname,
            "user": self.user,
            "networks": [self.network] if self.network is not None else [],
            "mounts": [[_quoted(field) for field in mount] for mount in self._mounts()],
            "tmpfs": [f"{path}:{options}" for path, options in self.tmpfs.items()],
            "devices": list(self.devices),
            "envs": dict(self.environment),
            "env_files": [self.environment_file] if self.environment_file else [],
            "cpuset_cpus": None if self.cpuset is None else [self.cpuset],
            "cpus": self.cpus,
            "pids_limit": self.pids,
            "memory": memory,
            "memory_swap": memory,  # or the container may take as much again in swap
            **({"publish": [("127.0.0.1:", port) for port in self.ports]} if self.ports else {}),
            **rights,
        }

    def _mounts(self) -> Iterator[list[str]]:
        for bind in self.binds:
            mode = [] if bind.writable else ["readonly"]
            yield ["type=bind", f"source={bind.source}", f"target={bind.target}", *mode]
        # a volume that was removed meanwhile is created again by the engine, and needs our labels too
        labels = [f"volume-label={key}={value}" for key, value in self.labels.items()]
        for name, path in self.volumes.items():
            yield ["type=volume", f"source={name}", f"target={path}", *labels]
        for name, path in self.read_only_volumes.items():
            yield ["type=volume", f"source={name}", f"target={path}", "readonly"]
        for part in self.volume_folders:
            where = [f"source={part.volume}", f"target={part.target}", f"volume-subpath={part.folder}"]
            yield ["type=volume", *where, "volume-nocopy", *([] if part.writable else ["readonly"])]
        for path, options in self.anonymous_volumes.items():
            memory = ["type=tmpfs", "device=tmpfs", f"o={options}"] if options else []
            yield ["type=volume", f"target={path}", *labels, *(f"volume-opt={option}" for option in memory)]


def _quoted(field: str) -> str:
    """Return a field of `--mount`, which the client reads as CSV (RFC 4180); raise SettingsError where it cannot."""
    if re.search("[\r\ud800-\udfff]", field):
        where, why = ascii(field.partition("=")[2]), "names must be UTF-8 without a carriage return"
        raise SettingsError("it cannot be mounted", where=where, why=why, hint="give the folder another name")
    return '"{}"'.format(field.replace('"', '""')) if set(',"\n') & set(field) else field
