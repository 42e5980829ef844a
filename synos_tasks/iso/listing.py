"""What the stacked layers hold, read from their squashfs files without unpacking."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# mode, owner/group, size or device numbers, date, time, path; as `unsquashfs -lln` prints them
_LINE = re.compile(
    r"([-dlcbps])([-rwxsStT]{9}) +(\d+)/(\d+) +(?:\d+, *\d+|\d+) +\S+ +\S+ squashfs-root/?(.*)"
)
# https://wiki.debian.org/UsrMerge
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_MODES = {stat.filemode(mode)[1:]: mode for mode in range(0o10000)}
PLAIN = (0o755, 0, 0)
_KINDS = {"d": "a folder", "l": "a link"}


class Listing:
    """Kind of each path, and mode and owner of each folder, of a stack of layers."""

    def __init__(self) -> None:
        self._paths: dict[str, tuple[str, int, int, int]] = {"": ("a folder", *PLAIN)}

    def add(self, lines: Iterable[str], removed: Iterable[str]) -> None:
        """Lay a layer over what is there: ``lines`` of `unsquashfs -lln`, ``removed`` as its delta has it."""
        for path in removed:
            self._drop(path)
        for line in lines:
            found = _LINE.match(line)
            if not found:
                continue
            letter, mode, uid, gid, path = found.groups()
            if letter == "c" and re.search(r" 0, *0 ", line):  # a whiteout
                continue
            if letter == "l":
                path = path.partition(" -> ")[0]
            self._paths[path] = (_KINDS.get(letter, "a file"), _MODES[mode], int(uid), int(gid))

    def kind(self, path: str) -> str:
        """Say what a path is; nothing where there is nothing."""
        return self._paths[path][0] if path in self._paths else ""

    def behind_links(self, path: str) -> str:
        """Return where a path lies when /bin, /lib and their like are links into /usr."""
        first = path.partition("/")[0]
        return f"usr/{path}" if first in MERGED and self.kind(first) == "a link" else path

    def make_parents(self, target: Path, path: str) -> None:
        """Make the folders above ``path`` with the modes and owners they have below."""
        parent = path.rpartition("/")[0]
        if parent and not (target / parent).exists():
            self.make_parents(target, parent)
            self.make_folder(target, parent)

    def make_folder(self, target: Path, path: str) -> None:
        """Make one folder, as it is below, or else for everyone to read."""
        (target / path).mkdir(exist_ok=True)
        mode, uid, gid = self._paths[path][1:] if self.kind(path) == "a folder" else PLAIN
        os.chown(target / path, uid, gid)
        (target / path).chmod(mode)

    def _drop(self, path: str) -> None:
        if self._paths.pop(path, ("",))[0] == "a folder":
            for known in [known for known in self._paths if known.startswith(f"{path}/")]:
                del self._paths[known]
