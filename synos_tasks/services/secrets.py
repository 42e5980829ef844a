"""Passwords of the services: made, handed to their containers, and rotated while these run.

``secrets/NAME`` is for applications on this machine, mode 0600. ``mounted/NAME`` is the copy that containers mount
one by one. It is readable to all (0644), because a service has a user of its own; the folder around it (0700) is
closed to all but you, and a container sees only the files that its service names.

Rotation has two phases, so that it can be killed at any moment: ``secrets/NAME.new`` is there from before the copy
changes until all running services have taken it, and only then takes the old one's place.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shlex
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from synos_tasks.errors import DiskFull, OutputNotWritable, SecretsDamaged, ServiceFailed, SettingsError
from synos_tasks.host.facts import free_disk_bytes
from synos_tasks.iso.scratch import sync
from synos_tasks.locks import exclusive
from synos_tasks.services import health
from synos_tasks.services.stack import unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.engine.client import Container
    from synos_tasks.services.stack import StackContext

TOKEN_BYTES = 32
SHORTEST, LONGEST = 16, 128
PROPOSED = ".new"
ROTATE = "`inv services.secrets-rotate` makes new ones"
APPLY = ("sh", "/etc/synos/apply", "--running")
RECREATE = ("up", "--detach", "--no-build", "--no-deps", "--force-recreate")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
_CHARACTERS = re.compile(rb"[A-Za-z0-9._~-]+")


def prepare(context: StackContext) -> list[str]:
    """Make the secrets of the stack that are missing and hand all to the containers; returns the names of the new.

    Raises SecretsDamaged, OutputNotWritable or DiskFull.
    """
    own, names = Secrets(context.folder), context.stack.secrets
    if not names:
        return []
    own.check(names)
    made = own.ensure(names)
    own.hand_out(names)
    return made


def rotate(context: StackContext, only: str) -> list[str]:
    """Change the secrets of services (all for ''), and let the running ones take them; returns the secrets' names.

    A service that is stopped takes its secret when it starts. Raises SettingsError, SecretsDamaged, ServiceFailed,
    ServiceUnhealthy; an interrupted rotation is finished by the next one, or by `up`.
    """
    with context.locked():
        names = sorted({secret for service in context.stack.chosen(only) for secret in service.secrets})
        if not names:
            raise unknown("secret", only, context.stack.secrets, f"stack {context.stack.name}")
        own = Secrets(context.folder)
        if not own.folder.is_dir():
            raise SettingsError(
                "there are no secrets yet", where=str(own.folder), hint="inv services.up makes them"
            )
        own.propose(names)
        own.hand_out(context.stack.secrets)
        reload(context, context.containers(), [])
        return names


def reload(context: StackContext, containers: Mapping[str, Container], services: Sequence[str]) -> list[str]:
    """Let running services take secrets that changed, and keep those once all are healthy with them.

    Services whose mounts are stale are recreated: those that have a changed secret, and ``services``. Returns their
    names. ``containers`` by service, as they are now. Raises ServiceFailed, ServiceUnhealthy; both secrets then stay.
    """
    own = Secrets(context.folder)
    pending = own.pending()
    running = [
        service
        for service in context.stack.long_running
        if (one := containers.get(service.name)) and one.state.status in {"running", "paused"}
    ]
    stale = [one.name for one in running if own.is_stale(containers[one.name], one.secrets)]
    affected = [one.name for one in running if not set(one.secrets).isdisjoint(pending)]
    recreated = [name for name in stale if name in services or name in affected]
    if recreated:
        context.say(f"started again, as their password files had been deleted: {', '.join(recreated)}")
        context.compose.run(*RECREATE, *recreated)
        health.wait(context, recreated)
    applied = [name for name in affected if name not in recreated]
    for name in applied:
        _apply(context, name)
    if applied:
        health.wait(context, applied)
    for name in pending:
        own.accept(name)
    if left := [name for name in stale if name not in recreated]:
        context.say(f"still with their old passwords: {', '.join(left)}; inv services.up changes that")
    return recreated


def _apply(context: StackContext, service: str) -> None:
    try:
        context.compose.run("exec", "--no-TTY", service, *APPLY)
    except ServiceFailed as error:
        raise ServiceFailed(
            f"{service} did not take its new secret",
            where=error.where,
            why=error.why,
            hint="the old and the new one are both kept: run `inv services.secrets-rotate` again, it goes on with this one",
        ) from error


class Secrets:
    """The secrets of one stack. Values are read from disk each time and kept nowhere, so no repr has them."""

    def __init__(self, state: Path) -> None:
        """Take the stack's folder of state; the two folders in it need not be there yet."""
        self.folder, self.mounted = state / "secrets", state / "mounted"

    def path(self, name: str) -> Path:
        """Return where a secret is; raises SettingsError when it cannot have that name."""
        if not _NAME.fullmatch(name) or name.endswith(PROPOSED):
            raise SettingsError(
                f"no secret can be named {name!r}",
                hint=f"letters, digits, . _ and -, at most 64; a letter, digit or _ first; not {PROPOSED} at its end",
            )
        return self.folder / name

    def ensure(self, names: Iterable[str]) -> list[str]:
        """Make the secrets that are missing and return their names; never touches one that is there.

        Raises SecretsDamaged when the folder cannot be relied on, OutputNotWritable, DiskFull.
        """
        with self._locked() as folder:
            made = [name for name in dict.fromkeys(names) if not os.path.lexists(self.path(name))]
            for name in made:
                _write(self.path(name), new_value(), folder)
            return made

    def check(self, names: Iterable[str]) -> None:
        """Raise SecretsDamaged with every secret that is damaged, and why; a missing one is not."""
        paths = [path for path in map(self.path, names) if os.path.lexists(path)]
        if not paths:
            return
        with self._locked() as folder:
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
        """Return a secret; raises SecretsDamaged when it is missing or damaged."""
        return self._read(self.path(name), "`inv services.up` makes those that are missing")

    def propose(self, names: Iterable[str]) -> list[str]:
        """Rotation, phase one: make a new secret beside each, and return for which one was made.

        Those of an interrupted rotation are kept, because a service may have them already. Raises as ensure().
        """
        made = []
        with self._locked() as folder:
            for name in names:
                path = self._proposed(name)
                if not os.path.lexists(path) or _trouble(path, folder.st_uid):
                    _write(path, new_value(), folder)
                    made.append(name)
        return made

    def pending(self) -> list[str]:
        """Return the names for which a new secret is proposed and not yet accepted, sorted."""
        names = [path.name.removesuffix(PROPOSED) for path in self.folder.glob(f"*{PROPOSED}")]
        return sorted(name for name in names if _NAME.fullmatch(name))

    def read_proposed(self, name: str) -> str:
        """Return the secret that is proposed; raises SecretsDamaged when it is missing or damaged."""
        return self._read(self._proposed(name), ROTATE)

    def accept(self, name: str) -> None:
        """Rotation, phase two: let the proposed secret take the place of the old one.

        Raises SecretsDamaged, with the old one still in place, when none is proposed or it is damaged.
        """
        self.read_proposed(name)  # whoever overwrites it from here on holds the same lock and writes it whole
        with self._locked():
            self._proposed(name).replace(self.path(name))
            sync(self.folder)

    def hand_out(self, names: Iterable[str]) -> None:
        """Write the copies that containers mount, of the proposed secret where there is one.

        What changes a copy is proposed first, if it was not: so it stays pending until the services have it. A
        copy is changed in place, as a container keeps the file that it was started with. Raises SecretsDamaged.
        """
        with self._locked() as folder:
            self.mounted.mkdir(mode=0o700, exist_ok=True)
            self.mounted.chmod(0o700)
            for name in names:
                path, proposed, copy = self.path(name), self._proposed(name), self.mounted / name
                pending = os.path.lexists(proposed)
                value = _inspect(proposed if pending else path, folder.st_uid)
                if not copy.exists():
                    _write(copy, value, folder, 0o644)
                elif copy.read_text() != f"{value}\n":
                    if not pending:
                        _write(proposed, value, folder)
                    _rewrite(copy, value)

    def is_stale(self, container: Container, names: Iterable[str]) -> bool:
        """Tell whether a running container mounts other files than the copies that are there now.

        It has been running since before a copy was made, or mounts it from elsewhere, as an older compose file said.
        """
        started = container.state.started_at.timestamp() if container.state.started_at else 0.0
        sources = [mount.source or "" for mount in container.mounts]
        return any(
            (self.mounted / name).stat().st_mtime > started
            or not any(source.endswith(f"/{self.mounted.name}/{name}") for source in sources)
            for name in names
        )

    def _proposed(self, name: str) -> Path:
        return self.path(name).with_name(name + PROPOSED)

    def _read(self, path: Path, hint_if_missing: str) -> str:
        if not os.path.lexists(path):
            raise SecretsDamaged("a secret is missing", where=str(path), hint=hint_if_missing)
        with self._locked() as folder:
            return _inspect(path, folder.st_uid)

    @contextmanager
    def _locked(self) -> Iterator[os.stat_result]:
        """Hold the folder's lock, with the folder made, ours, and closed to others; yields what stat() says of it."""
        with self._named_errors():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.folder.stat()
            if os.geteuid() not in {0, status.st_uid}:
                raise SecretsDamaged(
                    "the folder of the secrets is another user's",
                    where=str(self.folder),
                    why=f"it belongs to uid {status.st_uid}, this is uid {os.geteuid()}",
                    hint="run the command as that user",
                )
            if stat.S_IMODE(status.st_mode) != 0o700:
                self.folder.chmod(0o700)
            with exclusive(self.folder):
                yield status

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
    """Return the secret in a file of the user ``owner``; raises SecretsDamaged, which never has any of it."""
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


def new_value() -> str:
    """Return a new secret: 256 random bits, as text that needs no quotes in an address."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def _write(path: Path, value: str, folder: os.stat_result, mode: int = 0o600) -> None:
    """Write a secret, whole or not at all; only the holder of the folder's lock may."""
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)  # a killed command's: it held the lock
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            os.fchmod(descriptor, mode)  # whatever the umask has taken away
            if os.geteuid() != folder.st_uid:  # root, for the user whose clone this is
                os.fchown(descriptor, folder.st_uid, folder.st_gid)
            stream.write(f"{value}\n")
            stream.flush()
            os.fsync(descriptor)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync(path.parent)


def _rewrite(path: Path, value: str) -> None:
    """Change a copy in place. Its time stays that at which it was made, by which is_stale() goes."""
    content = f"{value}\n".encode("ascii")
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        made = os.fstat(descriptor)
        stream.write(content)
        stream.truncate()
        os.utime(descriptor, ns=(made.st_atime_ns, made.st_mtime_ns))
        os.fsync(descriptor)
