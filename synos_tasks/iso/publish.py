"""The way of an ISO out of its container: deliver() puts all files into a staging folder, publish() names them.

In the container they have names of no build. The host gives them their final ones, the ISO last, because what
runs in the container (a hook can leave its chroot) must never be able to touch an earlier ISO.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import StageFailed
from synos_tasks.iso.scratch import remove, sync
from synos_tasks.iso.store import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.protocol import Done
    from synos_tasks.iso.store import Entry
    from synos_tasks.iso.tools import BuildContext

ISO = "image.iso"
MANIFEST = "manifest.json"
LOG = "build.log"
PACKAGE_FIELDS = ("name", "version", "architecture", "sha256", "layer")
STAGING_PREFIX = ".synos-partial-"
"""Of the folder inside the output folder that scratch() makes for each build."""


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
    for name in (ISO, MANIFEST, LOG):
        os.chown(context.output / name, *context.owner)
        (context.output / name).chmod(0o644)
        sync(context.output / name)
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
        manifest: dict[str, Any] = json.loads(Path(f"{iso}.manifest.json").read_text())
        whole = manifest["key"] == plan.key and sha256(iso) == manifest["sha256"]
        return manifest if whole and manifest["stages"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish(folder: Path, plan: Plan, digest: str) -> Path:
    """Move what the container delivered out of its staging folder; returns the ISO's path.

    ``digest`` is the SHA-256 that the container reports. Raises StageFailed when something else than the expected
    files was delivered; then nothing has a final name.
    """
    # the container is not trusted with names, links and sums: a hook may have spoken for it
    for name in (MANIFEST, LOG, ISO):
        if (folder / name).is_symlink() or not (folder / name).is_file():
            raise _refused(folder, f"{name} is not a regular file")
    if sha256(folder / ISO) != digest:
        raise _refused(folder, f"its SHA-256 is not {digest}")
    iso = iso_path(folder.parent, plan.profile, plan.build_id)
    remove(folder / "sha256")
    with (folder / "sha256").open("x") as stream:  # never through a link
        stream.write(f"{digest}  {iso.name}\n")
    (folder / LOG).replace(f"{iso}.log")
    (folder / MANIFEST).replace(f"{iso}.manifest.json")
    (folder / "sha256").replace(f"{iso}.sha256")
    (folder / ISO).replace(iso)
    point_to(iso, plan.profile)
    sync(folder.parent)
    return iso


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


def _refused(folder: Path, why: str) -> StageFailed:
    return StageFailed(
        "the container delivered something else than an ISO",
        where=str(folder),
        why=why,
        hint="nothing was published; look for a hook that writes to /output",
    )
