"""The last step: the ISO and what belongs to it get their final names, the ISO last and at once."""

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

PARTIAL_PREFIX = ".partial-"
# the container's own name keeps two builds that share an output folder apart
PARTIAL = f"{PARTIAL_PREFIX}{os.uname().nodename}-"


def sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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


def publish(shop: Workshop, partial: Path, ident: str, stages: list[dict[str, Any]]) -> dict[str, str]:
    """Give the ISO and its companions their names; returns the ISO's file name and SHA-256.

    Each file is complete and on disk before it gets its name, and the ISO comes last: whoever sees
    an ISO sees the rest of it too.
    """
    name = f"synos-{shop.plan.profile.name}-{ident}.iso"
    digest = sha256(partial)
    shop.events.finish_log()
    companions = {
        f"{name}.sha256": f"{digest}  {name}\n",
        f"{name}.manifest.json": json.dumps(
            manifest(shop, ident, partial, digest, stages), indent=2, sort_keys=True
        )
        + "\n",
    }
    for companion, text in companions.items():
        temporary = shop.output / f"{PARTIAL}{companion}"
        temporary.write_text(text)
        _settle(temporary, shop.output / companion, shop.plan.owner)
    log = shop.output / f"{PARTIAL}{name}.log"
    shutil.copyfile(shop.events.log_path, log)
    _settle(log, shop.output / f"{name}.log", shop.plan.owner)
    _settle(partial, shop.output / name, shop.plan.owner)
    latest = f"synos-{shop.plan.profile.name}.iso"
    link = shop.output / f"{PARTIAL}{latest}"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    os.lchown(link, *shop.plan.owner)
    link.replace(shop.output / latest)
    return {"iso": name, "sha256": digest}


def _settle(temporary: Path, final: Path, owner: tuple[int, int]) -> None:
    os.chown(temporary, *owner)
    temporary.chmod(0o644)
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
