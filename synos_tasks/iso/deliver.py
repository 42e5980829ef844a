"""The last step in the container: the ISO and what belongs to it, complete and on disk.

They have names of no build here. The host gives them their final ones, because what runs in the
container (a hook can leave its chroot) must never be able to touch an earlier ISO.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.store import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.protocol import Done
    from synos_tasks.iso.store import Entry
    from synos_tasks.iso.tools import BuildContext

ISO = "image.iso"
MANIFEST = "manifest.json"
LOG = "build.log"


def deliver(
    context: BuildContext,
    done: Plan,
    entries: list[Entry],
    live: Mapping[str, Path],
    stages: list[Done],
) -> str:
    """Write manifest and log next to the ISO in the output folder; returns the ISO's SHA-256, hex.

    ``entries`` are those of the store that it is made of.
    """
    iso = context.output / ISO
    digest = sha256(iso)
    context.events.finish_log()
    sizes = {"iso": iso.stat().st_size, **{name: path.stat().st_size for name, path in live.items()}}
    fields = manifest(done, digest, sizes, _installed(entries), stages)
    fields["packages"] += _compiled(entries)
    (context.output / MANIFEST).write_text(f"{json.dumps(fields, indent=1, sort_keys=True)}\n")
    shutil.copyfile(context.events.log_path, context.output / LOG)
    for name in (ISO, MANIFEST, LOG):
        _settle(context.output / name, context.owner)
    return digest


def manifest(
    done: Plan,
    digest: str,
    sizes: Mapping[str, int],
    installed: Mapping[str, int],
    stages: list[Done],
) -> dict[str, Any]:
    """Describe what the ISO is made of. Sizes in bytes; ``installed`` is a package's size when unpacked."""
    profile = done.profile
    packages = [
        {
            "name": package.name,
            "version": package.version,
            "architecture": package.architecture,
            "sha256": package.sha256,
            "layer": package.layer,
            "bytes": package.size,
            "installed_bytes": installed.get(package.name, 0),
        }
        for package in done.lock.packages
    ]
    return {
        "schema": "synos.manifest/1",
        "profile": profile.name,
        "suite": profile.suite,
        "architecture": profile.architecture,
        "release": done.release,
        "build_id": done.build_id,
        "key": done.key,
        "sha256": digest,
        "bytes": dict(sizes),
        "stages": [
            {key: value for key, value in asdict(stage).items() if key != "facts"} for stage in stages
        ],
        "packages": packages,
    }


def _compiled(entries: list[Entry]) -> list[dict[str, Any]]:
    return [
        {**{key: value for key, value in package.items() if key != "file"}, "layer": "components"}
        for entry in entries
        for package in entry.facts.get("packages", [])
    ]


def _installed(entries: list[Entry]) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in entries:
        found |= entry.facts.get("installed", {})
    return found


def _settle(path: Path, owner: tuple[int, int]) -> None:
    """Give a file to the owner of the build, and sync it."""
    os.chown(path, *owner)
    path.chmod(0o644)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
