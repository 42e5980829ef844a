"""The Docker client of this library, on python-on-whales.

Its objects (Container, Image, Volume, Network) are returned as snapshots: one inspect call loads all of a kind,
and their attributes never ask the engine again. The processes that this module starts itself, with the
client's own command line, do what python-on-whales cannot: each says why.

No DockerException leaves this package: it becomes an error of errors.py.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import termios
from functools import cached_property
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from synos_tasks.engine import cache
from synos_tasks.engine.buildkit import follow_build
from synos_tasks.engine.failures import errors_as_ours, gone, no_engine, reason, refusal, unanswered
from synos_tasks.engine.run import ENGINE_SPEAKS, piped
from synos_tasks.errors import EngineUnavailable, ImageBuildFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from python_on_whales import Container as Container
    from python_on_whales import DockerClient
    from python_on_whales import Image as Image
    from python_on_whales import Network as Network
    from python_on_whales import Volume as Volume
    from python_on_whales.components.system.models import SystemInfo as SystemInfo

    from synos_tasks.engine.spec import ContainerSpec

Kind = Literal["container", "image", "volume", "network"]

LIVE = ("running", "paused", "restarting", "removing")
"""States of a container whose processes may write."""


class Docker:
    """One Docker Engine. Nothing is imported or asked before the first use."""

    def __init__(self, **options: Any) -> None:
        """Keep options of DockerClient."""
        self._options = options

    @cached_property
    def client(self) -> DockerClient:
        """The client of python-on-whales, whose import takes 0.2 s."""
        from python_on_whales import DockerClient

        return DockerClient(**self._options)

    def command(self, *arguments: str) -> list[str]:
        """Return the client's command line, for a process that the caller starts."""
        with errors_as_ours("the docker command is missing"):
            return [*map(str, self.client.client_config.docker_cmd), *arguments]

    # ---- what is there

    def info(self) -> SystemInfo:
        """Return what `docker info` prints; raises EngineUnavailable."""
        with errors_as_ours("the engine could not be asked"):
            info = self.client.system.info()
        if not info.server_version:
            raise unanswered()
        return info

    def containers(self, labels: Mapping[str, str] | None = None) -> list[Container]:
        """Return all containers that have these labels, running or not, newest first."""
        return self._all("container", labels)

    def images(self) -> list[Image]:
        """Return all images, with a name or without, in no order."""
        return self._all("image")

    def volumes(self, labels: Mapping[str, str] | None = None) -> list[Volume]:
        """Return all volumes that have these labels."""
        return self._all("volume", labels)

    def networks(self) -> list[Network]:
        """Return all networks."""
        return self._all("network")

    def container(self, ref: str) -> Container | None:
        """Return a container by name or id; None where there is none."""
        return self._one("container", ref)

    def image(self, ref: str) -> Image | None:
        """Return an image by name or id; None where there is none."""
        return self._one("image", ref)

    def volume(self, name: str) -> Volume | None:
        """Return a volume; None where there is none."""
        return self._one("volume", name)

    def network(self, ref: str) -> Network | None:
        """Return a network by name or id; None where there is none."""
        return self._one("network", ref)

    def image_id(self, ref: str) -> str | None:
        """Return the id of a local image; None where there is none."""
        if cache.socket_path() is not None:  # without an import of 0.2 s
            return cache.image_id(ref)
        image = self.image(ref)
        return image.id if image else None

    def timestamps(self, ref: str) -> tuple[str, str]:
        """Return when a container was created and started, as the engine prints it: to the nanosecond.

        python-on-whales' datetimes end at microseconds.
        """
        with errors_as_ours("a container could not be inspected", where=ref):
            inspected = self._inspect("container", [ref])
        if not inspected:
            raise EngineUnavailable("the container is gone", where=ref)
        return inspected[0]["Created"], inspected[0]["State"]["StartedAt"]

    def published_ports(self) -> dict[int, str]:
        """Return the name of the container that publishes a port of this machine, by port; of any project."""
        return {
            int(binding["HostPort"]): container.name
            for container in self.containers()
            if container.state.running
            for bindings in (container.network_settings.ports or {}).values()
            for binding in bindings or ()
        }

    def host_ports(self, ref: str) -> dict[int, int]:
        """Return the port of this machine for each that a container publishes."""
        found = self.container(ref)
        ports = (found.network_settings.ports if found else None) or {}
        return {
            int(inside.partition("/")[0]): int(bindings[0]["HostPort"])
            for inside, bindings in ports.items()
            if bindings
        }

    def logs(self, ref: str, lines: int) -> str:
        """Return a container's last lines, of both its streams."""
        with errors_as_ours("a container's log could not be read", where=ref):
            stream = cast(
                "Iterable[tuple[str, bytes]]", self.client.container.logs(ref, tail=lines, stream=True)
            )
            return b"".join(line for _, line in stream).decode(errors="replace").strip()

    # ---- images

    def pull(self, ref: str, *, timeout: float) -> bool:
        """Pull an image; False where the registry does not offer it within ``timeout`` seconds."""
        # python-on-whales has no time limit, and where no registry answers the client would wait for minutes
        offered = self.command("manifest", "inspect", ref)
        try:
            subprocess.run(offered, capture_output=True, timeout=timeout, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
        try:
            with errors_as_ours("an image could not be pulled", where=ref):
                self.client.image.pull(ref, quiet=True)
        except EngineUnavailable:
            return False
        return True

    def import_image(self, archive: IO[bytes], ref: str, changes: Sequence[str]) -> None:
        """Make an image of a tar stream; raises ImageBuildFailed."""
        # python-on-whales imports from a path only
        argv = self.command("import", *(f"--change={change}" for change in changes), "-", ref)
        done = subprocess.run(argv, stdin=archive, capture_output=True, check=False)
        if done.returncode:
            raise ImageBuildFailed(f"{ref} could not be imported", why=done.stderr.decode().strip())

    def build_image(
        self,
        folder: Path,
        say: Callable[[str], None],
        *,
        file: Path | None = None,
        target: str | None = None,
        tags: Sequence[str] = (),
        labels: Mapping[str, str] = MappingProxyType({}),
        build_args: Mapping[str, str] = MappingProxyType({}),
        environment: Mapping[str, str] = MappingProxyType({}),
        secrets: Sequence[str] = (),
        cache: bool = True,
    ) -> None:
        """Build an image, see follow_build(). The names of ``environment`` become build arguments too."""
        # python-on-whales has the values of build arguments on the command line, where everybody reads passwords
        from python_on_whales.utils import stream_stdout_and_stderr

        options: dict[str, Sequence[object]] = {
            "file": [file] if file else [],
            "target": [target] if target else [],
            "tag": tags,
            "label": [f"{key}={value}" for key, value in labels.items()],
            "build-arg": [*(f"{key}={value}" for key, value in build_args.items()), *environment],
            "secret": secrets,
        }
        argv = self.command("buildx", "build", "--progress=plain", *([] if cache else ["--no-cache"]))
        argv += [f"--{name}={value}" for name, values in options.items() for value in values]
        stream = stream_stdout_and_stderr([*argv, str(folder)], dict(environment))
        follow_build((line.decode(errors="replace") for _, line in stream), say)

    def tag(self, ref: str, new_name: str) -> None:
        """Give an image another name."""
        with errors_as_ours("an image could not be tagged", where=ref):
            self.client.image.tag(ref, new_name)

    # ---- volumes, and removal by an exact name or id

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a volume; an existing one stays as it is."""
        with errors_as_ours("a volume could not be created", where=name):
            self.client.volume.create(name, labels=dict(labels))

    def remove_container(self, ref: str, *, force: bool = False, volumes: bool = True) -> str:
        """Remove a container, with its anonymous volumes; ``force`` kills it first.

        The four methods to remove return '' where it is gone, even if it was gone before,
        else the engine's reason to keep it.
        """
        return refusal(lambda: self.client.container.remove(ref, force=force, volumes=volumes))

    def remove_image(self, ref: str) -> str:
        """Remove a name from an image, and the image with its last; parents that have no name stay."""
        return refusal(lambda: self.client.image.remove(ref, prune=False))

    def remove_volume(self, name: str) -> str:
        """Remove a volume that no container uses."""
        return refusal(lambda: self.client.volume.remove(name))

    def remove_network(self, ref: str) -> str:
        """Remove a network that no running container is on."""
        return refusal(lambda: self.client.network.remove(ref))

    # ---- containers that run once

    def create(self, spec: ContainerSpec) -> str:
        """Create a container and return its id."""
        with errors_as_ours("a container could not be created", where=spec.image):
            return self.client.container.create(spec.image, list(spec.command), **spec.options()).id

    def attach(self, spec: ContainerSpec) -> subprocess.Popen[bytes]:
        """Create and start a container, its three streams as pipes, out of reach of the terminal's Ctrl-C."""
        # python-on-whales cannot keep standard input open
        return subprocess.Popen(
            self.command("start", "--attach", "--interactive", self.create(spec)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def pipe(
        self, spec: ContainerSpec, take: Callable[[bytes], object], stdin: bytes | IO[bytes] | None = None
    ) -> tuple[int, str]:
        """Run a container as a filter, and remove it: see piped(). Raises EngineUnavailable where it cannot start."""
        # python-on-whales has no pipes
        try:
            argv = self.command("start", "--attach", "--interactive", self.create(spec))
            code, stderr = piped(argv, stdin, take)
        finally:
            self.remove_container(spec.name, force=True)
        if code and stderr.startswith(ENGINE_SPEAKS):
            raise EngineUnavailable("a container could not be started", where=spec.image, why=stderr)
        return code, stderr

    def interact(self, spec: ContainerSpec) -> int:
        """Run a container on the caller's own streams to its end, and return its exit code."""
        try:
            argv = self.command("start", "--attach", "--interactive", self.create(spec))
            return subprocess.run(argv, check=False).returncode
        finally:  # the end of the client is not that of the container
            self.remove_container(spec.name, force=True)

    # ---- commands in containers

    def output_of(self, image: str, command: Sequence[str]) -> str:
        """Return what a command prints in a throw-away container without network and capabilities."""
        with errors_as_ours("a container could not be run", where=image):
            run = self.client.container.run
            words, networks = list(command), ["none"]
            return str(run(image, words, remove=True, networks=networks, cap_drop=["ALL"], pull="never"))

    def start(self, ref: str) -> None:
        """Start a container that is stopped."""
        with errors_as_ours("a container could not be started", where=ref):
            self.client.container.start(ref)

    def execute(
        self,
        ref: str,
        command: Sequence[str],
        *,
        user: str,
        workdir: str,
        environment: Mapping[str, str],
        attached: bool = False,
    ) -> int:
        """Run a command in a running container to its end, and return its exit code.

        It prints to standard error; ``attached``: on the caller's own streams, and a terminal where there is one.
        """
        # python-on-whales raises where a command fails, drops its standard error, and has no standard input
        terminal = attached and sys.stdin.isatty() and sys.stdout.isatty()
        argv = self.command(
            "exec",
            *(["--interactive"] if attached else []),
            *(["--tty"] if terminal else []),
            *exec_options(user, workdir, environment),
            ref,
            *command,
        )
        if not attached:
            return subprocess.call(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        saved = termios.tcgetattr(sys.stdin) if terminal else None
        try:
            return subprocess.call(argv)
        finally:
            if saved is not None:  # a client that was killed leaves it raw
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)

    # ---- snapshots

    def _all(self, kind: Kind, labels: Mapping[str, str] | None = None) -> list[Any]:
        with errors_as_ours(f"{kind}s could not be listed"):
            return self._snapshots(kind, self._refs(kind, labels))

    def _one(self, kind: Kind, ref: str) -> Any | None:
        with errors_as_ours(f"a {kind} could not be inspected", where=ref):
            return next(iter(self._snapshots(kind, [ref])), None)

    def _snapshots(self, kind: Kind, refs: Iterable[str]) -> list[Any]:
        distinct = list(dict.fromkeys(refs))
        return [snapshot(kind, data) for data in self._inspect(kind, distinct)] if distinct else []

    def _refs(self, kind: Kind, labels: Mapping[str, str] | None) -> list[str]:
        filters: Any = [("label", f"{key}={value}") for key, value in (labels or {}).items()]
        everything = {"all": True} if kind == "container" else {}
        return [str(one) for one in getattr(self.client, kind).list(filters=filters, **everything)]

    def _inspect(self, kind: Kind, refs: Sequence[str]) -> list[dict[str, Any]]:
        """Return what inspect prints; those that went away meanwhile are left out."""
        from python_on_whales import utils

        try:
            printed = str(utils.run(self.command(kind, "inspect", *refs)))
        except gone() as error:
            if no_engine(reason(error)):  # an engine's name may have the words by which the class was chosen
                raise
            printed = str(getattr(error, "stdout", "") or "")
        return list(json.loads(printed or "[]"))


def snapshot(kind: Kind, data: Mapping[str, Any]) -> Any:
    """Return python-on-whales' object of what `docker KIND inspect` printed.

    Its attributes are those of that moment: left alone, it would ask the engine again 10 ms later.
    """
    import python_on_whales
    from python_on_whales.client_config import ClientConfig

    cls: Any = getattr(python_on_whales, kind.capitalize())
    found = cls(ClientConfig(), data["Name" if kind == "volume" else "Id"], is_immutable_id=True)
    found._set_inspect_result(found._parse_json_object(data))
    found._last_refreshed_time = dt.datetime.max
    return found


def exec_options(user: str, workdir: str, environment: Mapping[str, str]) -> list[str]:
    """Return the options of `docker exec` for a user, a folder and variables."""
    variables = (f"--env={key}={value}" for key, value in sorted(environment.items()))
    return [f"--user={user}", f"--workdir={workdir}", *variables]
