"""initramfs: made once, in the finished root, beside the squashfs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from synos_tasks.errors import StageFailed

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.tools import Workshop

STAGE = "initramfs"
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


def kernel_version(root: Path) -> str:
    """Give the newest kernel of the root. Raises StageFailed where there is none."""
    images = sorted(root.glob("boot/vmlinuz-*"))
    if not images or not (root / "usr/sbin/mkinitramfs").exists():
        raise StageFailed(
            "the root has no kernel or no initramfs-tools",
            where=f"stage {STAGE}",
            hint="packages needs linux-image-amd64, live-boot and initramfs-tools",
        )
    return images[-1].name.removeprefix("vmlinuz-")


def make(shop: Workshop) -> None:
    """Write live/initrd.img and live/vmlinuz of the ISO."""
    version = kernel_version(shop.root)
    scratch = shop.root / "run/synos"
    scratch.mkdir(parents=True, exist_ok=True)
    shutil.copytree(shop.root / "etc/initramfs-tools", scratch / "conf", symlinks=True)
    (scratch / "conf/conf.d/synos-modules").write_text("MODULES=list\n")
    with (scratch / "conf/modules").open("a") as stream:
        stream.write("".join(f"{name}\n" for name in LIVE_MODULES))
    shop.run(
        STAGE,
        [
            "chroot",
            str(shop.root),
            "mkinitramfs",
            "-d",
            "/run/synos/conf",
            "-o",
            "/run/synos/initrd.img",
            version,
        ],
        environment={"TMPDIR": "/run/synos"},
    )
    live = shop.tree / "live"
    live.mkdir(parents=True, exist_ok=True)
    shutil.move(scratch / "initrd.img", live / "initrd.img")
    shutil.copyfile(shop.root / "boot" / f"vmlinuz-{version}", live / "vmlinuz")
