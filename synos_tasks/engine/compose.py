"""One compose project through python-on-whales: its files, its variables, and what goes through its pipes."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, cast

from synos_tasks.engine.buildkit import follow_build
from synos_tasks.engine.client import Docker
from synos_tasks.engine.failures import errors_as_ours, no_engine, reason, unanswered
from synos_tasks.engine.labels import (
    LABEL_COMPOSE_NUMBER,
    LABEL_COMPOSE_ONE_OFF,
    LABEL_COMPOSE_PROJECT,
    LABEL_COMPOSE_SERVICE,
)
from synos_tasks.engine.run import afterwards, piped
from synos_tasks.errors import DiskFull, EngineUnavailable, PortTaken, ServiceFailed, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.engine.client import Container

NO_ADDRESSES = (  # until Engine 27, and since
    "could not find an available, non-overlapping IPv4 address pool",
    "all predefined address pools have been fully subnetted",
)
LINE_BYTES = 2**16
MARK = "SYNOS_COMMAND"
"""Variable by which the processes of one command are found in a container."""
KILL = """
for signal in INT TERM KILL; do
    left=
    for one in /proc/[0-9]*; do
        if grep -q "$1" "$one/environ" 2>/dev/null && kill -$signal "${one#/proc/}" 2>/dev/null; then left=yes; fi
    done
    [ "$left" ] || exit 0
    sleep 0.3
done
"""
PREFIXES = ("SYNOS_", "COMPOSE_")
"""Variables of the caller that must not change what the file means."""


@dataclass(kw_only=True)
class Compose:
    """One compose project: a file, with the variables for its interpolation. Nothing is asked before the first use."""

    project: str
    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[Path, ...] = ()
    """Further files, of which a later one wins."""

    @cached_property
    def docker(self) -> Docker:
        """The client for this project."""
        # python-on-whales passes the caller's environment on: `env` sets this project's in front of the command
        unset = [f"--unset={name}" for name in os.environ if name.startswith(PREFIXES)]
        variables = {**self.environment, "COMPOSE_ANSI": "never"}
        return Docker(
            client_call=["env", *unset, *(f"{key}={value}" for key, value in variables.items()), "docker"],
            compose_files=[self.path, *self.overrides],
            compose_project_name=self.project,
            compose_profiles=["*"],
        )

    def config(self) -> dict[str, Any]:
        """Return the resolved model, with every profile; raises ServiceFailed where the file has a mistake."""
        with self._failures("config"):
            return dict(self.docker.client.compose.config(return_json=True))

    def up(
        self, *services: str, recreate: bool = False, start: bool = True, dependencies: bool = False
    ) -> None:
        """Create what is missing or changed, and start it; never builds. Raises as run() does."""
        with self._failures("up", *services):
            self.docker.client.compose.up(
                list(services),
                detach=start,
                start=start,
                no_build=True,
                force_recreate=recreate,
                dependencies=dependencies,
                quiet=True,
            )

    def build(self, service: str, say: Callable[[str], None], *, cached: bool) -> None:
        """Build the image of a service, if its file says how; see follow_build()."""
        build = self.docker.client.compose.build
        stream = build(service, cache=cached, progress="plain", stream_logs=True)
        follow_build((line.decode(errors="replace") for _, line in stream), say)

    def stop(self, service: str) -> None:
        """Stop a service."""
        with self._failures("stop", service):
            self.docker.client.compose.stop(service)

    def down(self, *, volumes: bool = False) -> None:
        """Remove containers and networks, and with ``volumes`` the data."""
        with self._failures("down"):
            self.docker.client.compose.down(volumes=volumes, quiet=True)

    def containers(self) -> dict[str, Container]:
        """Return the containers of the services, running or not, by replica_names(); raises EngineUnavailable."""
        found: dict[str, dict[int, Container]] = {}
        for one in reversed(self.docker.containers({LABEL_COMPOSE_PROJECT: self.project})):
            labels = one.config.labels or {}
            if labels.get(LABEL_COMPOSE_ONE_OFF) != "True":
                found.setdefault(service_of(one), {})[int(labels.get(LABEL_COMPOSE_NUMBER, 1))] = one
        return {
            name: numbered[number]
            for service, numbered in found.items()
            for name, number in zip(replica_names(service, len(numbered)), sorted(numbered), strict=True)
        }

    def run(self, *arguments: str) -> str:
        """Run any other compose command to its end and return what it prints.

        Raises PortTaken, DiskFull, EngineUnavailable or ServiceFailed.
        """
        return self.pipe(arguments).decode(errors="replace")

    def attached(self, verb: str, *arguments: str) -> int:
        """Run compose exec or run on the caller's own streams, and return its exit code.

        What runs in the container ends with this process, in whatever way that ends. Raises as command() does.
        """
        token = f"synos-{os.urandom(8).hex()}"
        if verb == "exec":
            service = next(word for word in arguments if not word.startswith("-"))
            marked = (verb, f"--env={MARK}={token}", *arguments)
            kill = self.command("exec", "--no-TTY", service, "sh", "-c", KILL, "sh", f"{MARK}={token}")
        else:
            marked = (verb, f"--name={token}", *arguments)
            kill = [*self.docker.command("rm"), "--force", token]
        with afterwards(kill):
            return subprocess.run(self.command(*marked), check=False).returncode

    def show(self, *arguments: str, out: Callable[[str], object]) -> int:
        """Run a compose command, call ``out`` with each line that it prints, made printable(), and return its exit code."""
        with subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE) as process:
            output = cast("IO[bytes]", process.stdout)
            try:
                while line := output.readline(LINE_BYTES):
                    out(printable(line.decode(errors="replace")))
            except BaseException:  # as of `| head`
                process.kill()
                raise
        return process.returncode

    def pipe(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes | IO[bytes] | None = None,
        stdout: Callable[[bytes], object] | None = None,
    ) -> bytes:
        """Run a compose command with a file, or a few bytes, as its input; ``stdout`` is called with chunks of its output.

        Returns what it prints where ``stdout`` is None. Raises as run() does.
        """
        # python-on-whales has no pipes
        printed: list[bytes] = []
        code, complaints = piped(self.command(*arguments), stdin, stdout or printed.append)
        output = b"".join(printed)
        if code:
            raise failure(arguments, f"{output.decode(errors='replace')}\n{complaints}", self.path)
        return output

    @contextmanager
    def _failures(self, *arguments: str) -> Iterator[None]:
        from python_on_whales.exceptions import DockerException  # noqa: PLC0415

        with errors_as_ours("compose"):
            try:
                yield
            except DockerException as error:
                raise failure(arguments, reason(error), self.path) from error

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command line, which can be run again by hand."""
        self.docker.command()  # raises where there is no docker
        return [*map(str, self.docker.client.client_config.docker_compose_cmd), *arguments]


def service_of(container: Container) -> str:
    """Return the service that a container is of."""
    return (container.config.labels or {}).get(LABEL_COMPOSE_SERVICE, "")


def replica_names(service: str, count: int) -> list[str]:
    """Return the names of a service's containers: of the first the service's own, then SERVICE-2, SERVICE-3 and so on."""
    return [service, *(f"{service}-{number}" for number in range(2, count + 1))][:count]


def failure(
    arguments: Sequence[str], text: str, path: Path
) -> PortTaken | DiskFull | EngineUnavailable | ServiceFailed:
    """Return the error for a compose command that failed with these words."""
    why = "\n".join(text.strip().splitlines()[-12:])
    where = f"docker compose {' '.join(arguments)} ({path})"
    if "port is already allocated" in text or "address already in use" in text:
        return PortTaken("a port was taken in the meantime", where=where, why=why)
    if any(words in text for words in NO_ADDRESSES):
        return ServiceFailed(
            "the engine has no addresses left for another network",
            where=where,
            why=why,
            hint="`docker network ls` shows what has them: bring down stacks that are not needed; for more,"
            " set default-address-pools in /etc/docker/daemon.json (docker/services/DOCKER_DEPLOYMENT_GUIDE.md)",
        )
    if "no space left on device" in text.lower():
        return DiskFull("no space left", where=where, why=why, hint="`docker system df` shows what is used")
    if no_engine(text):
        return unanswered(where=where, why=why)
    return ServiceFailed("docker compose failed", where=where, why=why)
