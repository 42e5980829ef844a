"""Stacks: a compose file of docker/services each, and what it says of its services."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.old_compose import ComposeFile, raw_services
from synos_tasks.errors import SettingsError
from synos_tasks.images.catalog import SERVICES, stack_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from synos_tasks.settings import Settings

TOOLS_PROFILE = "tools"


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port that a service publishes; 0 as ``published``: the engine takes a free one."""

    address: str
    published: int
    target: int


@dataclass(frozen=True, kw_only=True)
class SecretFile:
    """A secret as one service gets it: a file of its own, which only its user can read."""

    name: str
    file: Path
    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service of a stack. Volumes by their name in the engine."""

    name: str
    image: str
    uid: int
    gid: int
    ports: tuple[Port, ...]
    secrets: tuple[SecretFile, ...]
    volumes: tuple[str, ...]
    tool: bool
    """Runs for one command at a time, and is not started."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A resolved stack."""

    name: str
    services: tuple[Service, ...]

    def __getitem__(self, name: str) -> Service:
        """Give the service of that name; raises SettingsError with a suggestion."""
        for service in self.services:
            if service.name == name:
                return service
        raise unknown("service", name, [service.name for service in self.services], f"stack {self.name}")

    @property
    def running(self) -> tuple[Service, ...]:
        """The services that `up` starts."""
        return tuple(service for service in self.services if not service.tool)

    def chosen(self, only: str) -> tuple[Service, ...]:
        """Give the services named in ``only``, separated by commas, in the order of the file; all for ''.

        Raises SettingsError on an unknown one.
        """
        names = [name.strip() for name in only.split(",") if name.strip()]
        for name in names:
            if name not in (known := [service.name for service in self.running]):
                raise unknown("service", name, known, f"stack {self.name}")
        return tuple(service for service in self.running if service.name in names) or self.running


def file_of(settings: Settings, stack: str) -> Path:
    """Path of a stack's compose file; raises SettingsError, with a suggestion, where there is no such stack."""
    known = stack_files(settings.root)
    if stack not in known:
        raise unknown("stack", stack, list(known), str(settings.root / SERVICES))
    return known[stack]


def state_folder(settings: Settings, stack: str) -> Path:
    """Folder of a stack's secrets and state, which belongs to this clone."""
    return settings.stack_dir(stack)


def compose_file(settings: Settings, stack: str, images: Mapping[str, str]) -> ComposeFile:
    """Give the compose file with its variables; ``images`` by service.

    None of them is a secret: they are in the containers' labels and in `services.config`.
    """
    path = file_of(settings, stack)
    environment = {
        "SYNOS_STACK": settings.compose_project(stack),
        "SYNOS_PROJECT": settings.project_id,
        "SYNOS_SECRETS": str(state_folder(settings, stack) / "mounted"),
    }
    for name in raw_services(path):
        key = variable(name)
        environment[f"{key}_IMAGE"] = images.get(name, "")
        environment[f"{key}_FILES"] = files_digest(path.parent / name)
        port = getattr(settings.services, f"{name.replace('-', '_')}_port", None)
        if port is not None:
            environment[f"{key}_PORT"] = str(port)
    return ComposeFile(project=settings.compose_project(stack), path=path, environment=environment)


def variable(service: str) -> str:
    """Give the beginning of a service's variables, as SYNOS_NATS_BOX."""
    return f"SYNOS_{service.upper().replace('-', '_')}"


def started_services(path: Path) -> list[str]:
    """Names of the services of a compose file that `up` starts, in its order; the file is not resolved."""
    return [
        name for name, told in raw_services(path).items() if TOOLS_PROFILE not in (told.get("profiles") or ())
    ]


def files_digest(folder: Path) -> str:
    """Digest of what is mounted into a service: in a label, so that an edit makes a new container."""
    if not folder.is_dir():
        return ""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            content = path.read_bytes()
            found.update(f"{path.name} {len(content)}\n".encode() + content)
    return found.hexdigest()[:12]


def resolve(name: str, model: Mapping[str, Any]) -> Stack:
    """Read the model that `docker compose config` gives."""
    services = tuple(
        _service(service, told, model) for service, told in sorted(model.get("services", {}).items())
    )
    return Stack(name=name, services=services)


def unknown(kind: str, name: str, known: Sequence[str], where: str) -> SettingsError:
    """Make the error for a name that is none of those known."""
    close = difflib.get_close_matches(name, known, n=1)
    there = f"there are: {', '.join(known) or 'none'}"
    return SettingsError(
        f"there is no {kind} {name!r}",
        where=where,
        hint=f"did you mean {close[0]!r}? {there}" if close else there,
    )


def _service(name: str, told: Mapping[str, Any], model: Mapping[str, Any]) -> Service:
    uid, gid = _user(str(told.get("user", "")))
    files, volumes = model.get("secrets") or {}, model.get("volumes") or {}
    return Service(
        name=name,
        image=told.get("image", ""),
        uid=uid,
        gid=gid,
        ports=tuple(
            Port(address=port.get("host_ip", ""), published=_published(port), target=int(port["target"]))
            for port in told.get("ports") or ()
        ),
        secrets=tuple(
            SecretFile(name=one["source"], file=_path(files[one["source"]]["file"]), uid=uid, gid=gid)
            for one in told.get("secrets") or ()
        ),
        volumes=tuple(_volumes(told.get("volumes") or (), volumes)),
        tool=TOOLS_PROFILE in (told.get("profiles") or ()),
    )


def _path(text: str) -> Path:
    return Path(text.replace("$$", "$"))  # compose prints what it could read again


def _published(port: Mapping[str, Any]) -> int:
    text = str(port.get("published", ""))
    return int(text) if text.isdecimal() else 0  # none, or a range to choose from


def _volumes(mounts: Iterable[Mapping[str, Any]], volumes: Mapping[str, Any]) -> Iterable[str]:
    for mount in mounts:
        if mount["type"] == "volume" and mount.get("source"):
            yield volumes[mount["source"]]["name"]


def _user(text: str) -> tuple[int, int]:
    uid, _, gid = text.partition(":")
    if not uid.isdigit():
        return 0, 0
    return int(uid), int(gid) if gid.isdigit() else int(uid)
