"""initramfs: made once, of the base layer, while the layers above it are made."""

from __future__ import annotations

import mmap
import os
import re
import shutil
from typing import TYPE_CHECKING

from synos_tasks.errors import StageFailed
from synos_tasks.iso.root import within, write
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from synos_tasks.iso.tools import BuildContext

NAME = "initramfs"
STAGE = StageSpec()
# The live medium is on one of these. A list, because MODULES=most takes two and a half times as long
# (20 s against 8 s on two cores) for drivers of disks that no live system starts from.
LIVE_MODULES = (
    # controllers
    "ahci", "ata_piix", "ata_generic", "pata_acpi", "sata_nv", "sata_sil", "sata_sil24", "sata_via", "sata_sis",
    "nvme", "vmd", "mmc_block", "sdhci_pci", "sdhci_acpi", "rtsx_pci_sdmmc", "rtsx_usb_sdmmc",
    "virtio_pci", "virtio_blk", "virtio_scsi", "hv_vmbus", "hv_storvsc", "vmw_pvscsi", "mptspi", "mptsas",
    "xen_blkfront", "megaraid_sas", "mpt3sas", "aacraid", "hpsa", "sym53c8xx",
    # disks, discs and sticks
    "sd_mod", "sr_mod", "cdrom", "usb_storage", "uas",
    "xhci_pci", "xhci_hcd", "ehci_pci", "ehci_hcd", "ohci_pci", "ohci_hcd", "uhci_hcd",
    # keyboards, for a shell when something is wrong
    "usbhid", "hid_generic", "atkbd", "i8042",
    # file systems
    "loop", "squashfs", "overlay", "isofs", "udf", "vfat", "exfat", "ext4", "btrfs", "xfs",
    "nls_cp437", "nls_iso8859_1", "nls_ascii", "nls_utf8", "dm_mod", "dm_crypt",
)  # fmt: skip

# Redefines a function of initramfs-tools: names are collected, the hook below copies them.
COLLECT = """
manual_add_modules()
{
	[ $# -eq 0 ] || printf '%s\\n' "$@" >>/run/synos/wanted
}
"""
FLUSH = """
flush()
{
    sort -u /run/synos/wanted >/run/synos/names
    : >/run/synos/wanted
    for option in --ignore-install --quiet; do
        xargs modprobe --all --set-version="$version" --quiet --show-depends $option </run/synos/names
    done | sed -n 's|^insmod \\(/usr\\)\\{0,1\\}\\(/[^ ]*\\).*|/usr\\2|p' | sort -u >/run/synos/files
    xargs -r cp --parents --preserve=mode,timestamps -t "$DESTDIR" </run/synos/files
    xargs -r modinfo -k "$version" -F firmware </run/synos/files | sort -u | while read -r file; do
        add_firmware "$file" || true
    done
}
flush
hidden_dep_add_modules
flush
"""
# zstd's place is taken by what leaves its input as it is; without a file among the options, that is standard input
PACKER = """#!/bin/sh
for last; do :; done
[ ! -f "$last" ] || exec cat -- "$last"
exec cat
"""
FUNCTIONS = "usr/share/initramfs-tools/hook-functions"
NEEDED = ("init", "scripts/live", "usr/lib/live/boot/9990-main.sh", "/loop.ko", "/squashfs.ko", "/overlay.ko")
_CPIO_NAME = re.compile(rb"07070[12][0-9A-Fa-f]{104}([^\0]+)\0")
_COMPRESSED = re.compile(r"\.(xz|zst|gz)$")
HOOK = """#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules {modules}
{flush}
"""


def kernel_version(root: Path) -> str:
    """Return the newest kernel of the root. Raises StageFailed where there is none."""
    images = sorted(root.glob("boot/vmlinuz-*"), key=_by_number)
    if not images or not (root / "usr/sbin/mkinitramfs").exists():
        raise StageFailed(
            "the root has no kernel or no initramfs-tools",
            where=f"stage {NAME}",
            hint="packages needs linux-image-amd64, live-boot and initramfs-tools",
        )
    return images[-1].name.removeprefix("vmlinuz-")


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sort 6.1.0-9 before 6.1.0-37."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]


def prepare(root: Path, copy: Path) -> None:
    """Copy what mkinitramfs reads out of ``root``, which later stages change meanwhile.

    The kernel's modules are most of it, and no package writes into the file of another: links will do.
    """
    others = {"usr", "var", "home", "root", "srv", "opt", "media", "mnt"}
    for folder, skipped in (("", others), ("usr", {"share", "lib"}), ("usr/lib", set())):
        for path in sorted(within(root, folder, follow=True).iterdir()):
            if path.name not in skipped:
                linked = folder == "usr/lib" and path.name in {"modules", "firmware"}
                _copy(path, copy / folder / path.name, os.link if linked else shutil.copy2)
    for name in ("usr/share/initramfs-tools", "usr/share/i18n/charmaps", "var/lib/dpkg/arch"):
        source = within(root, name)
        if source.exists():
            _copy(source, copy / name)
    (copy / "var/tmp").mkdir(parents=True)


def _copy(source: Path, target: Path, file: Callable[..., object] = shutil.copy2) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=file)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def make(context: BuildContext, root: Path, folder: Path) -> None:
    """Write initrd.img and vmlinuz into ``folder``. ``root`` is a copy that nothing else needs."""
    version = kernel_version(root)
    scratch = within(root, "run/synos")
    scratch.mkdir(parents=True)
    shutil.copytree(within(root, "etc/initramfs-tools", follow=True), scratch / "conf", symlinks=True)
    write(scratch, "conf/conf.d/synos", "MODULES=list\nCOMPRESS=zstd\n")
    _quicken(root, scratch)
    argv = ["mkinitramfs", "-d", "/run/synos/conf", "-o", "/run/synos/initrd.cpio", version]
    with context.fake_clock(root):
        context.run_inside(NAME, root, argv, environment={"TMPDIR": "/run/synos"})
    archive = within(root, "run/synos/initrd.cpio", follow=True)
    _refuse_incomplete(names_in(archive) if archive.is_file() else ())
    image = folder / "initrd.img"
    # any number of threads gives the same bytes, but for --single-thread
    context.run(NAME, ["zstd", "-q", "-9", "-T2", str(archive), "-o", str(image)])
    shutil.copyfile(within(root, f"boot/vmlinuz-{version}", follow=True), folder / "vmlinuz")


def names_in(archives: Path) -> list[str]:
    """Return the names in one or more cpio archives of the kernel's format, one after the other.

    cpio itself stops after the first. See Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
    """
    with archives.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as data:
        return [found[1].decode(errors="replace") for found in _CPIO_NAME.finditer(data)]


def _refuse_incomplete(names: Sequence[str]) -> None:
    """Raise StageFailed where something is missing without which no live system starts."""
    for needed in NEEDED:
        if not any(_COMPRESSED.sub("", name).endswith(needed) for name in names):
            raise StageFailed(
                f"the initramfs has no {needed}",
                where=f"stage {NAME}",
                hint="the full log shows mkinitramfs's messages",
            )


def _quicken(root: Path, scratch: Path) -> None:
    """Let modules be copied all at once, and compression be left to us.

    initramfs-tools 0.142 starts several processes for each of 400 modules: 9 of its 13 seconds. Newer ones
    have dracut-install for that, and keep it.
    """
    write(root, "usr/bin/zstd", PACKER, 0o755)
    text = within(root, FUNCTIONS, follow=True).read_text()
    later = "manual_add_modules()\n{" in text and "dracut-install" not in text
    if later:
        write(root, FUNCTIONS, text + COLLECT)
    hook = HOOK.format(modules=" ".join(LIVE_MODULES), flush=FLUSH if later else "")
    write(scratch, "conf/hooks/zz-synos", hook, 0o755)
