"""Tell by its console that a guest will never report, and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MENU_SECONDS = 5.0
"""GRUB counts down in steps of one second: a menu that is silent for so long waits for a person."""
_MENU = re.compile(
    r"\ba command-line\."
)  # "Press … or `c' for a command-line."; the firmware may break the line before
ENDS = (
    (r"Kernel panic - not syncing", "the kernel panicked"),
    (r"^\(initramfs\)", "the initramfs gave up and waits at its prompt"),
    (r"^dracut:/#|Generating \"/run/initramfs/rdsosreport", "dracut gave up and waits at its prompt"),
    (r"^grub rescue>", "GRUB found no files of its own and waits at its rescue prompt"),
    (r"^grub>", "GRUB found no menu and waits at its prompt"),
    (r"error: you need to load the kernel first|Failed to boot both default and fallback", "GRUB started no kernel"),
    (r"Freezing execution|Failed to isolate default target", "systemd stopped"),
    (r"You are in emergency mode|Press Enter for (?:emergency )?maintenance|Cannot open access to console",
     "the system went into emergency mode"),
    (r"You are in rescue mode", "the system went into rescue mode"),
    (r"BdsDxe: No bootable option|No bootable device|^Shell>", "the firmware found nothing to boot"),
    (r"reboot: (?:System halted|Power down)", "the guest switched itself off"),
)  # fmt: skip
"""Patterns of lines, complete or not, after which no report can follow, and what has happened then."""
CAUSES = (
    (r"error: .*(?:bad shim signature|prohibited by secure boot)|Security Violation|Access Denied",
     "Secure Boot starts only what Debian or Microsoft has signed: take a kernel of Debian's, or --firmware uefi"),
    (r"error: .*not found", "the boot menu names a file that is not on the ISO"),
    (r"error: (?:no such device|no server|disk .* not found|unknown filesystem)",
     "the boot menu looks for a medium that is not there"),
    (r"error: (?:can't find command|syntax error|.*out of memory)", "the boot menu has a mistake, or needs more memory"),
    (r"No loop devices available",
     "more layers than loop devices: the kernel argument loop.max_loop=64, or one layer: `inv build.iso --release`"),
    (r"Initramfs unpacking failed|Out of memory|out of memory",
     "give the guest more memory: synos.boot.memory_mb in invoke.yaml"),
    (r"Unable to find a medium containing a live file system",
     "the initramfs found no disk with /live: its drivers, or the kernel arguments live-media and live-media-path"),
    (r"No supported filesystem images found|Can not mount|Can't mount|squashfs error|SQUASHFS error|isofs.*error",
     "the squashfs files on the ISO are missing or damaged: build again, if need be with --no-cache"),
    (r"Gave up waiting for root|ALERT!|No init found|run-init:|can't execute",
     "the kernel arguments boot, root and init say what the initramfs starts"),
    (r"VFS: (?:Unable to mount root|Cannot open root)", "the kernel got no initramfs, or one it cannot read"),
    (r"Attempted to kill init", "the first program ended: see what it printed before"),
    (r"Timed out waiting for device|Failed to mount|Dependency failed for|\[FAILED\]",
     "a mount of /etc/fstab that need not be there has the option nofail"),
    (r"systemd\[1\]: Failed to (?:load|start|mount|isolate)|Unit .* not found",
     "the kernel argument systemd.unit, or the default target, names a unit that cannot be started"),
    (r"BdsDxe: No bootable option|No bootable device",
     "the ISO may be for other firmware: see `boot.firmware` of its profile, and --firmware"),
    (r"Spawning shell within the initramfs", "the kernel argument break stops in the initramfs"),
    (r"The error message was:\s*\n[^\n]*", "what live-boot says is above; the kernel argument debug tells more"),
)  # fmt: skip
"""Patterns of earlier lines that say why, the most telling one first, and what to do about it."""
_ENDS = [(re.compile(pattern), what) for pattern, what in ENDS]
_CAUSES = [(re.compile(f"^.*(?:{pattern}).*$", re.MULTILINE), hint) for pattern, hint in CAUSES]


class Trouble(NamedTuple):
    """What happened to a guest, in words that quote its console, and what to do."""

    why: str
    hint: str


def ending(lines: Sequence[str]) -> str:
    """Return what has ended the boot according to some lines of the console; '' where it may go on."""
    return next((what for pattern, what in _ENDS for line in lines if pattern.search(line)), "")


def at_menu(lines: Sequence[str], silent: float) -> Trouble | None:
    """Return what keeps GRUB at its menu, if it shows one and counts down no more; ``silent``: for how many seconds."""
    if silent < MENU_SECONDS or not _MENU.search(lines[-1]):
        return None
    what = "GRUB waits at its menu, and counts down no more"
    errors = [line for line in lines if line.startswith("error:")]
    return (
        explain(what, errors)
        if errors
        else Trouble(what, "a menu that starts an entry by itself has a timeout")
    )


def explain(what: str, lines: Sequence[str]) -> Trouble:
    """Add to an ending the line that tells the cause; without a known one, the lines up to the ending."""
    kept = [line for line in lines if line]
    text = "\n".join(kept)
    for pattern, hint in _CAUSES:
        if found := pattern.search(text):
            return Trouble(f"{what}: {found[0].splitlines()[-1].strip()}", hint)
    end = next((number for number, line in enumerate(kept, 1) if ending([line])), len(kept))
    return Trouble("\n".join([what, *kept[max(0, end - 4) : end]]), "")
