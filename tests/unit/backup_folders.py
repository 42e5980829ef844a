"""Backups for tests: what is in them, and how one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks import backups

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FACTS = {"postgres": {"version": "17.2", "rows": 12}, "services": ["nats", "redis"]}
FILES = {
    "postgres.dump": b"PGDMP" * 50,
    "nats/stream/1.blk": b"\0\1\2",
    "redis.rdb": b"REDIS0011",
    "empty": b"",
}


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def make(
    folder: Path,
    name: str = "one",
    files: dict[str, bytes] | None = None,
    then: Callable[[Path], object] = lambda _: None,
) -> Path:
    """Back up ``files``, and do something to the working folder before it is sealed."""
    with backups.new_backup(folder, name, FACTS) as working:
        fill(working, FILES if files is None else files)
        then(working)
    return folder / name
