"""`docker compose`, wrapped once: a stack of services as one project, and what can be asked of its containers."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Protocol

from synos_tasks.engine import api
from synos_tasks.engine.compose import communicate
from synos_tasks.errors import DiskFull, EngineUnavailable, PortTaken, ServiceFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

LABEL_COMPOSE_PROJECT = "com.docker.compose.project"
LABEL_COMPOSE_SERVICE = "com.docker.compose.service"
NO_ADDRESSES = (  # until Engine 27, and since
    "could not find an available, non-overlapping IPv4 address pool",
    "all predefined address pools have been fully subnetted",
)
LABEL_ONE_OFF = "com.docker.compose.oneoff"


@dataclass(frozen=True, kw_only=True)
class ComposeFile:
    """One compose file as one project, with the variables that it is to be read with."""

    project: str
    path: Path
    environment: Mapping[str, str]
    overrides: tuple[Path, ...] = ()
    """Further files, each of which has the last word over those before."""


@dataclass(frozen=True, kw_only=True)
class ServiceContainer:
    """The container of a service, as the engine sees it now."""

    service: str
    id: str
    name: str
    state: str
    """created, running, restarting, paused, exited or dead"""
    health: str
    """starting, healthy or unhealthy; '' without a health check"""
    said: str
    """What the last health check printed."""
    started: dt.datetime | None
    restarts: int
    exit_code: int
    killed_for_memory: bool
    image: str
    """Id of its image."""
    ports: tuple[str, ...]
    """As ``127.0.0.1:5432->5432``."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Tell whether it does its work: running, and healthy where it can tell."""
        return self.state == "running" and self.health in {"healthy", ""}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a container has used. CPU in nanoseconds since its start, memory in bytes; 0 as limit: none."""

    cpu_ns: int
    memory: int
    memory_limit: int


class Compose(Protocol):
    """What the room needs of a stack; a fake in the unit tests implements it too."""

    file: ComposeFile

    def config(self) -> dict[str, Any]:
        """Give the resolved model, with every profile; raises ServiceFailed where the file has a mistake."""
        ...

    def run(self, *arguments: str) -> str:
        """Run a `docker compose` command to its end and give what it prints.

        Raises PortTaken, DiskFull, EngineUnavailable or ServiceFailed.
        """
        ...

    def attached(self, *arguments: str) -> int:
        """Run a `docker compose` command on the caller's own streams, and give its exit code."""
        ...

    def stop(self) -> None:
        """End what run() and pipe() have running, in other threads."""
        ...

    def containers(self) -> list[ServiceContainer]:
        """Give the containers of the services, running or not, by name; raises EngineUnavailable."""
        ...

    def usage(self, idents: Iterable[str]) -> dict[str, Usage]:
        """Give what running containers have used, by id; those that are gone are left out."""
        ...

    def log(self, ident: str, lines: int) -> str:
        """Give a container's last lines."""
        ...

    def pipe(
        self,
        arguments: Sequence[str],
        *,
        into: bytes | IO[bytes] | None = None,
        out: Callable[[bytes], object] | None = None,
    ) -> bytes:
        """Run a `docker compose` command with a file or bytes as standard input and a file for its output.

        Gives what it prints where ``out`` is None. Raises as run() does.
        """
        ...


class DockerCompose:
    """The real thing, through the CLI, and through the engine's socket where it is one of this machine."""

    def __init__(self, file: ComposeFile) -> None:
        """Touch nothing yet."""
        self.file = file
        self._running: set[subprocess.Popen[bytes]] = set()

    def argv(self, *arguments: str) -> list[str]:
        """Give the whole command, which with the environment can be run again by hand."""
        return [
            "docker", "compose", f"--project-name={self.file.project}",
            *(f"--file={path}" for path in (self.file.path, *self.file.overrides)),
            "--profile=*", *arguments,
        ]  # fmt: skip

    def config(self) -> dict[str, Any]:
        """Give the resolved model, with every profile; raises ServiceFailed where the file has a mistake."""
        model: dict[str, Any] = json.loads(self.run("config", "--format=json"))
        return model

    def stop(self) -> None:
        """End what run() and pipe() have running, in other threads."""
        for process in tuple(self._running):
            process.terminate()

    def run(self, *arguments: str) -> str:
        """Run a `docker compose` command to its end and give what it prints."""
        return self.pipe(arguments).decode(errors="replace")

    def attached(self, *arguments: str) -> int:
        """Run a `docker compose` command on the caller's own streams, and give its exit code."""
        return subprocess.run(self.argv(*arguments), env=self._environment(), check=False).returncode

    def pipe(
        self,
        arguments: Sequence[str],
        *,
        into: bytes | IO[bytes] | None = None,
        out: Callable[[bytes], object] | None = None,
    ) -> bytes:
        """Run a `docker compose` command with a file or bytes as standard input and a file for its output."""
        with tempfile.TemporaryFile() as stderr:
            try:
                process = subprocess.Popen(
                    self.argv(*arguments),
                    stdin=subprocess.PIPE if into is None or isinstance(into, bytes) else into,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=self._environment(),
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise EngineUnavailable(
                    "there is no `docker` command", hint="./scripts/synos installs it"
                ) from None
            self._running.add(process)
            try:
                printed = communicate(process, into if isinstance(into, bytes) else None, out)
            finally:
                self._running.discard(process)
            stderr.seek(0)
            said = stderr.read()
        if process.returncode:
            words = (printed + said).decode(errors="replace")
            raise failure(arguments, words, self.file)
        return printed

    def containers(self) -> list[ServiceContainer]:
        """Give the containers of the services, running or not, by name; raises EngineUnavailable."""
        found = (container_of(inspected) for inspected in self._inspected())
        return sorted((one for one in found if one is not None), key=lambda one: one.name)

    def usage(self, idents: Iterable[str]) -> dict[str, Usage]:
        """Give what running containers have used, by id; those that are gone are left out."""
        if api.socket_path() is None:
            return {}
        query = {"stream": "false", "one-shot": "true"}
        told = {ident: api.get(f"/containers/{ident}/stats", query) for ident in idents}
        return {ident: usage_of(stats) for ident, stats in told.items() if stats}

    def log(self, ident: str, lines: int) -> str:
        """Give a container's last lines."""
        done = _docker("logs", f"--tail={lines}", ident)
        return (done.stdout + done.stderr).strip()

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SYNOS_", "COMPOSE_"))}
        return {**kept, **self.file.environment, "COMPOSE_ANSI": "never"}

    def _inspected(self) -> list[dict[str, Any]]:
        label = f"{LABEL_COMPOSE_PROJECT}={self.file.project}"
        if api.socket_path() is None:
            idents = _docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=label={label}").stdout.split()
            return json.loads(_docker("inspect", *idents).stdout or "[]") if idents else []
        query = {"all": "true", "filters": json.dumps({"label": [label]})}
        listed = api.get("/containers/json", query) or []
        told = (api.get(f"/containers/{one['Id']}/json") for one in listed)
        return [one for one in told if one]


def container_of(inspected: Mapping[str, Any]) -> ServiceContainer | None:
    """Read what the engine tells of a container; None for one that ran a single command."""
    labels = inspected["Config"]["Labels"] or {}
    if labels.get(LABEL_ONE_OFF) == "True":
        return None
    state = inspected["State"]
    health = state.get("Health") or {}
    checks = health.get("Log") or []
    ports = inspected["NetworkSettings"].get("Ports") or {}
    return ServiceContainer(
        service=labels.get(LABEL_COMPOSE_SERVICE, ""),
        id=inspected["Id"],
        name=inspected["Name"].lstrip("/"),
        state=state["Status"],
        health=health.get("Status", ""),
        said=checks[-1]["Output"].strip() if checks else "",
        started=moment(state["StartedAt"]),
        restarts=inspected["RestartCount"],
        exit_code=state["ExitCode"],
        killed_for_memory=bool(state.get("OOMKilled")),
        image=inspected["Image"],
        ports=tuple(
            f"{bound['HostIp']}:{bound['HostPort']}->{inside.partition('/')[0]}"
            for inside, bindings in sorted(ports.items())
            for bound in bindings or ()
        ),
        labels=labels,
    )


def usage_of(stats: Mapping[str, Any]) -> Usage:
    """Read the engine's statistics. Memory without what the kernel can take back, as `docker stats` counts it."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    reclaimable = details.get("total_inactive_file", details.get("inactive_file", 0))  # cgroup v1, v2
    return Usage(
        cpu_ns=(stats.get("cpu_stats") or {}).get("cpu_usage", {}).get("total_usage", 0),
        memory=max(memory.get("usage", 0) - reclaimable, 0),
        memory_limit=memory.get("limit", 0),
    )


def moment(text: str) -> dt.datetime | None:
    """Read the engine's time, which has nanoseconds; None for its year 1, which means never."""
    if text.startswith("0001"):
        return None
    return dt.datetime.fromisoformat(f"{text[:19]}+00:00")


def failure(
    arguments: Sequence[str], said: str, file: ComposeFile
) -> PortTaken | DiskFull | EngineUnavailable | ServiceFailed:
    """Make the error for a `docker compose` command that failed with these words."""
    why = "\n".join(said.strip().splitlines()[-12:])
    where = f"docker compose {' '.join(arguments)} ({file.path})"
    if "port is already allocated" in said or "address already in use" in said:
        return PortTaken("a port was taken in the meantime", where=where, why=why)
    if any(words in said for words in NO_ADDRESSES):
        return ServiceFailed(
            "the engine has no addresses left for another network",
            where=where,
            why=why,
            hint="`docker network ls` shows what has them: bring down stacks that are not needed; for more,"
            " set default-address-pools in /etc/docker/daemon.json (docker/services/DOCKER_DEPLOYMENT_GUIDE.md)",
        )
    if "no space left on device" in said.lower():
        return DiskFull("no space left", where=where, why=why, hint="`docker system df` shows what is used")
    if "Cannot connect to the Docker daemon" in said or "error during connect" in said:
        return EngineUnavailable("the Docker Engine went away", where=where, why=why)
    return ServiceFailed("docker compose failed", where=where, why=why)


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise EngineUnavailable("there is no `docker` command", hint="./scripts/synos installs it") from None
    if done.returncode and "Cannot connect to the Docker daemon" in done.stderr:
        raise EngineUnavailable("no Docker Engine answers", why=done.stderr.strip())
    return done
