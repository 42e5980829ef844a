"""Redis: the snapshot that a replica gets; restored while the server is stopped, as the base of its append-only file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synos_tasks import archive
from synos_tasks.errors import ServiceFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.services.stack import StackContext

SERVICE = "redis"
FACTS = {"version": str, "keys": {str: int}, "functions": (int,)}
PARTS = ""
VERSION_PARTS = 2
"""Each minor version may bring a new format of snapshots."""
FILE = "redis.rdb"
HEALTH = "db15"
INFO = """
{ cat /run/redis/operator; echo; echo INFO server; echo INFO keyspace; echo FUNCTION LIST; echo SELECT 15; echo EXISTS synos:health; } |
    redis-cli --user operator --askpass
"""


def facts(context: StackContext) -> dict[str, Any]:
    """Return version, keys by database and libraries of functions, without the key of the health check."""
    info = context.compose.pipe(("exec", "--no-TTY", SERVICE, "sh", "-c", INFO)).decode()
    lines = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    if "redis_version" not in lines:
        raise ServiceFailed("Redis does not answer INFO", where=SERVICE, why=info.strip())
    beats = info.split()[-1] == "1"
    keys = {
        name: int(text.partition("keys=")[2].partition(",")[0]) - (name == HEALTH and beats)
        for name, text in lines.items()
        if name.startswith("db") and "keys=" in text
    }
    held = {name: count for name, count in keys.items() if count}
    health = archive.left_out(f"key synos:health of {HEALTH}", "the health check writes it, and it expires")
    return {
        "version": lines["redis_version"].strip(),
        "keys": held,
        "functions": info.splitlines().count("library_name"),
        "left_out": [health] * beats,
    }


def amounts(facts: Mapping[str, Any]) -> dict[str, int]:
    """Count what the facts are about."""
    libraries = {"library": facts["functions"]} if facts.get("functions") else {}
    return {"key": sum(facts["keys"].values()), **libraries}


def save(context: StackContext, into: Draft, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the snapshot."""
    with into.file(FILE) as out:
        context.compose.pipe(("exec", "--no-TTY", SERVICE, "sh", "/etc/synos/backup"), stdout=out.write)
    return dict(facts)


def check(folder: Path, facts: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Check that the file is there; the server's own programs check what is in it."""
    if not (folder / FILE).is_file():
        raise ValueError(f"{FILE} is missing")


def load(context: StackContext, folder: Path, facts: Mapping[str, Any]) -> list[str]:  # noqa: ARG001
    """Stop the server, make the snapshot its data, and start it again."""
    context.compose.stop(SERVICE)
    try:
        with (folder / FILE).open("rb") as snapshot:
            words = ("run", "--rm", "--no-TTY", "--no-deps", "--entrypoint=sh", SERVICE, "/etc/synos/restore")
            context.compose.pipe(words, stdin=snapshot)
    finally:
        context.compose.up(SERVICE)
    return []


def recover(context: StackContext) -> bool:  # noqa: ARG001
    """Do nothing: the script `start` does, before the server reads its data."""
    return False
