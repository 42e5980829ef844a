"""Small ISOs that are none, with all that a build publishes beside one."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def lay_iso(
    output: Path, profile: str, build_id: str, built: float, *, content: bytes = b"", report: bool = False
) -> Path:
    """Write an ISO and what belongs to it; ``built`` in seconds since 1970. The content follows from its names."""
    output.mkdir(parents=True, exist_ok=True)
    iso = output / f"synos-{profile}-{build_id}.iso"
    iso.write_bytes(content or f"{profile} {build_id} ".encode() * 1000)
    digest = hashlib.sha256(iso.read_bytes()).hexdigest()
    manifest = {
        "schema": "synos.manifest/1",
        "profile": profile,
        "build_id": build_id,
        "sha256": digest,
        "bytes": {"iso": iso.stat().st_size},
        "key": "k",
        "stages": [],
    }
    beside = {
        ".sha256": f"{digest}  {iso.name}\n",
        ".manifest.json": json.dumps(manifest),
        ".log": f"built {build_id}\n",
        **({".report.html": "<html>"} if report else {}),
    }
    for ending, text in beside.items():
        (output / f"{iso.name}{ending}").write_text(text)
    for path in output.glob(f"{iso.name}*"):
        os.utime(path, (built, built))
    return iso
