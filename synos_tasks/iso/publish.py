"""The way of an ISO out of its container: the host makes empty files, deliver() fills them, publish() names them.

A container gets these files alone, in a folder that it does not see: it decides over no name, link or owner on the host.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import StageFailed, is_disk_full
from synos_tasks.iso import codec, distribution, inputs, secrets
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
MOST_BYTES = {ISO: 2**36, LOG: 2**30, MANIFEST: 2**25}
"""What a delivered file may take; a file with holes costs a container nothing, and the host the time to read it."""
MOST_DEB_BYTES = 2**32


def deliver(
    context: BuildContext, plan: Plan, entries: list[Entry], live: Mapping[str, Path], stages: list[Done]
) -> None:
    """Write manifest and log next to the ISO in the output folder. Runs in the container.

    ``entries`` are those of the store that the ISO is made of.
    """
    iso, profile = context.output / ISO, plan.profile
    context.events.finish_log()
    manifest = {
        "schema": "synos.manifest/1",
        "profile": profile.name,
        "suite": profile.suite,
        "architecture": profile.architecture,
        "release": plan.release,
        "build_id": plan.build_id,
        "key": plan.key,
        "bytes": {name: path.stat().st_size for name, path in [("iso", iso), *live.items()]},
        "stages": [
            {key: value for key, value in asdict(stage).items() if key != "facts"} for stage in stages
        ],
        "packages": _packages(plan, entries),
    }
    (context.output / MANIFEST).write_text(json.dumps(manifest))
    shutil.copyfile(context.events.log_path, context.output / LOG)
    secrets.refuse([context.output / name for name in (MANIFEST, LOG)], context.secrets, "what is published")


def _packages(plan: Plan, entries: list[Entry]) -> list[dict[str, Any]]:
    """Describe the packages of the lock, the compiled ones, and those of hooks. Entries of layers know the unpacked sizes."""
    installed: dict[str, int] = {}
    compiled = []
    by_hooks, gone = [], set()
    for entry in entries:
        installed |= entry.facts.get("installed", {})
        by_hooks += entry.facts.get("hooks_installed", [])
        gone |= {*entry.facts.get("hooks_removed", []), *(package["name"] for package in by_hooks)}
        for package in entry.facts.get("packages", []):
            described = {key: value for key, value in package.items() if key != "file"}
            compiled.append({**described, "layer": "components"})
    locked = []
    for package in plan.lock.packages:
        described = {key: getattr(package, key) for key in PACKAGE_FIELDS}
        sizes = {"bytes": package.size, "installed_bytes": installed.get(package.name, 0)}
        locked.append({**described, **sizes})
    kept = [package for package in (*locked, *compiled) if package["name"] not in gone]
    return [*kept, *by_hooks]


def iso_path(output: Path, profile: Profile, build_id: str) -> Path:
    """Where a build's ISO is."""
    return output / f"{distribution.iso_name(profile)}-{build_id}.iso"


def published(output: Path, plan: Plan) -> dict[str, Any] | None:
    """Return the manifest of the ISO that a plan would make, if it is there and its checksum is right."""
    iso = iso_path(output, plan.profile, plan.build_id)
    try:
        manifest = _manifest_of(Path(f"{iso}.manifest.json"), plan)
        return manifest if sha256(iso) == manifest["sha256"] else None
    except (OSError, ValueError, KeyError):
        return None


def _manifest_of(path: Path, plan: Plan) -> dict[str, Any]:
    """Read a manifest; raises OSError, or ValueError where it is none of a plan's ISO."""
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        stages = [codec.from_data(Done, stage) for stage in manifest["stages"]]
        if not stages or manifest["key"] != plan.key:
            raise ValueError("it is that of another ISO")
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return manifest


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """Yield a folder that no other user of the host can enter, with the empty files that a container fills."""
    with scratch(output, STAGING_PREFIX) as folder:
        for name in MOST_BYTES:
            os.close(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield folder


def publish(folder: Path, plan: Plan, owner: tuple[int, int], seconds: float | None = None) -> str:
    """Publish the files that a container has filled under the names of their build, the ISO last; return its SHA-256, in hex.

    ``owner`` is the user and group id that they get, ``seconds`` what the manifest says of the whole command. Raises DiskFull, or StageFailed where they are not those of a build; then no ISO is named.
    """
    iso = iso_path(folder.parent, plan.profile, plan.build_id)
    with _read_or_refused(folder):
        for name, most in MOST_BYTES.items():
            if (folder / name).stat().st_size > most:
                raise _refused(folder / name, "it is too large")
        manifest = _manifest_of(folder / MANIFEST, plan)
        digest = manifest["sha256"] = sha256(folder / ISO)
        manifest |= {} if seconds is None else {"seconds": seconds}
        (folder / MANIFEST).write_text(f"{json.dumps(manifest, indent=1, sort_keys=True)}\n")
        (folder / "sha256").write_text(f"{digest}  {iso.name}\n")
        endings = {LOG: ".log", MANIFEST: ".manifest.json", "sha256": ".sha256", ISO: ""}
        for name in endings:
            settle(folder / name, owner)
        for name, ending in endings.items():
            (folder / name).replace(f"{iso}{ending}")
    point_to(iso, plan.profile)
    sync(folder.parent)
    return digest


def settle(path: Path, owner: tuple[int, int]) -> None:
    """Set the owner and mode of a file, and sync it to disk."""
    with path.open("rb") as stream:
        if os.geteuid() == 0:
            os.fchown(stream.fileno(), *owner)
        os.fchmod(stream.fileno(), 0o644)
        os.fsync(stream.fileno())


def take(source: Path, target: Path) -> str:
    """Copy a .deb that foreign code may have made into a new file; return its SHA-256, in hex.

    Raises DiskFull, or StageFailed unless it is a regular file with one name and at most MOST_DEB_BYTES.
    """
    digest = hashlib.sha256()
    with _read_or_refused(source), inputs.opened(source) as given:
        found = os.fstat(given.fileno())
        if found.st_nlink != 1 or found.st_size > MOST_DEB_BYTES:
            raise _refused(source, "it has a second name, or is too large")
        with target.open("xb") as made:
            while chunk := given.read(2**20):
                digest.update(chunk)
                made.write(chunk)
    return digest.hexdigest()


def newest_path(output: Path, profile: Profile) -> Path:
    """Where the link to a profile's newest ISO is."""
    return output / f"{distribution.iso_name(profile)}.iso"


def point_to(iso: Path, profile: Profile) -> None:
    """Let the link to the newest ISO point to this one, unless somebody has put something else there."""
    link = newest_path(iso.parent, profile)
    if str(link.readlink()) == iso.name if link.is_symlink() else link.exists():
        return
    temporary = link.with_name(f"{STAGING_PREFIX}{uuid.uuid4().hex}-link")
    temporary.symlink_to(iso.name)
    temporary.replace(link)


@contextmanager
def _read_or_refused(path: Path) -> Iterator[None]:
    """Raise DiskFull for a full disk, or StageFailed for any other trouble with what a container left."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(str(path.parent), str(error)) from error
        raise _refused(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _refused(path, str(error)) from error


def _refused(path: Path, why: str) -> StageFailed:
    return StageFailed(
        "the container delivered something else than it should",
        where=str(path),
        why=why,
        hint="nothing was published; with --privileged, a hook may have written to /output",
    )
