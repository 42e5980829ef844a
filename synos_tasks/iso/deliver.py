"""The last step in the container: the ISO and what belongs to it, complete and on disk.

They have names of no build here. The host gives them their final ones, because what runs in the
container (a hook can leave its chroot) must never be able to touch an earlier ISO.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.stages import customise

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.tools import Workshop

ISO = "image.iso"
MANIFEST = "manifest.json"
LOG = "build.log"


def deliver(shop: Workshop, ident: str, stages: list[dict[str, Any]]) -> str:
    """Lay manifest and log beside the ISO in the output folder; returns the ISO's SHA-256, hex."""
    iso = shop.output / ISO
    digest = sha256(iso)
    shop.events.finish_log()
    text = json.dumps(manifest(shop, ident, iso, digest, stages), indent=2, sort_keys=True)
    (shop.output / MANIFEST).write_text(f"{text}\n")
    shutil.copyfile(shop.events.log_path, shop.output / LOG)
    for name in (ISO, MANIFEST, LOG):
        _settle(shop.output / name, shop.plan.owner)
    return digest


def manifest(
    shop: Workshop, ident: str, iso: Path, digest: str, stages: list[dict[str, Any]]
) -> dict[str, Any]:
    """Describe what the ISO is made of."""
    profile = shop.plan.profile
    packages = [
        {"name": name, "version": version, "architecture": architecture}
        for name, version, architecture in customise.installed(shop.root)
    ]
    sizes = {path.name: path.stat().st_size for path in sorted((shop.tree / "live").iterdir())}
    return {
        "schema": "synos.manifest/1",
        "profile": profile.name,
        "suite": profile.suite,
        "architecture": profile.architecture,
        "build_id": ident,
        "sha256": digest,
        "bytes": {"iso": iso.stat().st_size, **sizes},
        "stages": [{"name": stage["name"], "key": stage["key"]} for stage in stages],
        "packages": packages,
    }


def sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _settle(path: Path, owner: tuple[int, int]) -> None:
    """Give a file to whoever asked for the build, and see it on disk."""
    os.chown(path, *owner)
    path.chmod(0o644)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
