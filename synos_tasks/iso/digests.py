"""SHA-256 of values, files and folders, for keys: contents and modes count, names of machines do not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def digest(value: object) -> str:
    """SHA-256 of a value's canonical JSON, hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()


def of_folder(folder: Path, without: Sequence[str] = ()) -> str:
    """Digest of all below a folder: names, kinds, contents, and whether a file may be executed.

    What has a name of ``without`` at its top does not count.
    """
    paths = [(path.relative_to(folder), path) for path in sorted(folder.rglob("*"))]
    return digest([(str(name), of_file(path)) for name, path in paths if name.parts[0] not in without])


def is_executable(path: Path) -> bool:
    """Tell whether the owner may execute a file, as git does: neither the caller nor the mount matters."""
    return bool(path.stat().st_mode & 0o100)


def of_file(path: Path) -> str:
    """Digest of one file, link or (without what is in it) folder."""
    if path.is_symlink():
        return f"-> {path.readlink()}"
    if path.is_dir():
        return "folder"
    mode = "x" if is_executable(path) else "-"
    return mode + hashlib.sha256(path.read_bytes()).hexdigest()
