"""An engine that needs no Docker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from synos_tasks import builder
from synos_tasks.build import planning
from synos_tasks.build.planning import Context
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.iso import codec, protocol
from synos_tasks.iso.plan import Tools
from tests.unit.fake_docker import FakeDocker

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
        context: Context,
        spec: ContainerSpec,
        request: protocol.Request,
        answer: type[Any],
        on_event: Callable[[protocol.Event], object] = lambda _: None,
    ) -> Any:  # noqa: ANN401
        """Do as builder.ask() does."""
        for volume in spec.volumes:
            context.docker.create_volume(volume, spec.labels)
        self.asked.append((spec, codec.encode(request)))
        answered = None
        for fields in self.answer(*self.asked[-1]):
            event = protocol.decode_event(json.dumps(fields).encode())
            assert event.sent_as == fields["event"], f"no event: {fields}"
            if isinstance(event, protocol.Warn):
                context.say(f"warning: {event.text}")
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
    monkeypatch.setattr(builder, "ask", lambda *arguments, **_: made.ask(*arguments))
    monkeypatch.setattr(Context, "image", lambda _context, recipe: f"synos-{recipe.name}")
    monkeypatch.setattr(planning, "tools_of", lambda _context, recipe: f"tools of synos-{recipe.name}")
    monkeypatch.setattr(
        planning, "preflight", lambda _context, output: output.mkdir(parents=True, exist_ok=True)
    )
    return made
