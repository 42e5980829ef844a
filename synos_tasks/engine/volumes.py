"""Volumes with all that is known of them, made and removed one by one, and containers that read and write them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from synos_tasks.engine import api
from synos_tasks.engine.docker_cli import docker
from synos_tasks.engine.inventory import SECONDS, epoch
from synos_tasks.engine.spec import LABEL_PROJECT, LABEL_ROLE
from synos_tasks.engine.streams import streaming
from synos_tasks.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.engine.streams import Stream

NO_SUCH = "no such volume"
LIVE = ("running", "paused", "restarting", "removing")
"""States of a container whose programs may write."""


@dataclass(frozen=True, kw_only=True)
class User:
    """A container that has a volume."""

    name: str
    state: str

    @property
    def is_live(self) -> bool:
        """Tell whether it may write now."""
        return self.state in LIVE


@dataclass(frozen=True, kw_only=True)
class VolumeFacts:
    """A volume. ``created`` is in seconds since 1970."""

    name: str
    labels: Mapping[str, str]
    created: float
    place: str
    """The engine's folder of it."""
    device: str = ""
    """The folder that it is another name of; '' where it has its own."""
    bytes: int | None = None
    """None where the engine is not this machine's: only its socket tells."""
    users: tuple[User, ...] = field(default=())

    @property
    def role(self) -> str:
        """What it is for: build, services, dev or cache."""
        return self.labels.get(LABEL_ROLE, "")


class Volumes(Protocol):
    """What copying volumes needs of Docker; a fake in the unit tests implements it too."""

    def listing(self, project: str) -> list[VolumeFacts]:
        """Give the volumes with a project's label, by name, with sizes and users; raises EngineUnavailable."""
        ...

    def find(self, name: str) -> VolumeFacts | None:
        """Give a volume of whatever project, without its size; None where there is none."""
        ...

    def create(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a volume; one of that name stays as it is. Raises EngineUnavailable."""
        ...

    def remove(self, name: str) -> str:
        """Remove a volume that no container has; gives '' when it is gone, else what the engine says."""
        ...

    def stream(self, spec: ContainerSpec, given: Iterable[bytes] = ()) -> AbstractContextManager[Stream]:
        """Run a container as engine/streams.py does."""
        ...


class DockerVolumes:
    """The real thing, through the Docker CLI."""

    def listing(self, project: str) -> list[VolumeFacts]:
        """Give the volumes with a project's label, by name, with sizes and users; raises EngineUnavailable."""
        names = docker("volume", "ls", "--quiet", f"--filter=label={LABEL_PROJECT}={project}").split()
        sizes = _sizes() if names else {}
        users = _users() if names else {}
        found = [_facts(told, sizes, users) for told in _inspected(names)]
        return sorted(found, key=lambda one: one.name)

    def find(self, name: str) -> VolumeFacts | None:
        """Give a volume of whatever project, without its size; None where there is none."""
        found = _inspected([name])
        return _facts(found[0], {}, _users()) if found else None

    def create(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a volume; one of that name stays as it is. Raises EngineUnavailable."""
        docker("volume", "create", *(f"--label={key}={value}" for key, value in labels.items()), name)

    def remove(self, name: str) -> str:
        """Remove a volume that no container has; gives '' when it is gone, else what the engine says."""
        try:
            docker("volume", "rm", name)
        except EngineUnavailable as error:
            return "" if NO_SUCH in error.why.lower() else error.why or error.what
        return ""

    def stream(self, spec: ContainerSpec, given: Iterable[bytes] = ()) -> AbstractContextManager[Stream]:
        """Run a container as engine/streams.py does."""
        return streaming(spec, given)


def _facts(told: Mapping[str, Any], sizes: Mapping[str, int], users: Mapping[str, list[User]]) -> VolumeFacts:
    return VolumeFacts(
        name=told["Name"],
        labels=told["Labels"] or {},
        created=epoch(told["CreatedAt"]),
        place=told["Mountpoint"],
        device=(told.get("Options") or {}).get("device", ""),
        bytes=sizes.get(told["Name"]),
        users=tuple(users.get(told["Name"], ())),
    )


def _inspected(names: Sequence[str]) -> list[dict[str, Any]]:
    """Ask for volumes one by one where one is gone: `docker volume inspect` then fails for all."""
    if not names:
        return []
    try:
        told: list[dict[str, Any]] = json.loads(docker("volume", "inspect", *names))
    except EngineUnavailable as error:
        if NO_SUCH not in error.why.lower():
            raise
        return [one for name in names for one in _inspected([name])] if len(names) > 1 else []
    return told


def _sizes() -> dict[str, int]:
    """Bytes by volume; {} where the engine's socket is not this machine's."""
    if api.socket_path() is None:
        return {}
    status, told = api.request("GET", "/system/df", {"type": "volume"}, timeout=SECONDS)
    if status != 200:
        raise EngineUnavailable(
            "the Docker Engine refused a request", where="/system/df", why=api.message_of(told)
        )
    pairs = ((one["Name"], (one.get("UsageData") or {}).get("Size", -1)) for one in told["Volumes"] or ())
    return {name: size for name, size in pairs if size >= 0}


def _users() -> dict[str, list[User]]:
    """Containers by the volume that they have, running or not."""
    found: dict[str, list[User]] = {}
    template = "{{json .Names}}\t{{json .State}}\t{{json .Mounts}}"
    for line in docker("ps", "--all", "--no-trunc", f"--format={template}").splitlines():
        name, state, mounts = (json.loads(part) for part in line.split("\t"))
        for mount in set(mounts.split(",")):
            found.setdefault(mount, []).append(User(name=name, state=state))
    return found
