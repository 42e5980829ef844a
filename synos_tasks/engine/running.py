"""Containers that go on running, for people to work in: found by their labels, made, entered."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from synos_tasks.engine.docker_cli import docker
from synos_tasks.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Running:
    """One such container, as the engine sees it now; it may also have ended."""

    id: str
    name: str
    image: str
    state: str
    """created, running, restarting, paused, exited or dead"""
    created: str
    started: str
    """Both as the engine prints them, with nanoseconds: what marks a container's life."""
    labels: Mapping[str, str]
    privileged: bool
    sources: tuple[str, ...]
    """What of the host is mounted in it."""


@dataclass(frozen=True, kw_only=True)
class Inside:
    """As whom, where and with what a command runs in a container."""

    user: str
    folder: str
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """None: one that is not to be set."""


class Containers(Protocol):
    """What a room needs of such containers; a fake in the unit tests implements it too."""

    def find(self, labels: Mapping[str, str]) -> list[Running]:
        """Give the containers that have all these labels, newest first; raises EngineUnavailable."""
        ...

    def create(self, argv: Sequence[str]) -> str:
        """Start a container by a `docker run --detach` command and give its id; raises EngineUnavailable."""
        ...

    def start(self, ident: str) -> None:
        """Start one that has ended; raises EngineUnavailable."""
        ...

    def remove(self, ident: str) -> None:
        """End and remove a container, not its named volumes; silent when it is gone."""
        ...

    def output(self, ident: str, inside: Inside, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in one and give what it prints."""
        ...

    def attached(self, ident: str, inside: Inside, command: Sequence[str]) -> int:
        """Run a command in one on the caller's own streams, and give its exit code."""
        ...

    def told(self, ident: str, inside: Inside, command: Sequence[str]) -> int:
        """Run a command in one whose output is for people, on standard error; gives its exit code."""
        ...

    def is_rootless(self) -> bool:
        """Tell whether the engine runs without root, so that its container's root is the host's user."""
        ...

    def alias_volume(self, name: str, volume: str, labels: Mapping[str, str]) -> None:
        """Create a volume that is another name of one; raises EngineUnavailable."""
        ...

    def give_volume(self, name: str, image: str, owner: tuple[int, int]) -> None:
        """Give the root of a volume to a user, in a throw-away container of an image; raises EngineUnavailable."""
        ...

    def network_exists(self, name: str) -> bool:
        """Tell whether there is a network of that name; raises EngineUnavailable."""
        ...


class DockerContainers:
    """The real thing, through the Docker CLI."""

    def find(self, labels: Mapping[str, str]) -> list[Running]:
        """Give the containers that have all these labels, newest first; raises EngineUnavailable."""
        filters = [f"--filter=label={key}={value}" for key, value in labels.items()]
        idents = docker("ps", "--all", "--quiet", "--no-trunc", *filters).split()
        try:
            return [running_of(one) for one in json.loads(docker("inspect", *idents))] if idents else []
        except EngineUnavailable as error:
            if not re.search("no such (object|container)", error.why, re.IGNORECASE):
                raise
            return self.find(labels)  # one went away meanwhile

    def create(self, argv: Sequence[str]) -> str:
        """Start a container by a `docker run --detach` command and give its id; raises EngineUnavailable."""
        return docker(*argv[1:]).strip()

    def start(self, ident: str) -> None:
        """Start one that has ended; raises EngineUnavailable."""
        docker("start", ident)

    def remove(self, ident: str) -> None:
        """End and remove a container, not its named volumes; silent when it is gone."""
        subprocess.run(["docker", "rm", "--force", "--volumes", ident], check=False, capture_output=True)

    def output(self, ident: str, inside: Inside, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in one and give what it prints."""
        argv = exec_argv(ident, inside, command)
        return subprocess.run(argv, check=False, capture_output=True, text=True, errors="replace")

    def attached(self, ident: str, inside: Inside, command: Sequence[str]) -> int:
        """Run a command in one on the caller's own streams, and give its exit code."""
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        return subprocess.run(
            exec_argv(ident, inside, command, terminal=terminal, interactive=True), check=False
        ).returncode

    def told(self, ident: str, inside: Inside, command: Sequence[str]) -> int:
        """Run a command in one whose output is for people, on standard error; gives its exit code."""
        argv = exec_argv(ident, inside, command)
        return subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode

    def is_rootless(self) -> bool:
        """Tell whether the engine runs without root, so that its container's root is the host's user."""
        return "name=rootless" in docker("info", "--format", "{{json .SecurityOptions}}")

    def alias_volume(self, name: str, volume: str, labels: Mapping[str, str]) -> None:
        """Create a volume that is another name of one; raises EngineUnavailable."""
        place = docker("volume", "inspect", "--format", "{{.Mountpoint}}", volume).strip()
        options = ("--driver=local", "--opt=type=none", "--opt=o=bind", f"--opt=device={place}")
        docker(
            "volume", "create", *options, *(f"--label={key}={value}" for key, value in labels.items()), name
        )

    def give_volume(self, name: str, image: str, owner: tuple[int, int]) -> None:
        """Give the root of a volume to a user, in a throw-away container of an image; raises EngineUnavailable."""
        mount = f"--mount=type=volume,source={name},target=/volume"
        rights = ("--network=none", "--cap-drop=ALL", "--cap-add=CHOWN")
        give = ("chown", "{}:{}".format(*owner), "/volume")
        docker("run", "--rm", "--pull=never", *rights, mount, image, *give)

    def network_exists(self, name: str) -> bool:
        """Tell whether there is a network of that name; raises EngineUnavailable."""
        found = docker("network", "ls", "--format", "{{.Name}}", f"--filter=name={name}")
        return name in found.split()


def exec_argv(
    ident: str, inside: Inside, command: Sequence[str], *, terminal: bool = False, interactive: bool = False
) -> list[str]:
    """Give the `docker exec` command."""
    return [
        "docker", "exec",
        *(["--interactive"] if interactive else []),
        *(["--tty"] if terminal else []),
        *options_of(inside),
        ident, *command,
    ]  # fmt: skip


def options_of(inside: Inside) -> list[str]:
    """Give the options of `docker exec` that say as whom, where and with what."""
    variables = (
        f"--env={key}={value}" for key, value in sorted(inside.environment.items()) if value is not None
    )
    return [f"--user={inside.user}", f"--workdir={inside.folder}", *variables]


def running_of(inspected: Mapping[str, Any]) -> Running:
    """Read what the engine tells of a container."""
    return Running(
        id=inspected["Id"],
        name=inspected["Name"].lstrip("/"),
        image=inspected["Config"]["Image"],
        state=inspected["State"]["Status"],
        created=inspected["Created"],
        started=inspected["State"]["StartedAt"],
        labels=inspected["Config"]["Labels"] or {},
        privileged=inspected["HostConfig"]["Privileged"],
        sources=tuple(mount.get("Source", "") for mount in inspected["Mounts"] if mount["Type"] == "bind"),
    )
