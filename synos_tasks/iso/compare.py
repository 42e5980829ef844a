"""Compares two ISOs file by file, inside the container: what is there, what it is, and where it first differs."""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.scratch import remove
from synos_tasks.iso.store import sha256
from synos_tasks.iso.tree import is_whiteout, walk

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.tools import BuildContext

STAGE = "compare"
SHOWN_LINES = 20
SHOWN_BYTES = 16


def compare(context: BuildContext, one: Path, two: Path) -> dict[str, Any]:
    """Compare two ISOs. Sizes in bytes; of the files that differ, the first is shown.

    Paths below ``/`` are those of the root file system, below ``ISO:`` those of the medium itself.
    """
    before, after = (_contents(context, iso, name) for iso, name in ((one, "one"), (two, "two")))
    changed = sorted(path for path in before.keys() & after.keys() if before[path][0] != after[path][0])
    first = next(iter(changed), None)
    return {
        "sizes": [one.stat().st_size, two.stat().st_size],
        "added": [[path, after[path][1]] for path in sorted(after.keys() - before.keys())],
        "removed": [[path, before[path][1]] for path in sorted(before.keys() - after.keys())],
        "changed": [[path, before[path][1], after[path][1]] for path in changed],
        "first": [first, difference(before[first][2], after[first][2])] if first else None,
    }


def difference(one: Path, two: Path) -> list[str]:
    """Show where two files differ: a diff of texts, offset and bytes otherwise, kind and mode first."""
    kinds = [_described(path) for path in (one, two)]
    if kinds[0] != kinds[1]:
        return [f"- {kinds[0]}", f"+ {kinds[1]}"]
    contents = [path.read_bytes() if path.is_file() and not path.is_symlink() else b"" for path in (one, two)]
    try:
        texts = [content.decode().splitlines() for content in contents]
    except UnicodeDecodeError:
        return _bytes(contents[0], contents[1])
    lines = list(difflib.unified_diff(texts[0], texts[1], lineterm="", n=0))[2:]  # without the files' names
    # only the ends of lines differ: no line does
    shown = [line[:200] for line in lines[:SHOWN_LINES]]
    return shown if shown or contents[0] == contents[1] else _bytes(contents[0], contents[1])


def _bytes(one: bytes, two: bytes) -> list[str]:
    place = next(
        (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )
    return [
        f"at byte {place} of {len(one)} and {len(two)}",
        f"- {one[place : place + SHOWN_BYTES].hex(' ')}",
        f"+ {two[place : place + SHOWN_BYTES].hex(' ')}",
    ]


def _described(path: Path) -> str:
    status = path.lstat()
    text = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {int(status.st_mtime)}"
    if path.is_symlink():
        return f"{text} -> {path.readlink()}"
    attributes = "".join(f" {name}={os.getxattr(path, name).hex()}" for name in sorted(os.listxattr(path)))
    device = f" {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if status.st_rdev else ""
    return f"{text}{device}{attributes}"


def _contents(context: BuildContext, iso: Path, name: str) -> dict[str, tuple[str, int, Path]]:
    """Return digest, size and place of every file of an ISO, its layers unpacked over each other."""
    medium, root = context.work / name / "medium", context.work / name / "root"
    medium.mkdir(parents=True)
    root.mkdir()
    context.run(STAGE, ["xorriso", "-osirrox", "on", "-indev", str(iso), "-extract", "/", str(medium)])
    layers = sorted((medium / "live").glob("*.squashfs"))
    for layer in layers:
        _unpack(context, layer, root)
    found = [(f"/{path}", root / path, status) for path, status in walk(root)]
    found += [(f"ISO:{path}", medium / path, status) for path, status in walk(medium)]
    return {name: _fact(path, status) for name, path, status in found if path not in layers}


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
