"""The variables of a stack's compose file, kept in a file: with it, plain `docker compose` sees the same stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.scratch import write_whole
from synos_tasks.services.stack import state_folder

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.services.session import Session


def path_of(session: Session) -> Path:
    """Where the file is: for `docker compose --env-file PATH --file ...`."""
    return state_folder(session.settings, session.stack.name) / "compose.env"


def write(session: Session) -> None:
    """Write the file; it holds no secret."""
    variables = session.compose.file.environment.items()
    write_whole(path_of(session), "".join(f"{key}={_quoted(told)}\n" for key, told in variables))


def _quoted(value: str) -> str:
    """Give a value as compose reads it: without quotes, ``$`` and `` #`` in a path would mean something."""
    return "'" + value.replace("'", "\\'") + "'"
