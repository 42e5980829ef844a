"""Compares two ISOs file by file, inside the container: what is there, what it is, and where it first differs."""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.scratch import remove
from synos_tasks.iso.store import sha256
from synos_tasks.iso.tree import is_whiteout, walk

if TYPE_CHECKING:
    from synos_tasks.iso.tools import BuildContext

STAGE = "compare"
SHOWN_LINES = 20
SHOWN_BYTES = 16
CHUNK = 2**20
# what is larger is never shown as a text
MOST_TEXT = 4 * 2**20
OUTSIDE_FILES = "the ISO's own structures: no file differs"

Facts = dict[str, tuple[str, int, Path]]


def compare(context: BuildContext, one: Path, two: Path) -> dict[str, Any]:
    """Compare two ISOs. Sizes in bytes; of the files that differ, the first is shown.

    Paths below ``/`` are those of the root file system, below ``ISO:`` those of the medium itself. Layers are compared
    by what they hold. Where that is the same, their bytes are compared, and then those of the ISOs.
    """
    before, after = (_contents(context, iso, name) for iso, name in ((one, "one"), (two, "two")))
    found = _changes(
        *({path: side[path] for path in side if not _is_layer(path)} for side in (before, after))
    )
    if not any(found.values()):
        found = _changes(before, after)
    if not any(found.values()) and sha256(one) != sha256(two):
        found["first"] = [OUTSIDE_FILES, _bytes(one, two)]
    return {"sizes": [one.stat().st_size, two.stat().st_size], **found}


def _changes(before: Facts, after: Facts) -> dict[str, Any]:
    changed = sorted(path for path in before.keys() & after.keys() if before[path][0] != after[path][0])
    first = next(iter(changed), None)
    return {
        "added": [[path, after[path][1]] for path in sorted(after.keys() - before.keys())],
        "removed": [[path, before[path][1]] for path in sorted(before.keys() - after.keys())],
        "changed": [[path, before[path][1], after[path][1]] for path in changed],
        "first": [first, difference(before[first][2], after[first][2])] if first else None,
    }


def _is_layer(path: str) -> bool:
    return path.startswith("ISO:live/") and path.endswith(".squashfs")


def difference(one: Path, two: Path) -> list[str]:
    """Show where two files differ: a diff of texts, offset and bytes otherwise, kind and mode first."""
    kinds = [_described(path) for path in (one, two)]
    if kinds[0] != kinds[1]:
        return [f"- {kinds[0]}", f"+ {kinds[1]}"]
    if not stat.S_ISREG(one.lstat().st_mode):
        return []
    if max(path.stat().st_size for path in (one, two)) > MOST_TEXT:
        return _bytes(one, two)
    try:
        texts = [path.read_bytes().decode().splitlines() for path in (one, two)]
    except UnicodeDecodeError:
        return _bytes(one, two)
    lines = list(difflib.unified_diff(texts[0], texts[1], lineterm="", n=0))[2:]  # without the files' names
    # only the ends of lines differ: no line does
    return [line[:200] for line in lines[:SHOWN_LINES]] or _bytes(one, two)


def _bytes(one: Path, two: Path) -> list[str]:
    """Return where two files first differ, and the bytes there; nothing where they do not."""
    place = 0
    with one.open("rb") as first, two.open("rb") as second:
        while (before := first.read(CHUNK)) == (after := second.read(CHUNK)):
            if not before:
                return []
            place += len(before)
        differing = (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
        place += next(differing, min(len(before), len(after)))
        first.seek(place)
        second.seek(place)
        return [
            f"at byte {place} of {one.stat().st_size} and {two.stat().st_size}",
            f"- {first.read(SHOWN_BYTES).hex(' ')}",
            f"+ {second.read(SHOWN_BYTES).hex(' ')}",
        ]


def _described(path: Path) -> str:
    status = path.lstat()
    text = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {int(status.st_mtime)}"
    if path.is_symlink():
        return f"{text} -> {path.readlink()}"
    attributes = "".join(f" {name}={os.getxattr(path, name).hex()}" for name in sorted(os.listxattr(path)))
    device = f" {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if status.st_rdev else ""
    return f"{text}{device}{attributes}"


def _contents(context: BuildContext, iso: Path, name: str) -> Facts:
    """Return digest, size and place of every file of an ISO, its layers unpacked over each other."""
    medium, root = context.work / name / "medium", context.work / name / "root"
    medium.mkdir(parents=True)
    root.mkdir()
    context.run(STAGE, ["xorriso", "-osirrox", "on", "-indev", str(iso), "-extract", "/", str(medium)])
    for layer in sorted((medium / "live").glob("*.squashfs")):
        _unpack(context, layer, root)
    found = [(f"/{path}", root / path, status) for path, status in walk(root)]
    found += [(f"ISO:{path}", medium / path, status) for path, status in walk(medium)]
    return {name: _fact(path, status) for name, path, status in found}


def _unpack(context: BuildContext, layer: Path, root: Path) -> None:
    """Lay a layer over those below it; whiteouts take away what they hide."""
    above = root.with_name("layer")
    context.run(STAGE, ["unsquashfs", "-no-progress", "-quiet", "-dest", str(above), str(layer)])
    for path, status in list(walk(above)):
        below = root / path
        both_folders = stat.S_ISDIR(status.st_mode) and below.is_dir() and not below.is_symlink()
        if is_whiteout(above / path):
            parent = (above / path).parent
            date = parent.stat().st_mtime
            (above / path).unlink()
            os.utime(parent, (date, date))
            remove(below)
        elif not both_folders:
            remove(below)
    context.run(STAGE, ["cp", "-a", f"{above}/.", str(root)])
    remove(above)


def _fact(path: Path, status: os.stat_result) -> tuple[str, int, Path]:
    """Return digest of kind, owner, mode, date and content; size; place."""
    digest, is_file = hashlib.sha256(_described(path).encode()), stat.S_ISREG(status.st_mode)
    if is_file:
        digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest(), status.st_size if is_file else 0, path
