"""Off-site copies of backups: restic, in a container that has the backups read-only.

restic encrypts and deduplicates what it stores, in a folder, over SFTP or in S3. It is in an image of this project, so that its
version is the same everywhere and no host has to install it. Each copy is a snapshot of the folder /backups/NAME. Addresses and credentials go through
standard input: no command line, image, log or `docker inspect` has them.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import archive
from synos_tasks.engine.labels import labels
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.errors import ServiceFailed, SettingsError, unknown, writing
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import RESTIC
from synos_tasks.images.uplink import certificates
from synos_tasks.iso.proxies import CERTIFICATES
from synos_tasks.iso.scratch import write_whole
from synos_tasks.services.backup import folder_of, verify
from synos_tasks.services.secrets import Secrets

if TYPE_CHECKING:
    from synos_tasks.services.stack import StackContext

PASSWORD = "offsite_password"  # noqa: S105  (the name of its file)
CREDENTIALS = "AWS_"
"""Prefix of the caller's variables that are passed on: restic reads them for S3."""
REMOTE = re.compile(r"([a-z0-9]{2,}):")
# restic tries for 15 minutes what a wrong credential or address makes fail each time: so it has to open the repository first
SCRIPT = """
while IFS= read -r -d "" pair; do export "$pair"; done
[ "$1" = init ] || timeout 30 restic --no-cache cat config >/dev/null || exit
exec restic --no-cache --retry-lock 1m "$@"
"""
NO_REPOSITORY, WRONG_PASSWORD = 10, 12
"""Exit codes of restic; see `man restic`."""


@dataclass(frozen=True)
class Copy:
    """One off-site copy. ``created`` as in a manifest; ``id`` is restic's of the snapshot; bytes before deduplication."""

    name: str
    created: str
    bytes: int
    id: str


def push(context: StackContext, backup: Path) -> int:
    """Copy a backup off-site, and make the repository where there is none; return the bytes that were new there.

    Raises SettingsError, ServiceFailed, ImageBuildFailed.
    """
    created = archive.manifest_of(backup).created
    when = created.replace("T", " ").removesuffix("Z")  # the container's time is UTC
    host = f"--host={context.stack.name}"
    words = ("backup", "--json", host, f"--time={when}", f"/backups/{backup.name}")
    said = _restic(context, *words, allowed=NO_REPOSITORY)
    if said is None:
        _restic(context, "init")
        opens = f"it opens with {_password(context)} alone: keep a copy of that file"
        context.say(f"made the off-site repository {repository(context)}; {opens}")
        said = _restic(context, *words)
    return int(json.loads((said or "{}").strip().splitlines()[-1]).get("data_added", 0))


def listing(context: StackContext) -> list[Copy]:
    """Return the copies of a stack's backups, newest first. Raises as push()."""
    text = _restic(context, "snapshots", "--json", f"--host={context.stack.name}", allowed=NO_REPOSITORY)
    found = []
    for one in json.loads(text or "[]"):
        size = one.get("summary", {}).get("total_bytes_processed", 0)
        found.append(Copy(Path(one["paths"][0]).name, f"{one['time'][:19]}Z", size, one["id"]))
    return sorted(found, key=lambda one: (one.created, one.name), reverse=True)


def fetch(context: StackContext, name: str) -> Path:
    """Fetch a copy into the folder of backups, verify it, and return its path. Raises as push(), and BackupDamaged."""
    folder, copies = folder_of(context), listing(context)
    chosen = next((one for one in copies if one.name == name), None)
    if chosen is None:
        raise unknown("off-site backup", name, (one.name for one in copies), repository(context))
    with archive.unfinished(folder) as working:
        words = ("restore", "--quiet", "--target=/restored", f"{chosen.id}:/backups/{name}")
        _restic(context, *words, more=(Bind(source=working, target="/restored", writable=True),))
        verify(working)
        free = archive.unused_name(folder, f"{name}-") if (folder / name).exists() else name
        return working.rename(folder / free)


def repository(context: StackContext) -> str:
    """Return where copies are, from the settings; raise SettingsError where that is nowhere."""
    if not (place := context.settings.services.offsite_repository):
        hint = "synos.services.offsite_repository in invoke.yaml: a folder, sftp:USER@HOST:/FOLDER, s3:https://HOST/BUCKET"
        raise SettingsError("no off-site repository is configured", where="invoke.yaml", hint=hint)
    return place


def _password(context: StackContext) -> Path:
    """Return the file with the repository's password; make one where there is none. Raises SecretsDamaged."""
    own = Secrets(context.folder)
    own.ensure([PASSWORD])
    own.read(PASSWORD)  # raises where it is damaged
    return own.folder / PASSWORD


def _restic(context: StackContext, *words: str, allowed: int = 0, more: tuple[Bind, ...] = ()) -> str | None:
    """Run restic and return what it prints; None where it ends with the exit code ``allowed``."""
    spec, variables = _container(context, words, more)
    out: list[bytes] = []
    given = "".join(f"{key}={value}\0" for key, value in variables.items()).encode()
    with context.lease(spec.name):
        code, complaints = context.docker.pipe(spec, out.append, given)
    if not code:
        return b"".join(out).decode(errors="replace")
    if code == allowed:
        return None
    if code == WRONG_PASSWORD:
        where, hint = str(_password(context)), "put the file back with which the repository was made"
        raise SettingsError("the off-site repository has another password", where=where, hint=hint)
    raise ServiceFailed(
        f"restic {words[0]} failed",
        where=repository(context),
        why=complaints or f"exit code {code}",
        hint="credentials come from the environment, see docs/services-backups.md",
    )


def _container(
    context: StackContext, words: tuple[str, ...], more: tuple[Bind, ...]
) -> tuple[ContainerSpec, dict[str, str]]:
    """Return the container, and the variables that restic gets: no capability, the caller's user, backups read-only."""
    place, backups, user = repository(context), folder_of(context), f"{os.getuid()}:{os.getgid()}"
    password = Bind(source=_password(context), target=f"/run/secrets/{PASSWORD}")
    binds = [Bind(source=backups, target="/backups"), password, *more, *certificates()]
    remote = REMOTE.match(place)
    if remote and remote[1] not in {"sftp", "s3"}:
        what = f"the off-site repository begins with {remote[0]}, which is not supported"
        raise SettingsError(what, where="invoke.yaml", hint="a folder, sftp:, or s3:")
    if remote and remote[1] == "sftp":  # ssh asks for a name and a home
        write_whole(context.folder / "passwd", f"synos:x:{user}::/home/synos:/bin/sh\n")
        binds += [Bind(source=context.folder / "passwd", target="/etc/passwd")]
        binds += [Bind(source=Path.home() / ".ssh", target="/home/synos/.ssh")]
    elif not remote:
        path = (context.settings.project.root / Path(place).expanduser()).resolve()
        with writing("the off-site repository cannot be made", path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        binds, place = [*binds, Bind(source=path, target="/repository", writable=True)], "/repository"
    backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    spec = ContainerSpec(
        name=f"{context.settings.project.id}-restic-{os.getpid()}",
        image=ensure_image(context, RESTIC),
        command=("bash", "-c", SCRIPT, "restic", *words),
        labels=labels(context.settings.project.id, "services"),
        capabilities=("CHOWN", "DAC_OVERRIDE", "FOWNER") if os.getuid() == 0 else (),
        binds=tuple(binds),
        tmpfs={"/tmp": "rw,nosuid,nodev,mode=1777"},  # noqa: S108  (in the container)
        pids=256,
        network=None if remote else "none",
        user=user,
        hostname="synos",
        logged=False,
    )
    given = {key: value for key, value in os.environ.items() if key.startswith(CREDENTIALS)}
    given |= {**context.proxies.variables, "HOME": "/tmp"}  # noqa: S108
    given |= {"RESTIC_REPOSITORY": place, "RESTIC_PASSWORD_FILE": password.target}
    return spec, given | ({"SSL_CERT_FILE": str(CERTIFICATES)} if certificates() else {})
