"""Inputs: what a build reads of a project, which are files and folders inside docker/build, and no more.

A link is followed where a profile or a recipe names it, as long as it stays inside docker/build. Links in an overlay or
a source folder are content: they are never followed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BufferedReader

KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}
LARGEST = 2**34
"""Bytes of one file: what never ends is no input, such as a file with a hole of terabytes."""
DEEPEST = 200
"""Folders inside each other: programs that read them later recurse."""


def find(root: Path, path: str, where: str = "", *, folder: bool | None = False) -> Path:
    """Return the real path of a file, or of a ``folder``; None allows both. No part of it is a link. ``root`` is docker/build.

    Raises ProfileError where it is not there, is of another kind, or leads out of docker/build. ``where`` names it.
    """
    wanted = {False: ("a file",), True: ("a folder",), None: ("a file", "a folder")}[folder]
    where = where or str(root / path)
    with _errors(path, where, why=f"looked for {root / path}"):
        found = Path(os.path.realpath(root / path, strict=True))
        # docker/build itself is not followed either: as a link to the project it would have all of it inside
        home = Path(os.path.realpath(root.parent.parent, strict=True), *root.parts[-2:])
        there = kind(found)
    if not found.is_relative_to(home):
        hint = "copy what the build needs into docker/build"
        raise ProfileError(f"{path} leads out of docker/build", where=where, why=f"to {found}", hint=hint)
    if there not in wanted:
        what = f"{path} is {there}, not {' or '.join(wanted)}"
        raise ProfileError(what, where=where, why=f"it is {found}", hint="correct the path")
    return found


def walk(folder: Path, without: Sequence[str] = ()) -> Iterator[Path]:
    """Yield files, folders and links below a folder, sorted; what has a name of ``without`` at its top is left out.

    Without a folder there is nothing. Raises ProfileError for anything else, and where a folder cannot be read.
    """
    waiting = [folder / name for name in _names(folder) if name not in without] if kind(folder) else []
    while waiting:
        path = waiting.pop()
        is_folder = (there := kind(path)) == KINDS[stat.S_IFDIR]
        if there not in {"a file", "a folder", "a link"}:
            hint = "remove it: a build reads files"
            raise ProfileError(f"{path.name} is {there}", where=str(path), hint=hint)
        if len(path.parts) - len(folder.parts) > DEEPEST:
            raise ProfileError("folders are nested too deeply", where=str(path), hint=f"{DEEPEST} at most")
        yield path
        waiting += [path / name for name in _names(path)] if is_folder else []


def _names(folder: Path) -> list[str]:
    with _errors(folder.name, str(folder)):
        return sorted(os.listdir(folder), reverse=True)  # noqa: PTH208  (names, not paths)


def kind(path: Path) -> str:
    """Say what a path is; '' where there is nothing."""
    try:
        return KINDS.get(stat.S_IFMT(path.lstat().st_mode), "a device")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def read(path: Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes; raise ProfileError."""
    with _errors(path.name, str(path)), opened(path) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise ProfileError(f"the file has more than {limit} bytes", where=str(path), hint=f"{limit} at most")
    return data


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; raise ProfileError."""
    with _errors(path.name, str(path)), opened(path) as stream:
        if os.fstat(stream.fileno()).st_size > LARGEST:
            raise OSError(errno.EFBIG, f"more than {LARGEST} bytes")
        return hashlib.file_digest(stream, "sha256").hexdigest()


def copy(source: str | Path, target: str | Path) -> None:
    """Copy a file with its mode to a new one; raise ProfileError where it cannot be read, or OSError."""
    path = Path(source)
    with _errors(path.name, str(path)):
        stream = opened(path)
    with stream, Path(target).open("xb") as copied:
        shutil.copyfileobj(stream, copied)
        os.fchmod(copied.fileno(), stat.S_IMODE(os.fstat(stream.fileno()).st_mode))


def opened(path: Path) -> BufferedReader:
    """Open a file for reading; raise OSError for anything else in its place, and wait for nobody."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    stream = open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags))  # noqa: SIM115
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    stream.close()
    raise OSError(errno.EINVAL, "it is not a file")


@contextmanager
def _errors(name: str, where: str, why: str = "") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        hint = "create it, or correct the path, which is relative to docker/build" if why else ""
        raise ProfileError(f"{name} does not exist", where=where, why=why or str(error), hint=hint) from error
    except OSError as error:
        raise ProfileError(f"{name} cannot be read", where=where, why=error.strerror or str(error)) from error
