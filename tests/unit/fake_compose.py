"""A stack of services that needs no engine: its compose project, its files, and a session on both."""

from __future__ import annotations

import datetime as dt
import io
import tarfile
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from synos_tasks.engine.old_compose import Compose, ComposeFile, ServiceContainer, Usage
from synos_tasks.images.base import TRIXIE
from synos_tasks.services.session import Session
from synos_tasks.services.stack import file_of, resolve, state_folder
from synos_tasks.settings import ServicesSettings, Settings
from tests.unit.fakes import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.errors import SynosError

PROJECT = "synos-test-unified"
BEGAN = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
UIDS = {"nats": 997, "nats-box": 997, "postgres": 999, "redis": 999}
INSIDE = {"nats": 4222, "postgres": 5432, "redis": 6379}
YAML = """\
name: ${SYNOS_STACK:-synos-unified}
services:
  nats: &service {build: {context: ../.., dockerfile: docker/services/Dockerfile.nats}}
  postgres: {build: {context: ../.., dockerfile: docker/services/Dockerfile.postgres}}
  redis: {build: {context: ../.., dockerfile: docker/services/Dockerfile.redis}}
  nats-box: {<<: *service, profiles: [tools]}
"""


def container(service: str, **changes: object) -> ServiceContainer:
    """Give the container of a service that does its work."""
    told: dict[str, Any] = {
        "service": service, "id": f"id-{service}", "name": f"{PROJECT}-{service}-1", "state": "running",
        "health": "healthy", "said": "", "started": BEGAN, "restarts": 0, "exit_code": 0,
        "killed_for_memory": False, "image": f"sha256:{service}", "ports": (),
    }  # fmt: skip
    told.update(changes)
    return ServiceContainer(**told)


Look = list[ServiceContainer]


@dataclass
class FakeCompose:
    """Keeps what it was asked, and does what it was told to."""

    file: ComposeFile
    model: dict[str, Any] = field(default_factory=dict)
    here: Look = field(default_factory=list)
    """The containers there are."""
    script: list[Look | SynosError] = field(default_factory=list)
    """What the next looks see, in order; then it is ``here``."""
    asked: list[tuple[str, ...]] = field(default_factory=list)
    """All commands, run and piped, in order."""
    given: list[bytes] = field(default_factory=list)
    """The input of each of those."""
    streams: list[tuple[str, ...]] = field(default_factory=list)
    """Commands on the caller's own streams."""
    code: int = 0
    """Exit code of those."""
    printed: dict[str, bytes] = field(default_factory=dict)
    """What a command prints, by any part of it or of its input."""
    fails: dict[str, BaseException] = field(default_factory=dict)
    """How a command fails, by a part as well."""
    acts: dict[str, Callable[[tuple[str, ...]], object]] = field(default_factory=dict)
    """What a command does, by a part as well."""
    used: dict[str, Usage] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    """Last lines by container."""
    stopped: int = 0

    def config(self) -> dict[str, Any]:
        return self.model

    def run(self, *arguments: str) -> str:
        return self.pipe(arguments).decode()

    def attached(self, *arguments: str) -> int:
        self.streams.append(arguments)
        return self.code

    def stop(self) -> None:
        self.stopped += 1

    def containers(self) -> list[ServiceContainer]:
        seen = self.script.pop(0) if self.script else self.here
        if isinstance(seen, list):
            return sorted(seen, key=lambda one: one.name)
        raise seen

    def usage(self, idents: Iterable[str]) -> dict[str, Usage]:
        return {ident: self.used[ident] for ident in idents if ident in self.used}

    def log(self, ident: str, lines: int) -> str:
        return "\n".join(self.logs.get(ident, "").splitlines()[-lines:])

    def pipe(
        self,
        arguments: Sequence[str],
        *,
        into: bytes | IO[bytes] | None = None,
        out: Callable[[bytes], object] | None = None,
    ) -> bytes:
        taken = into if isinstance(into, bytes) else into.read() if into else b""
        self.asked.append(tuple(arguments))
        self.given.append(taken)
        text = f"{' '.join(arguments)}\n{taken.decode(errors='replace')}"
        for error in (error for part, error in self.fails.items() if part in text):
            raise error
        for act in [act for part, act in self.acts.items() if part in text]:
            act(tuple(arguments))
        answer = next((said for part, said in self.printed.items() if part in text), b"")
        if out is None:
            return answer
        out(answer)
        return b""

    def did(self, part: str) -> list[tuple[str, ...]]:
        """Give the commands that have these words next to each other."""
        return [words for words in self.asked if part in " ".join(words)]


def as_compose(fake: FakeCompose) -> Compose:
    """Let mypy check that the fake still fits the Protocol."""
    return fake


def model(settings: Settings) -> dict[str, Any]:
    """Give a stack as `docker compose config --format=json` prints it, without what nobody reads."""
    mounted = state_folder(settings, "unified") / "mounted"
    services: dict[str, Any] = {}
    for name, uid in UIDS.items():
        secret = f"{name.removesuffix('-box')}_password"
        told: dict[str, Any] = {
            "command": None, "entrypoint": ["sh", "/etc/synos/start"], "image": f"synos-{name}:1",
            "user": f"{uid}:{uid}", "secrets": [{"source": secret, "target": f"/run/secrets/{secret}"}],
            "volumes": [
                {"type": "bind", "source": f"/x/{name}", "target": "/etc/synos", "read_only": True},
                {"type": "volume", "source": name, "target": "/data", "volume": {}},
            ],
        }  # fmt: skip
        if name in INSIDE:
            port = getattr(settings.services, f"{name}_port")
            told["ports"] = [
                {
                    "mode": "ingress",
                    "host_ip": "127.0.0.1",
                    "target": INSIDE[name],
                    "published": f"{port}",
                    "protocol": "tcp",
                }
            ]
        else:
            told["profiles"] = ["tools"]
        services[name] = told
    return {
        "name": PROJECT,
        "secrets": {
            f"{name}_password": {
                "name": f"{PROJECT}_{name}_password",
                "file": f"{mounted}/{UIDS[name]}/{name}_password",
            }
            for name in INSIDE
        },
        "services": services,
        "volumes": {name: {"name": f"{PROJECT}_{name}"} for name in UIDS},
    }


def lay_services(settings: Settings) -> None:
    """Write what a stack is made of."""
    folder = settings.root / "docker/services"
    folder.mkdir(parents=True)
    (folder / "docker-compose.unified.yml").write_text(YAML)
    for name in INSIDE:
        (folder / f"Dockerfile.{name}").write_text(f"FROM base\n# {name}\n")
        (folder / name).mkdir()
        (folder / name / "start").write_text(f"exec {name}\n")


def take(spec: ContainerSpec, given: bytes) -> None:
    """Do as the helper container does that gets the secrets; the owner stays who it is."""
    for bind in spec.binds:
        with tarfile.open(fileobj=io.BytesIO(given)) as tar:
            for member in tar.getmembers():
                content = tar.extractfile(member)
                assert content is not None
                if member.name.startswith("new/"):
                    place = bind.source / member.name.removeprefix("new/")
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(content.read())


@dataclass
class Scene:
    """A stack whose engine does as it should, unless a test changes that."""

    settings: Settings
    session: Session
    compose: FakeCompose
    engine: FakeEngine
    said: list[str]

    @property
    def secrets(self) -> Path:
        """The folder of the secrets."""
        return state_folder(self.settings, "unified") / "secrets"

    def handed(self, service: str) -> str:
        """Give the password that a service got."""
        folder = state_folder(self.settings, "unified") / f"mounted/{UIDS[service]}"
        return (folder / f"{service}_password").read_text().strip()

    def runs(self, *services: str) -> None:
        """Let services be healthy."""
        self.compose.here = [container(name) for name in services or INSIDE]


def scene(root: Path, services: ServicesSettings | None = None) -> Scene:
    """Write a stack, and open a session on it, with an engine that has the base image only."""
    free = ServicesSettings(nats_port=0, postgres_port=0, redis_port=0)
    settings = Settings(root=root, project_id="synos-test", services=services or free)
    lay_services(settings)
    path = file_of(settings, "unified")
    file = ComposeFile(
        project=settings.compose_project("unified"), path=path, environment={"SYNOS_STACK": PROJECT}
    )
    compose = FakeCompose(file=file, model=model(settings))
    engine = FakeEngine(images={TRIXIE.tag: "sha256:base"}, on_start=take)
    said: list[str] = []
    session = Session(
        settings=settings, engine=engine, compose=as_compose(compose),
        stack=resolve("unified", compose.model), say=said.append,
    )  # fmt: skip

    def makes_volumes(words: tuple[str, ...]) -> None:
        engine.volumes.update({f"{PROJECT}_{name}": {} for name in UIDS if name in words})

    def starts(words: tuple[str, ...]) -> None:
        known = {one.service: one for one in compose.here}
        for name in words:
            if name in INSIDE and (name not in known or "--force-recreate" in words):
                known[name] = container(name, id=f"id-{name}-{len(compose.asked)}")
        compose.here = list(known.values())

    def removes(words: tuple[str, ...]) -> None:
        compose.here = []
        if "--volumes" in words:
            engine.volumes.clear()

    compose.acts = {"--no-start": makes_volumes, "up --detach": starts, "down": removes}
    return Scene(settings=settings, session=session, compose=compose, engine=engine, said=said)
