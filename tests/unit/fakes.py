"""An engine that needs no Docker."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, cast

from python_on_whales.components.system.models import SystemInfo

from synos_tasks import builder
from synos_tasks.build import (
    compare,
    components,
    iso_build,
    locking,
    plan_view,
    planning,
    preflight,
    reproduce,
    shell,
)
from synos_tasks.engine.gateway import ContainerFacts, Engine, EngineFacts
from synos_tasks.errors import EngineUnavailable
from synos_tasks.images import building
from synos_tasks.iso import protocol
from synos_tasks.iso.inputs import Tools
from tests.unit.fake_docker import FakeDocker

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import pytest

    from synos_tasks.engine.client import Docker
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.settings import Settings

GOOD = EngineFacts(
    version="26.1.5+dfsg1",
    buildx="0.13.1",
    compose="2.26.1-4",
    cpus=4,
    memory_mb=8000,
    root_dir="/nowhere/docker",
)


@dataclass
class FakeEngine:
    """Answers with what it was given; None as facts: no engine answers."""

    known: EngineFacts | None = GOOD
    listed: list[ContainerFacts] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    volumes: dict[str, dict[str, str]] = field(default_factory=dict)
    printed: dict[tuple[str, ...], str] = field(default_factory=dict)
    """What a command prints in a throw-away container."""
    images: dict[str, str] = field(default_factory=dict)
    """Id by tag."""
    built: list[Sequence[str]] = field(default_factory=list)
    """Arguments of each image's build."""
    published: dict[int, str] = field(default_factory=dict)
    """Container by the port it publishes."""
    ran: list[ContainerSpec] = field(default_factory=list)
    """What was run on the caller's own streams."""
    started: list[ContainerSpec] = field(default_factory=list)
    """What was started with pipes."""
    on_start: Callable[[ContainerSpec, bytes], object] = lambda *_: None
    """Does what such a container does with its input, to its end."""
    ended: tuple[int, bytes] = (0, b"")
    """Exit code and standard error of those."""

    def facts(self) -> EngineFacts:
        if self.known is None:
            raise EngineUnavailable("no Docker Engine answers", why="connection refused")
        return self.known

    def image_id(self, tag: str) -> str | None:
        return self.images.get(tag)

    def image(self, tag: str) -> Any:  # noqa: ANN401
        """What callers that were moved to the new client ask of an image."""
        ident = self.image_id(tag)
        found = SimpleNamespace(id=ident, size=1, repo_tags=[tag], config=SimpleNamespace(labels={}))
        return found if ident else None

    def info(self) -> SystemInfo:
        facts = self.facts()
        plugins = [("buildx", facts.buildx), ("compose", facts.compose)]
        return SystemInfo.model_validate(
            {
                "ServerVersion": facts.version,
                "NCPU": facts.cpus,
                "MemTotal": facts.memory_mb * 2**20,
                "DockerRootDir": facts.root_dir,
                "ClientInfo": {"Plugins": [{"Name": name, "Version": version} for name, version in plugins]},
            }
        )

    def build_image(self, arguments: Sequence[str], on_event: Callable[[dict[str, Any]], None]) -> None:
        self.build(arguments, on_event)

    def remove_image(self, ref: str) -> str:
        self.untag(ref)
        return ""

    def pull(self, tag: str, *, timeout: float) -> bool:
        return False

    def tag(self, tag: str, new_tag: str) -> None:
        self.images[new_tag] = self.images.get(tag, tag)

    def untag(self, tag: str) -> None:
        self.removed.append(tag)

    def start(self, spec: ContainerSpec, *, stdin: int | IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Start what needs its input before it does anything."""
        self.started.append(spec)
        return cast("subprocess.Popen[bytes]", FakeProcess(self, spec))

    def import_image(self, archive: IO[bytes], tag: str, changes: Sequence[str]) -> None:
        raise NotImplementedError

    def build(self, arguments: Sequence[str], on_event: Callable[[dict[str, Any]], None]) -> None:
        """Build an image with another id each time."""
        self.built.append(arguments)
        [tag] = [word.removeprefix("--tag=") for word in arguments if word.startswith("--tag=")]
        self.images[tag] = f"sha256:{len(self.built)}"

    def containers(self, project: str) -> list[ContainerFacts]:
        return self.listed

    def remove_container(self, ident: str) -> None:
        self.removed.append(ident)

    def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        self.volumes.setdefault(name, dict(labels))

    def remove_nameless(self, ident: str, project: str) -> None:
        self.removed.append(ident)

    def volume_names(self, project: str) -> list[str]:
        return list(self.volumes)

    def volume_exists(self, name: str) -> bool:
        return name in self.volumes

    def remove_volume(self, name: str) -> None:
        self.volumes.pop(name, None)
        self.removed.append(name)

    def published_ports(self) -> dict[int, str]:
        return dict(self.published)

    def image_bytes(self, tag: str) -> int:
        return 1000 * len(tag) if tag in self.images else 0

    def interact(self, spec: ContainerSpec) -> int:
        self.ran.append(spec)
        return 0

    def output_of(self, image: str, command: Sequence[str]) -> str:
        if self.known is None:
            raise EngineUnavailable("a container could not be run", where=image)
        return self.printed.get(tuple(command), "")


@dataclass
class FakeProcess:
    """A container's `docker run`, as far as those who give it all its input at once need it."""

    engine: FakeEngine
    spec: ContainerSpec
    returncode: int | None = None

    def communicate(self, given: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Let it run to its end."""
        self.engine.on_start(self.spec, given or b"")
        self.returncode, said = self.engine.ended
        return b"", said

    def kill(self) -> None:
        """Nothing runs that could be killed."""


def as_engine(fake: FakeEngine) -> Engine:
    """Let mypy check that the fake still fits the Protocol."""
    return fake


INFO = FakeDocker().info()
"""What an engine that fits says of itself."""

TOOLS = Tools(builder="tools of synos-builder", toolchain="tools of synos-toolchain")
"""What FakeContainers know of the images."""


@dataclass
class FakeContainers:
    """Stands for every container of a request: keeps what it was asked, and tells what ``answer`` gives."""

    answer: Callable[[ContainerSpec, Mapping[str, Any]], Iterable[dict[str, Any]]] = lambda *_: ()
    asked: list[tuple[ContainerSpec, Mapping[str, Any]]] = field(default_factory=list)

    def ask(
        self,
        _settings: Settings,
        docker: Docker,
        spec: ContainerSpec,
        request: protocol.Request,
        answer: type[Any],
        say: Callable[[str], object] = lambda _: None,
        on_event: Callable[[protocol.Event], object] = lambda _: None,
    ) -> Any:  # noqa: ANN401
        """Do as builder.ask() does."""
        for volume in spec.volumes:
            docker.create_volume(volume, spec.labels)
        self.asked.append((spec, protocol.encode(request)))
        answered = None
        for fields in self.answer(*self.asked[-1]):
            event = protocol.decode_event(json.loads(json.dumps(fields)))
            assert protocol.name_of(event) == fields["event"], f"no event: {fields}"
            if isinstance(event, protocol.Warn):
                say(f"warning: {event.text}")
            answered = event if isinstance(event, answer) else answered
            on_event(event)
        return answered

    @property
    def specs(self) -> list[ContainerSpec]:
        """The containers, in order."""
        return [spec for spec, _ in self.asked]

    @property
    def requests(self) -> list[Mapping[str, Any]]:
        """What they were asked, in order."""
        return [request for _, request in self.asked]

    @property
    def done(self) -> list[str]:
        """What was asked for, in order: build, resolve, compile, ..."""
        return [request["request"] for request in self.requests]


def fake_containers(monkeypatch: pytest.MonkeyPatch) -> FakeContainers:
    """Let no command start a container: the host is fit, the images are there, and so are their tools."""
    made = FakeContainers()
    # names that these modules took over from builder.py and building.py
    for module in (compare, components, iso_build, locking, plan_view, reproduce):
        assert module.ask is builder.ask
        monkeypatch.setattr(module, "ask", made.ask)
    for module in (compare, components, iso_build, locking, plan_view, planning, reproduce, shell):
        assert module.ensure_image is building.ensure_image
        monkeypatch.setattr(
            module, "ensure_image", lambda _settings, _engine, recipe, _say: f"synos-{recipe.name}"
        )
    monkeypatch.setattr(planning, "tools_of", lambda _settings, _engine, image: f"tools of {image}")

    def check(_settings: Settings, _docker: Docker, output: Path) -> SystemInfo:
        output.mkdir(parents=True, exist_ok=True)
        return INFO

    monkeypatch.setattr(preflight, "check", check)
    return made
