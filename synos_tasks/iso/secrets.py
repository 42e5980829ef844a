"""Finds secrets, of services and of proxies, in what a build made: nothing of an ISO may hold one."""

from __future__ import annotations

import mmap
import stat
from typing import TYPE_CHECKING

from synos_tasks.errors import SecretFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def refuse(files: Iterable[Path], secrets: Mapping[str, str], where: str) -> None:
    """Raise SecretFound where a file holds a value of ``secrets``, by name; ``where`` says what the files are."""
    for path in files if secrets else ():
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            continue
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as data:
            for name, value in secrets.items():
                if data.find(value.encode()) >= 0:
                    raise SecretFound(
                        f"the secret {name} is in {where}",
                        where=str(path),
                        why="everybody who has the ISO could read it",
                        hint="take it out of docker/build, and let no hook write it; `inv services.secrets-rotate` makes a new one",
                    )
