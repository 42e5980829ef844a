"""One stack as a command works on it: resolved once, locked against other commands, with its compose project."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.engine.old_compose import DockerCompose
from synos_tasks.errors import ServiceFailed
from synos_tasks.host.locks import held
from synos_tasks.services import images
from synos_tasks.services.stack import compose_file, resolve, state_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.engine.old_compose import Compose, ServiceContainer
    from synos_tasks.services.stack import Stack
    from synos_tasks.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Session:
    """What every command on a stack needs."""

    settings: Settings
    engine: Engine
    compose: Compose
    stack: Stack
    say: Callable[[str], None]

    def container(self, service: str) -> ServiceContainer:
        """Give the running container of a service; raises SettingsError or ServiceFailed."""
        self.stack[service]
        for one in self.compose.containers():
            if one.service == service and one.state == "running":
                return one
        raise ServiceFailed(
            f"service {service} is not running",
            where=self.compose.file.project,
            hint="inv services.up starts it",
        )


def open_session(settings: Settings, engine: Engine, stack: str, say: Callable[[str], None]) -> Session:
    """Resolve a stack. Raises SettingsError, ServiceFailed where its file has a mistake, or EngineUnavailable."""
    stack = stack or settings.services.stack
    compose = DockerCompose(compose_file(settings, stack, images.tags(settings, stack)))
    return Session(
        settings=settings, engine=engine, compose=compose, stack=resolve(stack, compose.config()), say=say
    )


@contextmanager
def alone(session: Session) -> Iterator[None]:
    """Let no other command change this stack meanwhile; waits for the one that does, and says so."""
    path = state_folder(session.settings, session.stack.name) / "lock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held(
        path, lambda: session.say(f"another command works on stack {session.stack.name}: waiting for it")
    ):
        yield
