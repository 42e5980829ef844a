"""NATS: JetStream's own snapshots, with consumers and their positions, taken by the client in nats-box."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from synos_tasks.services.keepers.facts import count, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.services.session import Session

SERVICE = "nats"
FILE = "nats.tar"
BOX = ("run", "--rm", "--no-TTY", "--no-deps", "nats-box")


def facts(session: Session) -> dict[str, Any]:
    """Give version, and messages and consumers by stream."""
    told = json.loads(session.compose.pipe((*BOX, "stream", "ls", "--json")))
    version = session.compose.pipe(("exec", "--no-TTY", SERVICE, "nats-server", "--version")).decode()
    return {
        "version": version.split()[-1].removeprefix("v"),
        "streams": {
            one["config"]["name"]: {
                "messages": one["state"]["messages"],
                "consumers": one["state"].get("consumer_count", 0),
            }
            for one in told or ()
        },
    }


def is_empty(facts: Mapping[str, Any]) -> bool:
    """Tell whether there is no stream."""
    return not facts["streams"]


def told(facts: Mapping[str, Any]) -> str:
    """Say in a few words how much that is."""
    streams = facts["streams"].values()
    messages, consumers = (sum(one[key] for one in streams) for key in ("messages", "consumers"))
    return f"{count(len(streams), 'stream')}, {count(messages, 'message')}, {count(consumers, 'consumer')}"


def refuse(facts: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Refuse snapshots of a newer minor version: each of them may bring a new format on disk."""
    refuse_newer(facts, saved, 2, "NATS", reads="may not be able to read", version="that version")


def save(session: Session, into: Draft, facts: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Write a snapshot of every stream into one archive."""
    with into.file(FILE) as out:
        session.compose.pipe((*BOX, "backup"), out=out.write)


def load(session: Session, folder: Path) -> None:
    """Restore every stream of the archive, in the place of one of that name."""
    with (folder / FILE).open("rb") as archive:
        session.compose.pipe((*BOX, "restore", "--replace"), into=archive)


def mend(session: Session) -> bool:  # noqa: ARG001
    """Do nothing: a stream that was just being replaced is missing, and comes with the next load()."""
    return False
