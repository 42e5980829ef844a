"""The way of an ISO out of its container: deliver() puts all files into a staging folder, publish() copies them.

The host makes every file that gets a name of a build, the ISO last: what runs in a container
decides over no link, mode or owner on the host, and can never touch an earlier ISO.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from synos_tasks.errors import StageFailed, printable
from synos_tasks.iso import codec, secrets
from synos_tasks.iso.diagnose import disk_full
from synos_tasks.iso.protocol import Done
from synos_tasks.iso.scratch import scratch, sync
from synos_tasks.iso.store import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.store import Entry
    from synos_tasks.iso.tools import BuildContext

ISO = "image.iso"
MANIFEST = "manifest.json"
LOG = "build.log"
PACKAGE_FIELDS = ("name", "version", "architecture", "sha256", "layer")
STAGING_PREFIX = ".synos-partial-"
"""Of the folder inside the output folder that staging() makes for each build."""
CHUNK = 2**20
MOST_BYTES = {ISO: 2**36, LOG: 2**30, MANIFEST: 2**25}
"""What a delivered file may take; a file with holes costs a container nothing, and the host a copy."""


def deliver(
    context: BuildContext, plan: Plan, entries: list[Entry], live: Mapping[str, Path], stages: list[Done]
) -> str:
    """Write manifest and log next to the ISO in the output folder; returns the ISO's SHA-256, hex.

    ``entries`` are those of the store that it is made of. Runs in the container.
    """
    iso, profile = context.output / ISO, plan.profile
    digest = sha256(iso)
    context.events.finish_log()
    manifest = {
        "schema": "synos.manifest/1",
        "profile": profile.name,
        "suite": profile.suite,
        "architecture": profile.architecture,
        "release": plan.release,
        "build_id": plan.build_id,
        "key": plan.key,
        "sha256": digest,
        "bytes": {name: path.stat().st_size for name, path in [("iso", iso), *live.items()]},
        "stages": [
            {key: value for key, value in asdict(stage).items() if key != "facts"} for stage in stages
        ],
        "packages": _packages(plan, entries),
    }
    (context.output / MANIFEST).write_text(f"{json.dumps(manifest, indent=1, sort_keys=True)}\n")
    shutil.copyfile(context.events.log_path, context.output / LOG)
    secrets.refuse([context.output / name for name in (MANIFEST, LOG)], context.secrets, "what is published")
    for name in (ISO, MANIFEST, LOG):
        os.chown(context.output / name, *context.owner)
        (context.output / name).chmod(0o644)
    return digest


def _packages(plan: Plan, entries: list[Entry]) -> list[dict[str, Any]]:
    """Describe the packages of the lock, then the compiled ones. Entries of layers know the unpacked sizes."""
    installed: dict[str, int] = {}
    compiled = []
    for entry in entries:
        installed |= entry.facts.get("installed", {})
        for package in entry.facts.get("packages", []):
            described = {key: value for key, value in package.items() if key != "file"}
            compiled.append({**described, "layer": "components"})
    locked = []
    for package in plan.lock.packages:
        described = {key: getattr(package, key) for key in PACKAGE_FIELDS}
        sizes = {"bytes": package.size, "installed_bytes": installed.get(package.name, 0)}
        locked.append({**described, **sizes})
    return [*locked, *compiled]


def iso_path(output: Path, profile: Profile, build_id: str) -> Path:
    """Where a build's ISO is."""
    return output / f"{profile.distribution}-{profile.name}-{build_id}.iso"


def published(output: Path, plan: Plan) -> dict[str, Any] | None:
    """Return the manifest of the ISO that a plan would make, if it is there and its checksum is right."""
    iso = iso_path(output, plan.profile, plan.build_id)
    try:
        manifest = _manifest_of(Path(f"{iso}.manifest.json"), plan)
        return manifest if sha256(iso) == manifest["sha256"] else None
    except (OSError, ValueError):
        return None


def _manifest_of(path: Path, plan: Plan) -> dict[str, Any]:
    """Read a manifest; raises OSError, or ValueError where it is none of a plan's ISO."""
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        stages = [codec.from_data(Done, stage) for stage in manifest["stages"]]
        if not stages or manifest["key"] != plan.key or not isinstance(manifest["sha256"], str):
            raise ValueError("it is that of another ISO")
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return manifest


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """Yield a folder for a container to write to, in one for publish() that no other user of the host can enter."""
    with scratch(output, STAGING_PREFIX) as closed:
        # the container may open this one for all: a setuid file in it must be out of reach
        folder = closed / "output"
        folder.mkdir(0o700)
        yield folder


def publish(folder: Path, plan: Plan, digest: str, owner: tuple[int, int]) -> Path:
    """Copy what the container delivered out of its staging folder; returns the ISO's path.

    ``digest`` is the SHA-256 that the container reports, ``owner`` whose the files become. Raises StageFailed when
    something else than the expected files was delivered, or DiskFull; then nothing has a final name.
    """
    closed, output = folder.parent, folder.parent.parent
    taken = {
        name: take(folder / name, closed / name, owner, MOST_BYTES[name]) for name in (MANIFEST, LOG, ISO)
    }
    try:
        manifest = _manifest_of(closed / MANIFEST, plan)
    except ValueError as error:
        raise _refused(folder / MANIFEST, str(error)) from error
    if not taken[ISO] == digest == manifest["sha256"]:
        raise _refused(folder / ISO, f"its SHA-256 is not {digest}")
    iso = iso_path(output, plan.profile, plan.build_id)
    with _new_file(closed / "sha256", owner) as stream:
        stream.write(f"{digest}  {iso.name}\n".encode())
    for name, ending in ((LOG, ".log"), (MANIFEST, ".manifest.json"), ("sha256", ".sha256"), (ISO, "")):
        (closed / name).replace(f"{iso}{ending}")
    point_to(iso, plan.profile)
    sync(output)
    return iso


def take(source: Path, target: Path, owner: tuple[int, int], most: int = MOST_BYTES[ISO]) -> str:
    """Copy a file that a container delivered into a new one; return the SHA-256 of what was read, hex.

    Log and manifest are made printable(). Raises StageFailed unless it is a regular file with one name and at most
    ``most`` bytes, or DiskFull.
    """
    digest, handle, text = hashlib.sha256(), -1, source.name in {LOG, MANIFEST}
    try:
        handle = os.open(source, os.O_PATH | os.O_NOFOLLOW)  # opens neither a FIFO nor a device
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size > most:
            raise _refused(source, "it is not a regular file of its own, or too large")
        with Path(f"/proc/self/fd/{handle}").open("rb") as given, _new_file(target, owner) as made:
            while chunk := given.readline(CHUNK) if text else given.read(CHUNK):
                digest.update(chunk)
                made.write(printable(chunk.decode(errors="replace")).encode() if text else chunk)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(str(target.parent), str(error)) from error
        raise _refused(source, error.strerror or str(error)) from error
    finally:
        if handle >= 0:
            os.close(handle)
    return digest.hexdigest()


@contextmanager
def _new_file(path: Path, owner: tuple[int, int]) -> Iterator[IO[bytes]]:
    """Open a new file, and see it on disk in the end; others see it when it is whole."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        yield stream
        stream.flush()
        if os.geteuid() == 0:
            os.fchown(stream.fileno(), *owner)
        os.fchmod(stream.fileno(), 0o644)
        os.fsync(stream.fileno())


def newest_path(output: Path, profile: Profile) -> Path:
    """Where the link to a profile's newest ISO is."""
    return output / f"{profile.distribution}-{profile.name}.iso"


def point_to(iso: Path, profile: Profile) -> None:
    """Let the link to the newest ISO point to this one, unless somebody has put something else there."""
    link = newest_path(iso.parent, profile)
    if str(link.readlink()) == iso.name if link.is_symlink() else link.exists():
        return
    temporary = link.with_name(f"{STAGING_PREFIX}{os.getpid()}-link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(iso.name)
    temporary.replace(link)


def _refused(path: Path, why: str) -> StageFailed:
    return StageFailed(
        "the container delivered something else than it should",
        where=str(path),
        why=why,
        hint="nothing was published; look for a hook that writes to /output",
    )
