"""NATS: JetStream's own snapshots, with consumers and their positions, each restored once by the client in nats-box."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from synos_tasks import archive

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.services.stack import StackContext

SERVICE = "nats"
FACTS = {"version": str, "streams": {str: {"messages": int, "consumers": int}}}
PARTS = ""
VERSION_PARTS = 2
"""Each minor version may bring a new format on disk."""
FILE = "nats.tar"
BOX = ("run", "--rm", "--no-TTY", "--no-deps", "nats-box")


def facts(context: StackContext) -> dict[str, Any]:
    """Return version, messages and consumers by stream, and the streams in memory, of which there are no snapshots."""
    streams = json.loads(context.compose.pipe((*BOX, "stream", "ls", "--json"))) or ()
    version = context.compose.pipe(("exec", "--no-TTY", SERVICE, "nats-server", "--version")).decode()
    memory = [one["config"]["name"] for one in streams if one["config"].get("storage") == "memory"]
    return {
        "version": version.split()[-1].removeprefix("v"),
        "streams": {
            one["config"]["name"]: {
                "messages": one["state"]["messages"],
                "consumers": one["state"].get("consumer_count", 0),
            }
            for one in streams
            if one["config"]["name"] not in memory
        },
        "left_out": [
            archive.left_out(f"stream {name}", "it is in memory: a restart loses it too") for name in memory
        ],
    }


def amounts(facts: Mapping[str, Any]) -> dict[str, int]:
    """Count what the facts are about."""
    streams = facts["streams"].values()
    messages, consumers = (sum(one[key] for one in streams) for key in ("messages", "consumers"))
    return {"stream": len(streams), "message": messages, "consumer": consumers}


def save(context: StackContext, into: Draft, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write a snapshot of every stream into one archive."""
    with into.file(FILE) as out:
        context.compose.pipe((*BOX, "backup"), stdout=out.write)
    return dict(facts)


def check(folder: Path, facts: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Check that the file is there; the server's own programs check what is in it."""
    if not (folder / FILE).is_file():
        raise ValueError(f"{FILE} is missing")


def load(context: StackContext, folder: Path, facts: Mapping[str, Any]) -> list[str]:  # noqa: ARG001
    """Restore every stream of the archive, in the place of one of that name."""
    with (folder / FILE).open("rb") as streams:
        context.compose.pipe((*BOX, "restore", "--replace"), stdin=streams)
    return []


def recover(context: StackContext) -> bool:  # noqa: ARG001
    """Do nothing: a stream that was just being replaced is missing, and comes with the next load()."""
    return False
