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

from synos_tasks.iso.scratch import sync
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
    context: BuildContext, plan: Plan, entries: list[Entry], live: Mapping[str, Path], stages: list[Done]
) -> str:
    """Write manifest and log next to the ISO in the output folder; returns the ISO's SHA-256, hex.

    ``entries`` are those of the store that it is made of.
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
        "packages": [*_locked(plan, entries), *_compiled(entries)],
    }
    (context.output / MANIFEST).write_text(f"{json.dumps(manifest, indent=1, sort_keys=True)}\n")
    shutil.copyfile(context.events.log_path, context.output / LOG)
    for path in (iso, context.output / MANIFEST, context.output / LOG):
        os.chown(path, *context.owner)
        path.chmod(0o644)
        sync(path)
    return digest


def _locked(plan: Plan, entries: list[Entry]) -> list[dict[str, Any]]:
    """Describe the packages of the lock. The entries of layers say how large each is when unpacked."""
    installed: dict[str, int] = {}
    for entry in entries:
        installed |= entry.facts.get("installed", {})
    return [
        {
            "name": package.name,
            "version": package.version,
            "architecture": package.architecture,
            "sha256": package.sha256,
            "layer": package.layer,
            "bytes": package.size,
            "installed_bytes": installed.get(package.name, 0),
        }
        for package in plan.lock.packages
    ]


def _compiled(entries: list[Entry]) -> list[dict[str, Any]]:
    return [
        {**{key: value for key, value in package.items() if key != "file"}, "layer": "components"}
        for entry in entries
        for package in entry.facts.get("packages", [])
    ]
