"""iso: a hybrid image for CD and USB stick, BIOS and UEFI, written by xorriso."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from synos_tasks.iso import distribution
from synos_tasks.iso.stages.bootfiles import EFI_IMAGE
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.iso.tools import BuildContext

NAME = "iso"
STAGE = StageSpec(fields=("name", "project"), keys={"distribution": distribution.KEY})


def make(context: BuildContext, tree: Path, live: Mapping[str, Path], target: Path) -> None:
    """Write the ISO to ``target``: the files of ``tree``, and ``live`` as name to path below /live."""
    profile, firmware = context.profile, set(context.profile.values["boot"]["firmware"])
    date = dt.datetime.fromtimestamp(context.epoch, dt.UTC)
    # by way of standard output: into a file that is there already, xorriso writes several times as slowly
    argv = ["sh", "-c", 'exec "$@" >"$0"', str(target)]
    # level 3: files of 4 GiB and more
    argv += ["xorriso", "-as", "mkisofs", "-o", "-", "-iso-level", "3", "-r", "-J", "-joliet-long"]
    argv += ["-V", distribution.iso_label(profile)]
    # GPT and MBR ids come from the modification date
    argv += [f"--modification-date={date:%Y%m%d%H%M%S}00", "--set_all_file_dates", f"{date:%Y%m%d%H%M%S}00"]
    if "bios" in firmware:
        argv += ["-b", "boot/grub/eltorito.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
        argv += ["--grub2-boot-info", "--grub2-mbr", "/usr/lib/grub/i386-pc/boot_hybrid.img"]
        argv += ["-c", "boot/boot.cat"]
    if {"uefi", "secure-boot"} & firmware:
        argv += ["-partition_offset", "16", "-append_partition", "2", "0xef", str(tree.with_name(EFI_IMAGE))]
        argv += ["-appended_part_as_gpt"]
        argv += ["-eltorito-alt-boot"] if "bios" in firmware else ["-c", "boot/boot.cat"]
        argv += ["-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    grafts = [f"/live/{name}={path}" for name, path in live.items()]
    context.run(NAME, [*argv, "-graft-points", f"/={tree}", *grafts])
