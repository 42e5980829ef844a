"""A project with development containers, on an engine in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from synos_tasks import settings
from synos_tasks.dev import config
from synos_tasks.dev.containers import Context
from synos_tasks.dev.starting import WAS_RUN
from synos_tasks.engine import cache
from synos_tasks.engine.compose import Compose
from tests.unit.fake_docker import FakeDocker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pytest

    from synos_tasks.dev.config import DevContainer

GIVEN: dict[str, Any] = {
    "name": "SynOS: a test",
    "dockerComposeFile": ["../../docker/dev/docker-compose.yml", "../../.synos/dev/one.yml"],
    "service": "dev",
    "workspaceFolder": "${localWorkspaceFolder}",
    "remoteUser": "dev",
}
IMAGE = "synos-dev-one:synos-test"


@dataclass
class Project:
    """A context on a project in a folder. ``commands``: what ran in containers, but for the markers' scripts."""

    context: Context
    docker: FakeDocker
    said: list[str] = field(default_factory=list)
    composed: list[tuple[str, ...]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    built: list[bool] = field(default_factory=list)
    """Images that were built, and whether the cache was used."""
    codes: dict[str, int] = field(default_factory=dict)
    """Exit codes of commands in containers, by their last word."""
    mark_code: int = 0
    """How the markers' scripts fail."""
    _marks: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.context.settings.project.root

    def config(self, name: str = "one", **changes: Any) -> DevContainer:  # noqa: ANN401
        """Write a devcontainer.json, and read it."""
        values = {key: value for key, value in {**GIVEN, **changes}.items() if value is not None}
        write(self.root, name, json.dumps(values))
        return config.load(self.context.settings, name)

    def add(self, of: DevContainer, name: str = "quirky_name", **options: Any) -> str:  # noqa: ANN401
        """Have a container of a configuration, whoever made it."""
        return self.docker.add_container(name, labels=options.pop("labels", of.labels), **options)

    def execute(self, words: Sequence[str]) -> int:
        if len(words) == 6:  # /bin/sh -c MARK sh STAGE SINCE
            due = self._marks.get(words[4]) != words[5]
            self._marks[words[4]] = words[5]
            return self.mark_code or (0 if due else WAS_RUN)
        self.commands.append(words[-1])
        return self.codes.get(words[-1], 0)


class FakeCompose(Compose):
    """Makes the container that its last file describes."""

    def __init__(self, here: Project, **given: Any) -> None:  # noqa: ANN401
        super().__init__(**given)
        self.here = here

    def build(self, service: str, say: Callable[[str], None], *, cached: bool) -> None:
        self.here.built.append(cached)

    def up(
        self, *services: str, recreate: bool = False, start: bool = True, dependencies: bool = False
    ) -> None:
        self.here.composed.append(("up", *services))
        [service] = json.loads(self.overrides[-1].read_text())["services"].values()
        self.here.docker.add_container(
            f"{self.project}-dev-1",
            image=IMAGE,
            labels=service["labels"],
            binds=[mount["source"] for mount in service.get("volumes", [])],
        )

    def down(self, *, volumes: bool = False) -> None:
        self.here.composed.append(("down",))


def write(root: Path, name: str, text: str) -> Path:
    """Write a devcontainer.json as it is."""
    path = root / ".devcontainer" / name / "devcontainer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def project(root: Path, monkeypatch: pytest.MonkeyPatch, **dev: str) -> Project:
    """Make a project that reaches nothing outside."""
    docker, said = FakeDocker(), list[str]()
    values = {"name": "synos", "dev": {"cli": "docker", **dev}}
    loaded = settings.load(root, values, record=False)
    loaded = replace(loaded, project=replace(loaded.project, id="synos-test"))
    made: Project

    def compose(**given: Any) -> Compose:  # noqa: ANN401
        return FakeCompose(made, **given)

    made = Project(Context(settings=loaded, docker=docker, say=said.append, compose=compose), docker, said)
    docker.on_execute = made.execute
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(
        cache, "is_running", lambda name: (found := docker.container(name)) and found.state.running
    )
    return made
