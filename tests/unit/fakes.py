"""An engine that needs no Docker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from synos_tasks import builder
from synos_tasks.build import planning
from synos_tasks.build.planning import Context
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.iso import codec, protocol
from synos_tasks.iso.components import recipe
from synos_tasks.iso.plan import Tools
from synos_tasks.settings import Settings
from tests.unit.fake_docker import FakeDocker

DEB = b"a package"
COUNTS = {"ccache": {"hits": 3, "misses": 1}, "sccache": {"hits": 0, "misses": 0}}
"""What is delivered of each component, and what the compilers' caches count."""
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


class FakeToolchain:
    """Compiles what it is asked to, and keeps it in its stores; delivers one .deb for each component."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.docker = settings, FakeDocker()
        self.context = Context(settings, self.docker, print)
        self.stores: dict[str, set[str]] = {}
        """Keys by volume."""
        self.compiled = ""
        """The key of what no store has yet."""
        self.delivered: bytes | None = DEB
        self.link: Path | None = None
        self.all: FakeContainers = fake_containers(monkeypatch)
        self.all.answer = lambda spec, request: getattr(self, f"_{request['request']}")(spec, request)

    def store_of(self, spec: ContainerSpec) -> set[str]:
        """Return what the store of a container has, also of one that ends with it."""
        volumes = [name for name, path in spec.volumes.items() if path == "/cache"]
        return self.stores.setdefault("".join(volumes), set())

    def _compile(self, _spec: ContainerSpec, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"event": "warning", "text": "a cache is not used"}
        yield {"event": "start", "stage": f"component-{request['component']['component']['name']}"}
        self.compiled = request["component"]["key"]
        yield {"event": "compiled", "caches": COUNTS}

    def _keep(self, spec: ContainerSpec, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        store, compiled = self.store_of(spec), request["compiled"]
        for asked in request["components"]:
            component, key = codec.from_data(recipe.Component, asked["component"]), asked["key"]
            hit = key in store
            if not hit and (compiled is None or self.compiled != key):
                break
            store.add(key)
            file = f"{component.name}_1.0_amd64.deb"
            package = {
                "name": component.name, "version": "1.0", "architecture": "amd64", "file": file,
                "sha256": hashlib.sha256(DEB).hexdigest(), "bytes": len(DEB), "installed_bytes": 2048,
            }  # fmt: skip
            for bind in spec.binds:
                if bind.writable and self.link:
                    (bind.source / file).symlink_to(self.link)
                elif bind.writable and request["deliver"] and self.delivered is not None:
                    (bind.source / file).write_bytes(self.delivered)
            facts = {"packages": [package], "caches": compiled or COUNTS}
            yield {**done(component.stage, key, hit=hit, seconds=0.1), "facts": facts}
            compiled = None
        yield {"event": "kept"}


def done(name: str, key: str, *, hit: bool, seconds: float) -> dict[str, Any]:
    """Return what is told of a stage that ended."""
    return {"event": "done", "name": name, "key": key, "hit": hit, "seconds": seconds, "bytes": 5}
