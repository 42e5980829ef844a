"""A stack of services that needs no engine: its files, its compose project, and a context on both."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, ClassVar

from synos_tasks import archive
from synos_tasks.engine.compose import Compose
from synos_tasks.engine.labels import LABEL_COMPOSE_PROJECT, LABEL_COMPOSE_SERVICE
from synos_tasks.images.catalog import TRIXIE, raw_services, replacement, service_recipes
from synos_tasks.services.adapters import nats, postgres, redis
from synos_tasks.services.stack import StackContext, file_of, resolve
from synos_tasks.settings import ServicesSettings, Settings
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import settings_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.engine.client import Container
    from synos_tasks.errors import SynosError
    from synos_tasks.services.adapters import ServiceAdapter

PROJECT = "synos-test-unified"
UIDS = {"nats": 997, "nats-box": 997, "postgres": 999, "redis": 999}
NAMES = ["nats", "postgres", "redis"]
SECRETS = [f"{name}_password" for name in NAMES]
UP = ("up", "--detach")
PORTS = {"nats": 4222, "postgres": 5432, "redis": 6379}
URLS = {"nats": "nats://synos@/", "postgres": "postgresql://synos@/synos", "redis": "redis://synos@/0"}
FREE = ServicesSettings(nats_port=0, postgres_port=0, redis_port=0)
YAML = """\
name: ${SYNOS_STACK:-synos-unified}
services:
  nats: {build: {context: ../.., dockerfile: docker/services/Dockerfile.nats}}
  postgres: {build: {context: ../.., dockerfile: docker/services/Dockerfile.postgres}}
  redis: {build: {context: ../.., dockerfile: docker/services/Dockerfile.redis}}
  nats-box: {build: {context: ../.., dockerfile: docker/services/Dockerfile.nats-box}, profiles: [tools]}
"""


@dataclass
class Commands:
    """The compose commands that were run, and what they print, do, or fail with: by any part of one, or of its input."""

    asked: list[tuple[str, ...]] = field(default_factory=list)
    given: list[bytes] = field(default_factory=list)
    """The input of each of those."""
    streams: list[tuple[str, ...]] = field(default_factory=list)
    """Commands on the caller's own streams."""
    code: int = 0
    """Exit code of those."""
    printed: dict[str, bytes] = field(default_factory=dict)
    fails: dict[str, BaseException] = field(default_factory=dict)
    acts: dict[str, Callable[[tuple[str, ...]], object]] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)

    def did(self, part: str) -> list[tuple[str, ...]]:
        """Return the commands that have these words next to each other."""
        return [words for words in self.asked if part in " ".join(words)]


class FakeCompose(Compose):
    """Plays ``commands``; a subclass for each scene has them, so that a second one of another file shares them."""

    commands: ClassVar[Commands]
    engine: ClassVar[FakeDocker]

    @property
    def docker(self) -> FakeDocker:
        return self.engine

    def config(self) -> dict[str, Any]:
        return self.commands.model

    def up(
        self, *services: str, recreate: bool = False, start: bool = True, dependencies: bool = False
    ) -> None:
        words = ["--detach" if start else "--no-start", *["--force-recreate"] * recreate]
        self.run("up", *words, *services)

    def stop(self, service: str) -> None:
        self.run("stop", service)

    def down(self, *, volumes: bool = False) -> None:
        self.run("down", *["--volumes"] * volumes)

    def attached(self, *arguments: str, out: object = None) -> int:
        self.commands.streams.append(arguments)
        return self.commands.code

    show = attached

    def pipe(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes | IO[bytes] | None = None,
        stdout: Callable[[bytes], object] | None = None,
    ) -> bytes:
        given = stdin if isinstance(stdin, bytes) else stdin.read() if stdin else b""
        self.commands.asked.append(tuple(arguments))
        self.commands.given.append(given)
        text = f"{' '.join(arguments)}\n{given.decode(errors='replace')}"
        for error in [error for part, error in self.commands.fails.items() if part in text]:
            raise error
        image = self.environment.get("SYNOS_REDIS_IMAGE", "")
        for act in [act for part, act in self.commands.acts.items() if part in text]:
            act((*arguments, image) if image.startswith("sha256:") else tuple(arguments))
        answer = next((printed for part, printed in self.commands.printed.items() if part in text), b"")
        if stdout is None:
            return answer
        stdout(answer)
        return b""


@dataclass
class Scene:
    """A stack whose engine does as it should, unless a test changes that."""

    settings: Settings
    context: StackContext
    compose: Commands
    engine: FakeDocker
    said: list[str]
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def state(self) -> Path:
        return self.settings.stack_dir("unified")

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    def mounted(self, service: str) -> str:
        """Return the password that a service has mounted."""
        return (self.state / f"mounted/{service}_password").read_text().strip()

    def containers(self) -> dict[str, Container]:
        return self.context.compose.containers()

    def container(self, service: str, **changes: object) -> str:
        """Let a service have a new container that works, but for ``changes``; returns its id."""
        self.remove(service)
        told: dict[str, Any] = {
            "health": "healthy", "image": self.image(service),
            "started": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z"),
            "labels": {LABEL_COMPOSE_PROJECT: PROJECT, LABEL_COMPOSE_SERVICE: service},
            "binds": [str(self.state / f"mounted/{service}_password")], **changes,
        }  # fmt: skip
        return self.engine.add_container(f"{PROJECT}-{service}-{next(self.numbers)}", **told)

    def image(self, service: str) -> str:
        return self.engine.image_id(self.context.stack[service].image) or f"sha256:{service}"

    def remove(self, *services: str) -> None:
        """Remove containers; without names, all."""
        for name, one in self.containers().items():
            if not services or name in services:
                del self.engine.objects["container"][one.id]

    def runs(self, *services: str) -> None:
        """Let these services be healthy, and have no others."""
        self.remove()
        for name in services or NAMES:
            self.container(name)

    def forget(self) -> None:
        """Begin to keep what is done from here on."""
        done: tuple[list[Any], ...] = (self.compose.asked, self.compose.given, self.compose.streams)
        for kept in (*done, self.said, self.engine.built, self.engine.removed):
            kept.clear()


def model(settings: Settings) -> dict[str, Any]:
    """Return a stack as `docker compose config --format=json` prints it, without what nobody reads."""
    mounted = settings.stack_dir("unified") / "mounted"
    services: dict[str, Any] = {}
    for name, uid in UIDS.items():
        secret = f"{name.removesuffix('-box')}_password"
        told: dict[str, Any] = {
            "image": f"synos-{name}:1", "user": f"{uid}:{uid}", "secrets": [{"source": secret}],
            "volumes": [
                {"type": "bind", "source": f"/x/{name}", "target": "/etc/synos"},
                {"type": "volume", "source": name, "target": "/data"},
            ],
        }  # fmt: skip
        if name in NAMES:
            published = str(getattr(settings.services, f"{name}_port"))
            told["ports"] = [{"host_ip": "127.0.0.1", "published": published, "target": PORTS[name]}]
            told["labels"] = {"io.synos.url": URLS[name]}
        else:
            told["profiles"] = ["tools"]
        services[name] = told
    return {
        "name": PROJECT,
        "secrets": {name: {"name": f"{PROJECT}_{name}", "file": f"{mounted}/{name}"} for name in SECRETS},
        "services": services,
        "volumes": {name: {"name": f"{PROJECT}_{name}"} for name in UIDS},
    }


def lay_services(settings: Settings) -> None:
    """Write what a stack is made of."""
    folder = settings.project.root / "docker/services"
    folder.mkdir(parents=True)
    (folder / "docker-compose.unified.yml").write_text(YAML)
    for name in UIDS:
        (folder / f"Dockerfile.{name}").write_text(f"FROM base\n# {name}\n")
    for name in NAMES:
        (folder / name).mkdir()
        (folder / name / "start").write_text(f"exec {name}\n")
        (folder / name / "apply").write_text("exit 0\n")


def scene(root: Path, services: ServicesSettings = FREE) -> Scene:
    """Write a stack, and open a context on it, with an engine that has the base image only."""
    settings = settings_in(root, services=services)
    lay_services(settings)
    path, engine = file_of(settings, "unified"), FakeDocker()
    engine.add_image(TRIXIE)
    recipes = service_recipes(settings, raw_services(path))
    compose_model = model(settings)
    for name in NAMES:
        compose_model["services"][name]["image"] = replacement(settings, name)
    for name, recipe in recipes.items():
        compose_model["services"][name]["image"] = recipe.tag(settings.project)
    commands = Commands(model=compose_model)
    kind = type("SceneCompose", (FakeCompose,), {"commands": commands, "engine": engine})
    said: list[str] = []
    context = StackContext(
        settings=settings, docker=engine,
        compose=kind(project=PROJECT, path=path, environment={"SYNOS_STACK": PROJECT}),
        stack=resolve("unified", compose_model, settings.stack_dir("unified") / "mounted"),
        recipes=recipes, timeout=10, say=said.append,
    )  # fmt: skip
    here = Scene(settings=settings, context=context, compose=commands, engine=engine, said=said)
    commands.acts = _acts(here)
    return here


def _acts(here: Scene) -> dict[str, Callable[[tuple[str, ...]], object]]:
    def up(words: tuple[str, ...]) -> None:
        for name in NAMES:
            one = here.containers().get(name)
            fits = one is not None and one.state.running and one.image == here.image(name)
            if name in words and (not fits or "--force-recreate" in words):
                here.container(name)
        for name in UIDS:
            if name in words:
                here.engine.add_volume(f"{PROJECT}_{name}")

    def down(words: tuple[str, ...]) -> None:
        here.remove()
        if "--volumes" in words:
            here.engine.objects["volume"].clear()

    def rm(words: tuple[str, ...]) -> None:
        here.remove(*(word for word in words if word in NAMES))

    return {"up --detach": up, "down": down, "rm --stop": rm}


@dataclass
class FakeAdapter:
    """An adapter of a service that holds a number; keeps what was done, with all others that share its list."""

    name: str
    VERSION_PARTS: int = 1
    FACTS: Any = field(init=False)
    PARTS: str = field(init=False)
    holds: int = 0
    version: str = "1"
    done: list[str] = field(default_factory=list)
    fails_to_save: SynosError | None = None
    fails_to_load: BaseException | None = None
    loses: list[str] = field(default_factory=list)
    """Parts that save() cannot save."""
    leaves: list[str] = field(default_factory=list)
    """What load() returns."""
    broken: bool = False
    """Whether an interrupted load() has left something."""

    def __post_init__(self) -> None:
        self.real: ServiceAdapter = {"nats": nats, "postgres": postgres}.get(self.name, redis)
        self.FACTS, self.PARTS = self.real.FACTS, self.real.PARTS

    def facts(self, context: StackContext) -> dict[str, Any]:
        things = {
            str(number): {"owner": "app", "bytes": 1, "tables": 1, "rows": 1, "messages": 1, "consumers": 0}
            for number in range(self.holds)
        }
        kinds = {"nats": {"streams": things}, "postgres": {"databases": things}}
        return {"version": self.version, **kinds.get(self.name, {"keys": {"db0": self.holds}})}

    def amounts(self, facts: Mapping[str, Any]) -> dict[str, int]:
        return self.real.amounts(facts)

    def save(self, context: StackContext, into: Draft, facts: Mapping[str, Any]) -> dict[str, Any]:
        self.done.append(f"save {self.name}")
        with into.file("number") as out:
            out.write(str(self.count(facts)).encode())
        if self.fails_to_save:
            raise self.fails_to_save
        lost = [archive.left_out(f"database {name}", "broken", data=True) for name in self.loses]
        return {**facts, "left_out": [*(facts.get("left_out") or ()), *lost]}

    def load(self, context: StackContext, folder: Path, facts: Mapping[str, Any]) -> list[str]:
        self.done.append(f"load {self.name}")
        if self.fails_to_load:
            raise self.fails_to_load
        self.holds = int((folder / "number").read_text())
        return self.leaves

    def check(self, folder: Path, facts: Mapping[str, Any]) -> None:
        if not (folder / "number").is_file():
            raise ValueError("number is missing")

    def recover(self, context: StackContext) -> bool:
        was, self.broken = self.broken, False
        if was:
            self.done.append(f"recover {self.name}")
        return was

    def count(self, facts: Mapping[str, Any]) -> int:
        return len(facts.get("streams", facts.get("databases", ()))) or sum(facts.get("keys", {}).values())


FITS: type[ServiceAdapter] = FakeAdapter  # mypy compares them
