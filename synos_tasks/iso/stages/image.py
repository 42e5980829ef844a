"""iso: a hybrid image for CD and USB stick, BIOS and UEFI, written by xorriso."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.tools import Workshop

STAGE = "iso"


def make(shop: Workshop, target: Path, epoch: int) -> None:
    """Write the ISO to ``target``, a temporary name."""
    profile = shop.plan.profile
    date = dt.datetime.fromtimestamp(epoch, dt.UTC)
    argv = [
        "xorriso",
        "-as",
        "mkisofs",
        "-o",
        str(target),
        "-r",
        "-J",
        "-joliet-long",
        "-V",
        volume_id(profile.name),
    ]
    argv += [f"--modification-date={date:%Y%m%d%H%M%S}00"]  # GPT and MBR ids come from it
    if "bios" in profile.boot:
        argv += ["-b", "boot/grub/eltorito.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
        argv += ["--grub2-boot-info", "--grub2-mbr", "/usr/lib/grub/i386-pc/boot_hybrid.img"]
        argv += ["-c", "boot/boot.cat"]
    if {"uefi", "secure-boot"} & set(profile.boot):
        argv += ["-partition_offset", "16", "-append_partition", "2", "0xef", str(shop.work / "efi.img")]
        argv += ["-appended_part_as_gpt"]
        argv += ["-eltorito-alt-boot"] if "bios" in profile.boot else ["-c", "boot/boot.cat"]
        argv += ["-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    shop.run(STAGE, [*argv, str(shop.tree)], environment={"SOURCE_DATE_EPOCH": str(epoch)})


def volume_id(profile_name: str) -> str:
    """Give the ISO 9660 volume id: at most 32 capitals, digits and underscores."""
    return f"SYNOS_{profile_name.upper().replace('-', '_')}"[:32]
