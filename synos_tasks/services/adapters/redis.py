"""Redis: the snapshot that a replica gets; restored while the server is stopped, as the base of its append-only file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ServiceFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.services.stack import StackContext

SERVICE = "redis"
FACTS = {"version": str, "keys": {str: int}}
VERSION_PARTS = 1
FILE = "redis.rdb"
HEALTH = "db15"
INFO = "redis-cli --user operator --askpass INFO server keyspace </run/redis/operator"


def facts(context: StackContext) -> dict[str, Any]:
    """Return version and keys by database, without the one of the health check."""
    info = context.compose.pipe(("exec", "--no-TTY", SERVICE, "sh", "-c", INFO)).decode()
    lines = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    if "redis_version" not in lines:
        raise ServiceFailed("Redis does not answer INFO", where=SERVICE, why=info.strip())
    keys = {
        name: int(text.partition("keys=")[2].partition(",")[0]) - (name == HEALTH)
        for name, text in lines.items()
        if name.startswith("db")
    }
    held = {name: count for name, count in keys.items() if count}
    return {"version": lines["redis_version"].strip(), "keys": held}


def amounts(facts: Mapping[str, Any]) -> dict[str, int]:
    """Return how much that is."""
    return {"key": sum(facts["keys"].values())}


def save(context: StackContext, into: Draft, facts: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Write the snapshot."""
    with into.file(FILE) as out:
        context.compose.pipe(("exec", "--no-TTY", SERVICE, "sh", "/etc/synos/backup"), stdout=out.write)


def check(folder: Path, facts: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Ask for the file alone: the server's own programs read it."""
    if not (folder / FILE).is_file():
        raise ValueError(f"{FILE} is missing")


def load(context: StackContext, folder: Path) -> None:
    """Stop the server, make the snapshot its data, and start it again."""
    context.compose.stop(SERVICE)
    try:
        with (folder / FILE).open("rb") as snapshot:
            words = ("run", "--rm", "--no-TTY", "--no-deps", "--entrypoint=sh", SERVICE, "/etc/synos/restore")
            context.compose.pipe(words, stdin=snapshot)
    finally:
        context.compose.up(SERVICE)


def recover(context: StackContext) -> bool:  # noqa: ARG001
    """Do nothing: the script `start` does, before the server reads its data."""
    return False
