"""Passwords of the services: a folder with a file each, which nobody else can read.

Rotation has two phases, so that it can be killed at any moment: a new secret is beside the old one until the
service has it, and only then takes its place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shlex
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from synos_tasks.errors import DiskFull, OutputNotWritable, SecretsDamaged, SettingsError
from synos_tasks.host.facts import free_disk_bytes
from synos_tasks.iso.scratch import sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

TOKEN_BYTES = 32
SHORTEST, LONGEST = 16, 128
PROPOSED = ".new"
ROTATE = "`inv services.secrets-rotate` makes new ones"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
_CHARACTERS = re.compile(rb"[A-Za-z0-9._~-]+")


class Secrets:
    """The secrets in one folder. Values are read from disk each time and kept nowhere, so no repr has them."""

    def __init__(self, folder: Path) -> None:
        """Take ``folder``, mode 0700, which need not be there yet."""
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where a secret is; raises SettingsError when it cannot have that name."""
        if not _NAME.fullmatch(name) or name.endswith(PROPOSED):
            raise SettingsError(
                f"no secret can be named {name!r}",
                hint=f"letters, digits, . _ and -, at most 64; a letter, digit or _ first; not {PROPOSED} at its end",
            )
        return self.folder / name

    def ensure(self, names: Iterable[str]) -> list[str]:
        """Make the secrets that are missing and tell which; never touches one that is there.

        Raises SecretsDamaged when the folder cannot be relied on, OutputNotWritable, DiskFull.
        """
        with self._alone() as folder:
            made = [name for name in dict.fromkeys(names) if not os.path.lexists(self.path(name))]
            for name in made:
                _write(self.path(name), folder)
            return made

    def check(self, names: Iterable[str]) -> None:
        """Raise SecretsDamaged with every secret that is damaged, and why; a missing one is not."""
        paths = [path for path in map(self.path, names) if os.path.lexists(path)]
        if not paths:
            return
        with self._alone() as folder:
            found = [error for path in paths if (error := _trouble(path, folder.st_uid))]
        if len(found) == 1:
            raise found[0]
        if found:
            raise SecretsDamaged(
                f"{len(found)} secrets are damaged",
                where="\n".join(error.where for error in found),
                why="\n".join(error.why for error in found),
                hint="\n".join(dict.fromkeys(error.hint for error in found)),
            )

    def read(self, name: str) -> str:
        """Give a secret; raises SecretsDamaged when it is missing or damaged."""
        return self._read(self.path(name), "`inv services.up` makes those that are missing")

    def propose(self, names: Iterable[str]) -> list[str]:
        """Rotation, phase one: make a new secret beside each, and tell for which one was made.

        Those of an interrupted rotation are kept, because a service may have them already. Raises as ensure().
        """
        made = []
        with self._alone() as folder:
            for name in names:
                path = self._proposed(name)
                if not os.path.lexists(path) or _trouble(path, folder.st_uid):
                    _write(path, folder)
                    made.append(name)
        return made

    def pending(self) -> list[str]:
        """Give the names for which a new secret is proposed and not yet accepted, sorted."""
        names = [path.name.removesuffix(PROPOSED) for path in self.folder.glob(f"*{PROPOSED}")]
        return sorted(name for name in names if _NAME.fullmatch(name))

    def read_proposed(self, name: str) -> str:
        """Give the secret that is proposed; raises SecretsDamaged when it is missing or damaged."""
        return self._read(self._proposed(name), ROTATE)

    def accept(self, name: str) -> None:
        """Rotation, phase two: let the proposed secret take the place of the old one.

        Raises SecretsDamaged, with the old one still in place, when none is proposed or it is damaged.
        """
        self.read_proposed(name)  # whoever overwrites it from here on holds the same lock and writes it whole
        with self._alone():
            self._proposed(name).replace(self.path(name))
            sync(self.folder)

    def _proposed(self, name: str) -> Path:
        return self.path(name).with_name(name + PROPOSED)

    def _read(self, path: Path, hint_if_missing: str) -> str:
        if not os.path.lexists(path):
            raise SecretsDamaged("a secret is missing", where=str(path), hint=hint_if_missing)
        with self._alone() as folder:
            return _inspect(path, folder.st_uid)

    @contextmanager
    def _alone(self) -> Iterator[os.stat_result]:
        """Hold the folder's lock, with the folder made, ours, and closed to others; gives what stat() says of it."""
        with self._named_errors():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                status = os.fstat(descriptor)
                if os.geteuid() not in {0, status.st_uid}:
                    raise SecretsDamaged(
                        "the folder of the secrets is another user's",
                        where=str(self.folder),
                        why=f"it belongs to uid {status.st_uid}, this is uid {os.geteuid()}",
                        hint="run the command as that user",
                    )
                if stat.S_IMODE(status.st_mode) != 0o700:
                    os.fchmod(descriptor, 0o700)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield status
            finally:
                os.close(descriptor)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = str(error.filename or self.folder)
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                free = free_disk_bytes(self.folder)
                raise DiskFull(
                    "no space is left for the secrets",
                    where=where,
                    why=f"{free} bytes are free",
                    hint="make room there and run the command again: it goes on where it was",
                ) from error
            raise OutputNotWritable(
                "the secrets cannot be read or written", where=where, why=error.strerror or str(error)
            ) from error


def _trouble(path: Path, owner: int) -> SecretsDamaged | None:
    try:
        _inspect(path, owner)
    except SecretsDamaged as error:
        return error
    return None


def _inspect(path: Path, owner: int) -> str:
    """Give the secret in a file of the user ``owner``; raises SecretsDamaged, which never has any of it."""
    try:
        status = path.lstat()
        _check_file(path, status, owner)
        # neither following a link nor waiting at a pipe that was put there a moment ago
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            content = stream.read(16 * LONGEST)
    except OSError as error:
        hint = f"chmod 600 {shlex.quote(str(path))}"
        raise _damaged(path, f"cannot be read: {error.strerror}", hint) from error
    why = _content_trouble(content)
    if why:
        raise _damaged(path, why, ROTATE)
    return content.decode("ascii").removesuffix("\n")


def _check_file(path: Path, status: os.stat_result, owner: int) -> None:
    quoted, mode = shlex.quote(str(path)), stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        raise _damaged(path, "is a link", f"remove it; {ROTATE}")
    if not stat.S_ISREG(status.st_mode):
        raise _damaged(path, "is not a regular file", f"remove it; {ROTATE}")
    if status.st_uid != owner:
        raise _damaged(
            path, f"belongs to uid {status.st_uid}, not {owner}", f"chown {owner} {quoted}; {ROTATE}"
        )
    if mode & 0o077:
        raise _damaged(
            path,
            f"has mode {mode:04o}: others may open it",
            f"chmod 600 {quoted}, and then rotate, as others could read it: {ROTATE}",
        )


def _content_trouble(content: bytes) -> str:
    """Say what is wrong with a secret's bytes, without any of them; empty when nothing is."""
    line = content.removesuffix(b"\n")
    if not line:
        return "is empty"
    if not line.isascii() or b"\0" in line:
        return "is not text"
    if b"\n" in line or b"\r" in line:
        return "has more than one line"
    if not _CHARACTERS.fullmatch(line):
        return "has other characters than letters, digits and . _ ~ -"
    if not SHORTEST <= len(line) <= LONGEST:
        return f"is {'shorter' if len(line) < SHORTEST else 'longer'} than {SHORTEST} to {LONGEST} characters"
    return ""


def _damaged(path: Path, why: str, hint: str) -> SecretsDamaged:
    return SecretsDamaged("a secret is damaged", where=str(path), why=f"{path.name} {why}", hint=hint)


def _write(path: Path, folder: os.stat_result) -> None:
    """Write a new secret, whole or not at all; only who holds the folder's lock may."""
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)  # a killed command's: it held the lock
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            os.fchmod(descriptor, 0o600)  # whatever the umask has taken away
            if os.geteuid() != folder.st_uid:  # root, for the user whose clone this is
                os.fchown(descriptor, folder.st_uid, folder.st_gid)
            stream.write(f"{secrets.token_urlsafe(TOKEN_BYTES)}\n")
            stream.flush()
            os.fsync(descriptor)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync(path.parent)
