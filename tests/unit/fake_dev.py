"""Development containers that need no Docker: a project with one configuration, and an engine that remembers."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from synos_tasks import settings
from synos_tasks.dev import config
from synos_tasks.dev.session import Session
from synos_tasks.engine.running import Inside, Running
from tests.unit.fakes import FakeEngine, as_engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.engine.old_compose import Compose, ComposeFile

GIVEN: dict[str, Any] = {
    "name": "SynOS: a test",
    "build": {"dockerfile": "../../docker/dev/Dockerfile", "context": "../..", "target": "one"},
    "workspaceFolder": "${localWorkspaceFolder}",
    "workspaceMount": "type=bind,source=${localWorkspaceFolder},target=${localWorkspaceFolder}",
    "remoteUser": "dev",
    "init": True,
    "runArgs": ["--cap-drop=ALL"],
    "securityOpt": ["no-new-privileges"],
    "mounts": ["type=volume,source=synos-${devcontainerId}-ccache,target=/var/cache/ccache"],
}


def container(labels: Mapping[str, str], **changes: Any) -> Running:  # noqa: ANN401
    """A container that runs."""
    found: dict[str, Any] = {
        "id": "1" * 64,
        "name": "quirky_name",
        "image": "an-image",
        "state": "running",
        "created": "2026-01-01T00:00:00.1Z",
        "started": "2026-01-01T00:00:01.1Z",
        "labels": dict(labels),
        "privileged": False,
        "sources": (),
    }
    return Running(**{**found, **changes})


@dataclass
class FakeContainers:
    """Remembers what was asked of it; ``marks`` are the markers in the container."""

    there: list[Running] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    """Exit code of a command, by its last word."""
    networks: set[str] = field(default_factory=set)
    rootless: bool = False
    born: dict[str, str] = field(default_factory=dict)
    """Labels of what create() makes."""

    def find(self, labels: Mapping[str, str]) -> list[Running]:
        return [one for one in self.there if labels.items() <= one.labels.items()]

    def create(self, argv: Sequence[str]) -> str:
        self.asked.append(("create", list(argv)))
        told = [word.removeprefix("--label=").partition("=") for word in argv if word.startswith("--label=")]
        ident = str(len(self.there) + 1) * 64
        self.there.insert(0, container({key: value for key, _, value in told}, id=ident))
        return self.there[0].id

    def start(self, ident: str) -> None:
        self.asked.append(("start", ident))
        self.there = [container(one.labels, started="later") for one in self.there]

    def remove(self, ident: str) -> None:
        self.there = [one for one in self.there if one.id != ident]

    def output(self, ident: str, inside: Inside, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        stage, life = command[-2:]
        due = self.marks.get(stage) != life
        self.marks[stage] = life
        return subprocess.CompletedProcess([], 0 if due else 1, "", "")

    def attached(self, ident: str, inside: Inside, command: Sequence[str]) -> int:
        self.asked.append(("attached", inside, list(command)))
        return self.codes.get(command[-1], 0)

    def told(self, ident: str, inside: Inside, command: Sequence[str]) -> int:
        self.asked.append(command[-1])
        return self.codes.get(command[-1], 0)

    def is_rootless(self) -> bool:
        return self.rootless

    def alias_volume(self, name: str, volume: str, labels: Mapping[str, str]) -> None:
        self.asked.append(("alias", name, volume))

    def give_volume(self, name: str, image: str, owner: tuple[int, int]) -> None:
        self.asked.append(("give", name, owner))

    def network_exists(self, name: str) -> bool:
        return name in self.networks


@dataclass
class FakeCompose:
    """Remembers the commands."""

    file: ComposeFile
    ran: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, *arguments: str) -> str:
        self.ran.append(arguments)
        return ""


@dataclass
class Scene:
    """A session on a project in a folder."""

    session: Session
    containers: FakeContainers
    engine: FakeEngine
    said: list[str]
    composes: list[FakeCompose]

    def config(self, name: str = "one", **changes: Any) -> DevContainer:  # noqa: ANN401
        """Write a devcontainer.json, and read it."""
        values = {key: value for key, value in {**GIVEN, **changes}.items() if value is not None}
        write(self.session.settings.root, name, json.dumps(values))
        return config.load(self.session.settings, name)


def write(root: Path, name: str, text: str) -> Path:
    """Write a devcontainer.json as it is."""
    path = root / ".devcontainer" / name / "devcontainer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def scene(root: Path, **dev: str) -> Scene:
    """Make a session that reaches nothing outside."""
    containers, engine, said = FakeContainers(), FakeEngine(), cast("list[str]", [])
    composes: list[FakeCompose] = []

    def compose(file: ComposeFile) -> Compose:
        composes.append(FakeCompose(file))
        return cast("Compose", composes[-1])

    loaded = settings.load(root, {"name": "synos", "dev": {"cli": "docker", **dev}}, record=False)
    session = Session(
        settings=replace(loaded, project_id="synos-test"),
        engine=as_engine(engine),
        containers=containers,
        say=said.append,
        compose=compose,
    )
    return Scene(session=session, containers=containers, engine=engine, said=said, composes=composes)
