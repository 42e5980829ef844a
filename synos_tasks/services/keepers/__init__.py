"""What keeps the data of a service: one module each, by the name of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from synos_tasks.services.keepers import nats, postgres, redis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.services.session import Session


class Keeper(Protocol):
    """A module that saves and loads what one service holds."""

    def facts(self, session: Session) -> dict[str, Any]:
        """Say what the service holds: version and counts, for lists. Raises ServiceFailed."""
        ...

    def is_empty(self, facts: Mapping[str, Any]) -> bool:
        """Tell whether those facts are of a service that holds nothing yet."""
        ...

    def told(self, facts: Mapping[str, Any]) -> str:
        """Say in a few words how much that is."""
        ...

    def refuse(self, facts: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
        """Raise SettingsError when a backup of those ``saved`` facts does not fit the service."""
        ...

    def save(self, session: Session, into: Draft, facts: Mapping[str, Any]) -> None:
        """Write all that the service holds, as of one moment, into files. Raises ServiceFailed, DiskFull.

        ``facts`` are those that facts() has just returned.
        """
        ...

    def load(self, session: Session, folder: Path) -> None:
        """Let the service hold what those files have, in the place of what it has. Raises ServiceFailed, DiskFull."""
        ...

    def mend(self, session: Session) -> bool:
        """Put right what a load() left that was killed; tells whether there was anything. Raises ServiceFailed."""
        ...


KEEPERS: dict[str, Keeper] = {"nats": nats, "postgres": postgres, "redis": redis}
