"""A project with volumes that need no Docker: what is in one is a list of names, and so is an archive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synos_tasks.engine import cache
from synos_tasks.engine.cache import DiskUsage
from synos_tasks.engine.labels import LABEL_PROJECT, LABEL_ROLE
from synos_tasks.images.catalog import BUILDER
from synos_tasks.maint.resources import Context
from synos_tasks.maint.volumes import SOURCE
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pytest

    from synos_tasks.engine.spec import ContainerSpec

NOW = 1_800_000_000.0
PROJECT = "synos-test"


@dataclass
class Ground:
    """A project, its volumes and what is in them, and what was said."""

    context: Context
    docker: FakeDocker
    said: list[str] = field(default_factory=list)
    contents: dict[str, list[str]] = field(default_factory=dict)
    """Names of files by volume."""
    sizes: dict[str, int] = field(default_factory=dict)
    code: int = 0
    message: str = ""
    """How every container ends, where that is not well."""
    lost: int = 0
    """Names that are not unpacked."""
    while_it_runs: Callable[[], object] = lambda: None

    @property
    def exports(self) -> Path:
        return self.context.settings.project.state_dir / "volumes"

    @property
    def volumes(self) -> list[str]:
        return self.docker.names("volume")

    def labels(self, volume: str) -> dict[str, str]:
        labels: dict[str, str] = self.docker.objects["volume"][volume]["Labels"]
        return labels

    def add(
        self,
        name: str,
        *names: str,
        role: str = "cache",
        project: str = PROJECT,
        size: int = 100,
        labels: Mapping[str, str] | None = None,
    ) -> str:
        """Let there be a volume with files; return its full name."""
        full = f"{project}-{name}"
        marks = {LABEL_PROJECT: project, **({LABEL_ROLE: role} if role else {}), **(labels or {})}
        self.docker.add_volume(full, labels=marks, created="2027-01-15T08:00:00Z")
        self.contents[full], self.sizes[full] = list(names), size
        return full

    def use(self, volume: str, container: str = "app", state: str = "running") -> None:
        """Let a container have a volume."""
        self.docker.add_container(container, volumes=[volume], state=state)
        self.docker.refusals[volume] = "volume is in use"

    def run(self, spec: ContainerSpec, given: bytes) -> tuple[int, bytes, bytes]:
        """Do what find and tar would do."""
        self.while_it_runs()
        script = spec.command[-1]
        source = next((self.contents[name] for name in spec.read_only_volumes), [])
        if "--extract" not in script and "--create" not in script:
            return self.code, f"1 {len(source)} {NOW}".encode(), self.message.encode()
        out, names = b"", source
        if "--extract" in script:
            names = (source or given.decode().split())[self.lost :]
            self.contents[next(name for name, path in spec.volumes.items() if path)] = names
        elif spec.read_only_volumes[next(iter(spec.read_only_volumes))] == SOURCE:
            out = " ".join(source).encode()
        return self.code, out, f"{self.message}\nfiles: {len(names)} {10240 * len(names)}\n".encode()


def ground(root: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """Lay a project whose images are there."""
    settings, docker, said = project(root), FakeDocker(), list[str]()
    docker.add_image(BUILDER.tag(settings.project))
    context = Context(settings=settings, say=said.append, docker=docker, now=lambda: NOW)
    made = Ground(context=context, docker=docker, said=said)
    docker.on_run = made.run
    monkeypatch.setattr(cache, "socket_path", lambda: "/socket")
    usage = DiskUsage(images={}, containers={}, volumes=made.sizes, layers=0)
    monkeypatch.setattr(cache, "disk_usage", lambda *_: usage)
    return made
