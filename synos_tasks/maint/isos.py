"""ISOs in the output folder, each with the files beside it, and which of them are old. Pure: reads, changes nothing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.maint.files import is_regular

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST_SCHEMA = "synos.manifest/1"
MANIFEST, SUM = ".manifest.json", ".sha256"
BESIDE = (".log", ".report.html", SUM, MANIFEST)
"""What belongs to an ISO, behind its name; the manifest last, as it makes the set one of ours."""
_ISO = re.compile(r"synos-(?P<profile>.+)-(?P<build>[0-9a-f]{12})\.iso", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Build:
    """One ISO that a build of ours published. ``used`` is when it was built, in seconds since 1970."""

    iso: Path
    profile: str
    build_id: str
    sha256: str
    used: float

    @property
    def name(self) -> str:
        """As its archive is called: the ISO's name without its ending."""
        return self.iso.name.removesuffix(".iso")

    @property
    def files(self) -> list[Path]:
        """The ISO and all that belongs to it, the ISO first and the manifest last."""
        return [self.iso, *(path for path in map(self._beside, BESIDE) if is_regular(path))]

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(path.stat().st_size for path in self.files)

    def _beside(self, ending: str) -> Path:
        return self.iso.with_name(f"{self.iso.name}{ending}")


@dataclass(frozen=True, kw_only=True)
class Left:
    """An ISO that is named as ours are, and why it is left alone."""

    name: str
    why: str


def builds(output: Path) -> tuple[list[Build], list[Left]]:
    """Give the builds in the output folder, oldest first, and what looks like one and is none."""
    found, left = [], []
    for path in sorted(output.glob("*.iso")):
        # synos-PROFILE.iso is a link, and other ISOs are somebody's own
        if not is_regular(path) or not _ISO.fullmatch(path.name):
            continue
        try:
            found.append(_build(path))
        except (OSError, ValueError, RecursionError) as error:
            left.append(Left(name=path.name, why=str(error)))
    return sorted(found, key=lambda one: (one.used, one.name)), left


def linked(output: Path) -> frozenset[str]:
    """Give the names of what links in the output folder point to."""
    return frozenset(path.resolve().name for path in output.glob("*.iso") if path.is_symlink())


def parts(name: str) -> tuple[str, str]:
    """Give profile and build id of an archive's name, synos-PROFILE-BUILDID; raises ValueError."""
    found = _ISO.fullmatch(f"{name}.iso")
    if not found or "/" in name:
        raise ValueError("it is not named synos-PROFILE-BUILDID.iso")
    return found["profile"], found["build"]


def _build(iso: Path) -> Build:
    """Read what is beside an ISO; raises ValueError or OSError where it does not fit."""
    profile, build_id = parts(iso.name.removesuffix(".iso"))
    manifest = _manifest(iso)
    told = {key: manifest.get(key) for key in ("schema", "profile", "build_id")}
    if told != {"schema": MANIFEST_SCHEMA, "profile": profile, "build_id": build_id}:
        raise ValueError("its manifest is of something else")
    status, sizes = iso.stat(), manifest.get("bytes")
    if not isinstance(sizes, dict) or sizes.get("iso") != status.st_size:
        raise ValueError("it does not have the size that its manifest says")
    digest = str(manifest.get("sha256"))
    if iso.with_name(f"{iso.name}{SUM}").read_text() != f"{digest}  {iso.name}\n":
        raise ValueError("its .sha256 is not what its manifest says")
    return Build(iso=iso, profile=profile, build_id=build_id, sha256=digest, used=status.st_mtime)


def _manifest(iso: Path) -> dict[str, Any]:
    path = iso.with_name(f"{iso.name}{MANIFEST}")
    if not is_regular(path):
        raise ValueError("it has no manifest")
    told = json.loads(path.read_text())
    return told if isinstance(told, dict) else {}
