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

from synos_tasks.archive import disk_errors, new_file
from synos_tasks.errors import SecretsDamaged, ServiceFailed, SettingsError, unknown
from synos_tasks.iso.scratch import sync
from synos_tasks.locks import exclusive
from synos_tasks.services import health

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
_SECRET = re.compile(rb"[A-Za-z0-9._~-]{%d,%d}\n?" % (SHORTEST, LONGEST))


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
            where, hint = str(own.folder), f"inv services.up{context.option} makes them"
            raise SettingsError("there are no secrets yet", where=where, hint=hint)
        own.propose(names)
        own.hand_out(context.stack.secrets)
        everyone = [service.name for service in context.stack.long_running]
        reload(context, context.compose.containers(), everyone)
        return names


def reload(context: StackContext, containers: Mapping[str, Container], services: Sequence[str]) -> list[str]:
    """Let running services take secrets that changed, and keep those once all are healthy with them.

    Services whose mounts are stale are recreated: those that have a changed secret, and ``services``; and those that
    read a changed secret at their start only. Returns their names. ``containers`` are those of now. Raises
    ServiceFailed, ServiceUnhealthy; both secrets then stay.
    """
    own = Secrets(context.folder)
    pending = own.pending()
    running = [
        service
        for service in context.stack.long_running
        if (one := containers.get(service.name)) and one.state.status in {"running", "paused"}
    ]
    stale = [
        one.name
        for one in running
        if any(
            own.is_stale(containers[name], one.secrets) for name in health.replicas([one.name], containers)
        )
    ]
    affected = [one.name for one in running if not set(one.secrets).isdisjoint(pending)]
    fixed = [name for name in affected if not context.takes_secrets(name)]
    recreated = [name for name in dict.fromkeys([*stale, *fixed]) if name in services or name in affected]
    if recreated:
        context.say(f"recreated, because they had read old passwords: {', '.join(recreated)}")
        context.compose.up(*recreated, recreate=True)
    applied = [name for name in affected if name not in recreated]
    for name in applied:
        _apply(context, name)
    if recreated or applied:
        health.wait(context, [*recreated, *applied])
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
            hint="both secrets are kept: run `inv services.secrets-rotate` again, which continues with the new one",
        ) from error


class Secrets:
    """The secrets of one stack. Values are read from disk each time and kept nowhere, so no repr has them."""

    def __init__(self, state: Path) -> None:
        """Take the stack's folder of state; the two folders in it need not be there yet."""
        self.folder, self.mounted = state / "secrets", state / "mounted"

    def ensure(self, names: Iterable[str]) -> list[str]:
        """Make the secrets that are missing and return their names; never touches one that is there.

        Raises SecretsDamaged when the folder cannot be relied on, OutputNotWritable, DiskFull.
        """
        with self._locked() as folder:
            made = [name for name in dict.fromkeys(names) if not os.path.lexists(self.folder / name)]
            for name in made:
                _write(self.folder / name, secrets.token_hex(TOKEN_BYTES), folder)
            return made

    def read(self, name: str) -> str:
        """Return a secret, or with ``.new`` after its name the one that is proposed.

        Raises SecretsDamaged when it is missing or damaged.
        """
        with self._locked() as folder:
            return _inspect(self.folder / name, folder.st_uid)

    def pending(self) -> list[str]:
        """Return the names for which a new secret is proposed and not yet accepted, sorted."""
        return sorted(path.name.removesuffix(PROPOSED) for path in self.folder.glob(f"[!.]*{PROPOSED}"))

    def propose(self, names: Iterable[str]) -> None:
        """Rotation, phase one: propose a new secret for each.

        Those of an interrupted rotation are kept, because a service may have them already. Raises as ensure().
        """
        with self._locked() as folder:
            for name in names:
                path = self.folder / f"{name}{PROPOSED}"
                try:
                    _inspect(path, folder.st_uid)
                except SecretsDamaged:
                    _write(path, secrets.token_hex(TOKEN_BYTES), folder)

    def accept(self, name: str) -> None:
        """Rotation, phase two: let the proposed secret take the place of the old one.

        Raises SecretsDamaged, with the old one still in place, when none is proposed or it is damaged.
        """
        self.read(name + PROPOSED)
        with self._locked():
            (self.folder / f"{name}{PROPOSED}").replace(self.folder / name)
            sync(self.folder)

    def hand_out(self, names: Iterable[str]) -> None:
        """Write the copies that containers mount, of the proposed secret where there is one.

        What changes a copy is proposed first, if it was not: so it stays pending until the services have it. A
        copy is changed in place, as a container keeps the file that it was started with. Raises SecretsDamaged.
        """
        with self._locked() as folder:
            self.mounted.mkdir(mode=0o700, exist_ok=True)
            self.mounted.chmod(0o700)
            if os.geteuid() != folder.st_uid:  # root, for the user whose clone this is
                os.chown(self.mounted, folder.st_uid, folder.st_gid)
            new = {name: self.folder / f"{name}{PROPOSED}" for name in names}
            pending = {name for name, path in new.items() if os.path.lexists(path)}
            sources = {name: path if name in pending else self.folder / name for name, path in new.items()}
            values = {name: _inspect(path, folder.st_uid) for name, path in sources.items()}
            for name, value in values.items():
                copy = self.mounted / name
                if not copy.exists():
                    _write(copy, value, folder, 0o644)
                elif copy.read_text() != f"{value}\n":
                    if name not in pending:
                        _write(new[name], value, folder)
                    _rewrite(copy, value)

    def is_stale(self, container: Container, names: Iterable[str]) -> bool:
        """Tell whether a running container was started before a copy was made: then it mounts another file."""
        started = container.state.started_at.timestamp() if container.state.started_at else 0.0
        return any((self.mounted / name).stat().st_mtime > started for name in names)

    @contextmanager
    def _locked(self) -> Iterator[os.stat_result]:
        """Make the folder, close it to others, and hold its lock; yields its stat()."""
        with disk_errors(self.folder.parent, "the secrets"):
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


def _inspect(path: Path, owner: int) -> str:
    """Return the secret in a file of the user ``owner``; raises SecretsDamaged, which never has any of it."""
    why, hint, content = "", ROTATE, b""
    try:
        # neither following a link nor waiting at a pipe
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            status, content = os.fstat(descriptor), stream.read(2 * LONGEST)
    except OSError as error:
        why = "is a link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        hint = f"remove it; {ROTATE}"
    else:
        if status.st_uid != owner:
            why = f"belongs to uid {status.st_uid}, not {owner}"
            hint = f"chown {owner} {shlex.quote(str(path))}; {ROTATE}"
        elif status.st_mode & 0o077:
            why = f"has mode {stat.S_IMODE(status.st_mode):04o}: others may open it"
            hint = f"chmod 600 {shlex.quote(str(path))}, and then rotate, as others could read it: {ROTATE}"
        elif not content.strip():
            why = "is empty"
        elif not _SECRET.fullmatch(content):
            why = f"is not one line of {SHORTEST} to {LONGEST} letters, digits and . _ ~ -"
    if why:
        raise SecretsDamaged("a secret is damaged", where=str(path), why=f"{path.name} {why}", hint=hint)
    return content.decode("ascii").removesuffix("\n")


def _write(path: Path, value: str, folder: os.stat_result, mode: int = 0o600) -> None:
    """Write a secret, whole or not at all; only the holder of the folder's lock may."""
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)  # of a killed command
    try:
        with new_file(partial) as stream:
            os.fchmod(stream.fileno(), mode)  # whatever the umask has taken away
            if os.geteuid() != folder.st_uid:  # root, for the user whose clone this is
                os.fchown(stream.fileno(), folder.st_uid, folder.st_gid)
            stream.write(f"{value}\n".encode("ascii"))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync(path.parent)


def _rewrite(path: Path, value: str) -> None:
    """Change a copy in place. It keeps the time at which it was made, which is_stale() compares."""
    content = f"{value}\n".encode("ascii")
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        made = os.fstat(descriptor)
        stream.write(content)
        stream.truncate()
        os.utime(descriptor, ns=(made.st_atime_ns, made.st_mtime_ns))
        os.fsync(descriptor)
