"""A restore that was killed: known by a mark on the disk, and put right by whichever command comes next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from synos_tasks.iso.scratch import write_whole
from synos_tasks.services.keepers import KEEPERS
from synos_tasks.services.stack import state_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from synos_tasks.services.session import Session

MARK = "restoring"


@contextmanager
def marked(session: Session, said: str) -> Iterator[None]:
    """Leave a mark for as long as services are loaded, and afterwards where that fails or is killed.

    ``said``: what is to be told to whoever finds it.
    """
    mark = _mark(session)
    write_whole(mark, f"{said}\n", 0o600)
    yield
    mark.unlink(missing_ok=True)


def finish(session: Session, services: Iterable[str]) -> None:
    """Mend these running services if there is a mark, which costs nothing where there is none. Raises ServiceFailed.

    The mark goes when all that hold data were among them.
    """
    mark = _mark(session)
    if not mark.exists():
        return
    named = set(services)
    mend(session, named)
    if all(service.name in named for service in session.stack.running if service.name in KEEPERS):
        session.say(mark.read_text().strip())
        mark.unlink()


def mend(session: Session, services: Iterable[str]) -> None:
    """Let each of these running services be as if no restore had been interrupted. Raises ServiceFailed."""
    for service in services:
        if service in KEEPERS and KEEPERS[service].mend(session):
            session.say(f"{service}: put right what an interrupted restore had left")


def _mark(session: Session) -> Path:
    return state_folder(session.settings, session.stack.name) / MARK
