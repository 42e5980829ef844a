"""What an initramfs depends on: a layer that brings any of it needs an initramfs of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# what mkinitramfs itself reads, and what decides over the hooks
ALWAYS = (
    "boot", "etc/initramfs-tools", "etc/live/boot", "etc/live/boot.conf", "etc/modprobe.d", "etc/systemd/network",
    "etc/udev", "usr/lib/firmware", "usr/lib/live/boot", "usr/lib/modprobe.d", "usr/lib/modules",
    "usr/share/initramfs-tools",
)  # fmt: skip
HOOKS = (
    "usr/share/initramfs-tools/hooks/*", "usr/share/initramfs-tools/conf*.d/*",
    "etc/initramfs-tools/hooks/*", "etc/initramfs-tools/conf.d/*", "etc/initramfs-tools/initramfs.conf",
)  # fmt: skip
KEYBOARD = {"etc/console-setup", "etc/default/console-setup", "etc/default/keyboard"}
"""What setupcon reads for the hook keymap, where it is wanted."""
# settings and data below these two: a program is of use only to a hook that comes with it
_NAMED = re.compile(r"(?<![\w}])/(etc/[\w.+-]+(?:/[\w.+-]+)*|usr/share/[\w.+-]+(?:/[\w.+-]+)*)")
_COMMENT = re.compile(r"^\s*#.*", re.MULTILINE)
# every profile changes these; the initramfs has its own, or does not use them
NOT_COPIED = {"etc/default", "etc/group", "etc/motd", "etc/nsswitch.conf", "etc/os-release", "etc/passwd"}


def named_by_hooks(root: Path) -> list[str]:
    """Return the files and folders below /etc and /usr/share that the hooks in a tree name, relative to its root."""
    found: set[str] = set()
    for path in (path for pattern in HOOKS for path in root.glob(pattern)):
        if path.is_file() and not path.is_symlink():
            text = _COMMENT.sub("", path.read_text(errors="replace"))
            found |= {*_NAMED.findall(text), *(KEYBOARD if "KEYMAP=y" in text else ())}
    return sorted(found - NOT_COPIED)


def touched(changed: Iterable[str], removed: Iterable[str], named: Iterable[str]) -> bool:
    """Tell whether the initramfs depends on what a layer changed or removed; ``named`` is what hooks read."""
    inputs = tuple(f"{path}/" for path in (*ALWAYS, *named))
    return any(f"{path}/".startswith(inputs) for path in changed) or any(
        f"{path}/".startswith(inputs) or any(one.startswith(f"{path}/") for one in inputs) for path in removed
    )
