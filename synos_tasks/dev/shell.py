"""Goes into a development container that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.engine.running import options_of
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.session import Session
    from synos_tasks.engine.running import Running

SHELL = ("bash", "--login")


def run(session: Session, config: DevContainer, command: Sequence[str]) -> int:
    """Run a command, or a shell, on the caller's own streams; gives its exit code. Raises DevContainerMissing."""
    container = session.running(config)
    remember(session, config, container)
    return session.containers.attached(container.id, config.inside, command or SHELL)


def remember(session: Session, config: DevContainer, container: Running) -> None:
    """Leave what `docker exec` needs for scripts/synos, which is quicker than inv.

    The container's id, the file that it is made by, and the options, a line each.
    """
    lines = [container.id, str(config.path), *options_of(config.inside)]
    if any("\n" in line for line in lines):
        return
    for path in _paths(session, config):
        write_whole(path, "".join(f"{line}\n" for line in lines))


def forget(session: Session, config: DevContainer) -> None:
    """Take back what remember() left."""
    for path in _paths(session, config):
        path.unlink(missing_ok=True)


def _paths(session: Session, config: DevContainer) -> list[Path]:
    """Give a file for the container's name, and one for `dev.shell` without a name where it is meant by that."""
    names = [config.name, *(["default"] if config.name == session.settings.dev.name else [])]
    return [session.state / f"{name}.shell" for name in names]
