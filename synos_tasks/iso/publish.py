"""From the container's folder into the output folder: complete files get their final names, the ISO last."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import StageFailed
from synos_tasks.iso import deliver
from synos_tasks.iso.scratch import remove, scratch, sweep, sync
from synos_tasks.iso.store import sha256

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from synos_tasks.iso.plan import Plan

STAGING_PREFIX = ".synos-partial-"


def staging(output: Path) -> AbstractContextManager[Path]:
    """Return an empty folder inside ``output`` for one build, removed afterwards."""
    return scratch(output, STAGING_PREFIX)


def sweep_staging(output: Path) -> None:
    """Remove the staging folders of killed builds."""
    sweep(output, STAGING_PREFIX)


def iso_path(output: Path, profile: str, build_id: str, distribution: str = "synos") -> Path:
    """Where a build's ISO is."""
    return output / f"{distribution}-{profile}-{build_id}.iso"


def published(output: Path, plan: Plan) -> dict[str, Any] | None:
    """Return the manifest of the ISO that a plan would make, if it is there and its checksum is right."""
    iso = iso_path(output, plan.profile.name, plan.build_id, plan.profile.distribution)
    try:
        manifest: dict[str, Any] = json.loads(Path(f"{iso}.manifest.json").read_text())
        whole = manifest["key"] == plan.key and sha256(iso) == manifest["sha256"]
        return manifest if whole and manifest["stages"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish(folder: Path, profile: str, build_id: str, digest: str, distribution: str = "synos") -> Path:
    """Move what the container delivered out of its staging folder; returns the ISO's path.

    ``build_id`` is the plan's, ``digest`` the SHA-256 that the container reports. With an ISO comes the
    rest of it too. Raises StageFailed when something else than the expected files was delivered; then nothing
    has a final name.
    """
    # the container is not trusted with names, links and sums: a hook may have spoken for it
    for name in (deliver.MANIFEST, deliver.LOG, deliver.ISO):
        path = folder / name
        if not stat.S_ISREG(path.lstat().st_mode if os.path.lexists(path) else 0):
            raise _refused(folder, f"{name} is not a regular file")
    if sha256(folder / deliver.ISO) != digest:
        raise _refused(folder, f"its SHA-256 is not {digest}")
    iso = iso_path(folder.parent, profile, build_id, distribution)
    remove(folder / "sha256")
    with (folder / "sha256").open("x") as stream:  # never through a link
        stream.write(f"{digest}  {iso.name}\n")
    (folder / deliver.LOG).replace(f"{iso}.log")
    (folder / deliver.MANIFEST).replace(f"{iso}.manifest.json")
    (folder / "sha256").replace(f"{iso}.sha256")
    (folder / deliver.ISO).replace(iso)
    point_to(iso, profile, distribution)
    sync(folder.parent)
    return iso


def point_to(iso: Path, profile: str, distribution: str = "synos") -> None:
    """Let DISTRIBUTION-PROFILE.iso be a link to the newest, unless somebody has put something else there."""
    link = iso.with_name(f"{distribution}-{profile}.iso")
    ours = link.is_symlink() or not link.exists()
    if not ours or (link.is_symlink() and str(link.readlink()) == iso.name):
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
