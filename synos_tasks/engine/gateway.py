"""Docker, wrapped once. A DockerException never leaves this file: it becomes an error of ours."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from synos_tasks.engine import rawjson
from synos_tasks.engine.spec import LABEL_BASE, LABEL_PROJECT, LABEL_ROLE, ContainerSpec, run_argv
from synos_tasks.errors import EngineTooOld, EngineUnavailable, ImageBuildFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from python_on_whales import Container, DockerClient

MINIMUM_ENGINE = (23, 0)
MINIMUM_BUILDX = (0, 13)
MINIMUM_COMPOSE = (2, 0)


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What the engine says of itself and of the machine it runs on. Memory in MB; versions as printed, '' = missing."""

    version: str
    buildx: str
    compose: str
    cpus: int
    memory_mb: int
    root_dir: str


@dataclass(frozen=True, kw_only=True)
class ContainerFacts:
    """One container of ours."""

    id: str
    name: str
    state: str
    role: str


class Engine(Protocol):
    """What the rooms need of Docker; a fake in the unit tests implements it too."""

    def facts(self) -> EngineFacts:
        """Ask the engine; raises EngineUnavailable."""
        ...

    def image_id(self, tag: str) -> str | None:
        """Id of a local image, None where there is none."""
        ...

    def pull(self, tag: str, *, timeout: float) -> bool:
        """Pull an image; False when the registry does not answer with it in ``timeout`` seconds."""
        ...

    def start(self, spec: ContainerSpec, *, stdin: int | IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Start `docker run` for a spec, its three streams as pipes, out of reach of the terminal's Ctrl-C."""
        ...

    def import_image(self, archive: IO[bytes], tag: str, changes: Sequence[str]) -> None:
        """Make an image of a tar stream."""
        ...

    def tag(self, tag: str, new_tag: str) -> None:
        """Give an image another name."""
        ...

    def untag(self, tag: str) -> None:
        """Take a name from an image; silent when it is gone."""
        ...

    def remove_nameless(self, ident: str, project: str) -> None:
        """Remove an image of a project that has no name left; leaves it alone where it has one, or is in use."""
        ...

    def build(self, arguments: Sequence[str], on_event: Callable[[dict[str, Any]], None]) -> None:
        """Run `docker buildx build` and hand on its rawjson events; raises ImageBuildFailed."""
        ...

    def containers(self, project: str) -> list[ContainerFacts]:
        """All containers that this project made, running or not."""
        ...

    def remove_container(self, ident: str) -> None:
        """Kill and remove a container, with its anonymous volumes; silent when it is gone."""
        ...

    def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a labelled volume unless it exists; raises EngineUnavailable."""
        ...

    def volume_exists(self, name: str) -> bool:
        """Tell whether there is a volume of that name."""
        ...

    def remove_volume(self, name: str) -> None:
        """Remove a volume; silent when it is gone or in use."""
        ...

    def volume_names(self, project: str) -> list[str]:
        """Names of the volumes with this project's label."""
        ...

    def published_ports(self) -> dict[int, str]:
        """Name of the running container that publishes a port of this machine, by port; of any project."""
        ...

    def image_bytes(self, tag: str) -> int:
        """Size of a local image in bytes; 0 where there is none."""
        ...

    def interact(self, spec: ContainerSpec) -> int:
        """Run a container on the caller's own streams to its end, and give its exit code."""
        ...

    def output_of(self, image: str, command: Sequence[str]) -> str:
        """Give what a command prints in a throw-away container of an image; raises EngineUnavailable."""
        ...


class DockerEngine:
    """The real thing, through the Docker CLI."""

    def __init__(self) -> None:
        """Touch nothing yet: python_on_whales is imported at first use."""
        self._client: DockerClient | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Give what only the new client has, to callers that were moved to it."""
        from synos_tasks.engine.client import Docker  # noqa: PLC0415

        return getattr(Docker(), name)

    def _docker(self) -> DockerClient:
        if self._client is None:
            from python_on_whales import DockerClient  # noqa: PLC0415  (heavy, and not needed for --list)

            self._client = DockerClient()
        return self._client

    def facts(self) -> EngineFacts:
        """Ask the engine; raises EngineUnavailable."""
        template = '{"v":{{json .ServerVersion}},"c":{{json .NCPU}},"m":{{json .MemTotal}},"r":{{json .DockerRootDir}},"e":{{json .ServerErrors}}}'
        done = _output(["docker", "info", "--format", template])
        try:
            info = json.loads(done.stdout)
        except ValueError:
            info = {}
        if done.returncode != 0 or not info.get("v"):
            raise EngineUnavailable(
                "no Docker Engine answers",
                where=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
                why="; ".join(info.get("e") or []) or done.stderr.strip(),
                hint="./scripts/synos installs and starts one; `inv doctor` tells more",
            )
        return EngineFacts(
            version=info["v"],
            buildx=_plugin_version("buildx"),
            compose=_plugin_version("compose"),
            cpus=info["c"],
            memory_mb=info["m"] // 2**20,
            root_dir=info["r"],
        )

    def image_id(self, tag: str) -> str | None:
        """Id of a local image, None where there is none."""
        done = _output(["docker", "image", "inspect", "--format", "{{.Id}}", tag])
        return done.stdout.strip() or None if done.returncode == 0 else None

    def pull(self, tag: str, *, timeout: float) -> bool:
        """Pull an image; False when the registry does not answer with it in ``timeout`` seconds."""
        try:
            subprocess.run(
                ["docker", "manifest", "inspect", tag], capture_output=True, timeout=timeout, check=True
            )
            subprocess.run(["docker", "pull", "--quiet", tag], capture_output=True, timeout=600, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
        return True

    def start(self, spec: ContainerSpec, *, stdin: int | IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Start `docker run` for a spec, its three streams as pipes, out of reach of the terminal's Ctrl-C."""
        return subprocess.Popen(
            run_argv(spec),
            stdin=subprocess.PIPE if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def import_image(self, archive: IO[bytes], tag: str, changes: Sequence[str]) -> None:
        """Make an image of a tar stream."""
        argv = ["docker", "import", *(f"--change={change}" for change in changes), "-", tag]
        done = subprocess.run(argv, stdin=archive, capture_output=True, check=False)
        if done.returncode:
            raise ImageBuildFailed(f"{tag} could not be imported", why=done.stderr.decode().strip())

    def tag(self, tag: str, new_tag: str) -> None:
        """Give an image another name."""
        subprocess.run(["docker", "tag", tag, new_tag], check=True, capture_output=True)

    def untag(self, tag: str) -> None:
        """Take a name from an image; silent when it is gone."""
        _output(["docker", "rmi", tag])

    def remove_nameless(self, ident: str, project: str) -> None:
        """Remove an image of a project that has no name left; leaves it alone where it has one, or is in use."""
        marks = (f'{{{{index .Config.Labels "{name}"}}}}' for name in (LABEL_PROJECT, LABEL_BASE))
        template = f"{{{{len .RepoTags}}}} {' '.join(marks)}"
        done = _output(["docker", "image", "inspect", "--format", template, ident])
        names, *marked = done.stdout.split() or ["1"]
        if done.returncode == 0 and names == "0" and project in marked:
            _output(["docker", "image", "rm", ident])

    def build(self, arguments: Sequence[str], on_event: Callable[[dict[str, Any]], None]) -> None:
        """Run `docker buildx build` and hand on its rawjson events; raises ImageBuildFailed."""
        argv = ["docker", "buildx", "build", "--progress=rawjson", *arguments]
        tail: list[str] = []
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None  # noqa: S101  (for the type checker)
            for event in rawjson.events(line.decode(errors="replace") for line in process.stderr):
                if isinstance(event, str):
                    tail = [*tail[-20:], event]
                else:
                    on_event(event)
        if process.returncode:
            raise ImageBuildFailed(
                "an image could not be built",
                where=" ".join(argv),
                why="\n".join(tail).strip(),
                hint="the same command without --progress=rawjson shows everything",
            )

    def containers(self, project: str) -> list[ContainerFacts]:
        """All containers that this project made, running or not.

        The label alone does not tell: whoever starts one of our images by hand gets the image's.
        """
        listed = self._docker().container.list(all=True, filters=[("label", f"{LABEL_PROJECT}={project}")])
        told = (_facts_of(container) for container in listed)
        return [one for one in told if one and one.name.startswith(f"{project}-")]

    def remove_container(self, ident: str) -> None:
        """Kill and remove a container, with its anonymous volumes; silent when it is gone."""
        _output(["docker", "rm", "--force", "--volumes", ident])

    def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a labelled volume unless it exists; raises EngineUnavailable."""
        argv = [
            "docker",
            "volume",
            "create",
            *(f"--label={key}={value}" for key, value in labels.items()),
            name,
        ]
        done = _output(argv)
        if done.returncode:
            raise EngineUnavailable("a volume could not be made", where=name, why=done.stderr.strip())

    def volume_exists(self, name: str) -> bool:
        """Tell whether there is a volume of that name."""
        return _output(["docker", "volume", "inspect", name]).returncode == 0

    def remove_volume(self, name: str) -> None:
        """Remove a volume; silent when it is gone or in use."""
        _output(["docker", "volume", "rm", name])

    def volume_names(self, project: str) -> list[str]:
        """Names of the volumes with this project's label."""
        return _output(
            ["docker", "volume", "ls", "--quiet", f"--filter=label={LABEL_PROJECT}={project}"]
        ).stdout.split()

    def published_ports(self) -> dict[int, str]:
        """Name of the running container that publishes a port of this machine, by port; of any project."""
        lines = _output(["docker", "ps", "--format", "{{.Names}}\t{{.Ports}}"]).stdout.splitlines()
        return {
            port: name
            for name, _, ports in (line.partition("\t") for line in lines)
            for port in host_ports(ports)
        }

    def image_bytes(self, tag: str) -> int:
        """Size of a local image in bytes; 0 where there is none."""
        done = _output(["docker", "image", "inspect", "--format", "{{.Size}}", tag])
        return int(done.stdout) if done.returncode == 0 else 0

    def interact(self, spec: ContainerSpec) -> int:
        """Run a container on the caller's own streams to its end, and give its exit code."""
        try:
            return subprocess.run(run_argv(spec), check=False).returncode
        finally:  # the end of `docker run` is not that of its container
            self.remove_container(spec.name)

    def output_of(self, image: str, command: Sequence[str]) -> str:
        """Give what a command prints in a throw-away container of an image; raises EngineUnavailable."""
        argv = ["docker", "run", "--rm", "--network=none", "--cap-drop=ALL", image, *command]
        done = _output(argv)
        if done.returncode:
            raise EngineUnavailable("a container could not be run", where=image, why=done.stderr.strip())
        return done.stdout


def check_versions(facts: EngineFacts) -> None:
    """Raise EngineTooOld, naming every part that is missing or too old."""
    wanted = [
        ("Docker Engine", facts.version, MINIMUM_ENGINE),
        ("docker buildx", facts.buildx, MINIMUM_BUILDX),
        ("docker compose", facts.compose, MINIMUM_COMPOSE),
    ]
    wrong = [
        f"{name} {have or 'missing'}, needed: {'.'.join(map(str, least))}"
        for name, have, least in wanted
        if version_tuple(have) < least
    ]
    if wrong:
        raise EngineTooOld(
            "the engine is not fit", why="; ".join(wrong), hint="./scripts/synos installs what is missing"
        )


def host_ports(text: str) -> list[int]:
    """Read the ports of this machine in what `docker ps` prints, as ``127.0.0.1:80->80/tcp, [::]:8000-8002->...``."""
    found: list[int] = []
    for part in text.split(","):
        bound, arrow, _ = part.partition("->")
        first, _, last = bound.rpartition(":")[2].partition("-")
        if arrow and first.isdigit():
            found += range(int(first), int(last or first) + 1)
    return found


def version_tuple(text: str) -> tuple[int, ...]:
    """(26, 1, 5) of '26.1.5+dfsg1'; () where there is no number."""
    numbers: list[int] = []
    for part in text.strip().lstrip("v").split(".")[:3]:
        digits = ""
        for char in part:
            if not char.isdigit():
                break
            digits += char
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _facts_of(container: Container) -> ContainerFacts | None:
    """Look at a container; None where it is gone: each is asked for by itself, after the list of them."""
    from python_on_whales.exceptions import NoSuchContainer  # noqa: PLC0415

    try:
        return ContainerFacts(
            id=container.id,
            name=container.name,
            state=container.state.status or "unknown",
            role=(container.config.labels or {}).get(LABEL_ROLE, ""),
        )
    except NoSuchContainer:
        return None


def _plugin_version(plugin: str) -> str:
    done = _output(["docker", plugin, "version"])
    words = [w for w in done.stdout.split() if version_tuple(w)] if done.returncode == 0 else []
    return words[0].lstrip("v") if words else ""


def _output(argv: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, "", "there is no `docker` command")
