"""An engine that needs no Docker."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
from synos_tasks.images import building
from synos_tasks.iso import protocol
from synos_tasks.iso.inputs import Tools
from tests.unit.fake_docker import FakeDocker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import pytest
    from python_on_whales.components.system.models import SystemInfo

    from synos_tasks.engine.client import Docker
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.settings import Settings

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
