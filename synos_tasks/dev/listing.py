"""What development containers there are, and how each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.dev.config import LABEL_FILE, LABEL_FOLDER, load, names

if TYPE_CHECKING:
    from synos_tasks.dev.session import Session


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One development container. ``state`` is "absent" where none was made."""

    name: str
    title: str
    """As VS Code shows it."""
    state: str
    container: str
    image: str
    started: str


def listed(session: Session) -> list[Listed]:
    """List all of this project, running or not; raises SettingsError or EngineUnavailable."""
    found = session.containers.find({LABEL_FOLDER: str(session.settings.root)})
    by_file = {container.labels.get(LABEL_FILE): container for container in reversed(found)}
    rows = []
    for name in names(session.settings):
        config = load(session.settings, name)
        container = by_file.get(str(config.path))
        rows.append(
            Listed(
                name=name,
                title=str(config.values.get("name", name)),
                state=container.state if container else "absent",
                container=container.name if container else "",
                image=container.image if container else "",
                started=container.started if container and container.state == "running" else "",
            )
        )
    return rows
