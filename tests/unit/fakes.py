"""An engine that needs no Docker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from synos_tasks.engine.gateway import ContainerFacts, Engine, EngineFacts
from synos_tasks.errors import EngineUnavailable

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence

    from synos_tasks.engine.spec import ContainerSpec

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

    def facts(self) -> EngineFacts:
        if self.known is None:
            raise EngineUnavailable("no Docker Engine answers", why="connection refused")
        return self.known

    def image_id(self, tag: str) -> str | None:
        return None

    def pull(self, tag: str, *, timeout: float) -> bool:
        return False

    def tag(self, tag: str, new_tag: str) -> None:
        raise NotImplementedError

    def untag(self, tag: str) -> None:
        self.removed.append(tag)

    def start(self, spec: ContainerSpec, *, stdin: int | IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def import_image(self, archive: IO[bytes], tag: str, changes: Sequence[str]) -> None:
        raise NotImplementedError

    def build(self, arguments: Sequence[str], on_event: Callable[[dict[str, Any]], None]) -> None:
        raise NotImplementedError

    def containers(self, project: str) -> list[ContainerFacts]:
        return self.listed

    def remove_container(self, ident: str) -> None:
        self.removed.append(ident)

    def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        self.volumes[name] = dict(labels)


def as_engine(fake: FakeEngine) -> Engine:
    """Let mypy check that the fake still fits the Protocol."""
    return fake
