"""initramfs: made once, of the base layer, while the layers above it are made."""

from __future__ import annotations

import mmap
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import StageFailed
from synos_tasks.iso.root import within, write
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
ENVIRONMENT = {
    "TMPDIR": "/run/synos",
    # without this live-boot takes the mount of util-linux, which hands overlayfs 256 bytes of its layers' paths at most
    "DISABLE_DM_VERITY": "true",
}
# these hooks would take what the processor of this machine needs; a system's own words in these files come after ours
ANY_PROCESSOR = {
    "etc/default/amd64-microcode": "AMD64UCODE_INITRAMFS=early\n",
    "etc/default/intel-microcode": "IUCODE_TOOL_INITRAMFS=early\nIUCODE_TOOL_SCANCPUS=no\n",
}
HOOK = """#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules {modules}
{flush}
"""


def kernel_versions(root: Path) -> list[str]:
    """Return the kernels of the root, the newest first; raises StageFailed where there is none."""
    names = [path.name.removeprefix("vmlinuz-") for path in root.glob("boot/vmlinuz-*")]
    if not names or not (root / "usr/sbin/mkinitramfs").exists():
        raise StageFailed(
            "the root has no kernel or no initramfs-tools",
            where=f"stage {NAME}",
            hint="packages needs linux-image-amd64, live-boot and initramfs-tools",
        )

    def age(name: str) -> tuple[list[int], int, str]:  # 6.1.0-37 before 6.1.0-9, and amd64 before rt-amd64
        return [-int(part) for part in re.findall(r"\d+", name)], len(name), name

    return sorted(names, key=age)


def files_of(kernels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the files of each kernel and of its initramfs below /live; those of the first have names that stay."""
    endings = ["", *(f"-{kernel}" for kernel in kernels[1:])]
    return {
        kernel: (f"vmlinuz{end}", f"initrd.img{end}") for kernel, end in zip(kernels, endings, strict=True)
    }


def prepare(root: Path, copy: Path) -> None:
    """Copy a system for mkinitramfs, whose hooks may read anything; later stages change ``root`` meanwhile.

    What is below /usr are links: in its container that is read-only, so that nothing writes through them. It is in
    ``copy``/usr, all else in ``copy``/root.
    """
    (copy / "root").mkdir(parents=True)
    for path in sorted(root.iterdir()):
        if path.name not in {"usr", "home", "srv", "opt", "media", "mnt"}:
            _copy(path, copy / "root" / path.name)
    for folder in ("usr", "tmp", "var/tmp"):
        (copy / "root" / folder).mkdir(parents=True, exist_ok=True)
    _copy(root / "usr", copy / "usr", os.link)


def _copy(source: Path, target: Path, file: Callable[..., object] = shutil.copy2) -> None:
    def special(folder: str, names: list[str]) -> list[str]:
        paths = ((name, Path(folder, name)) for name in names)
        return [name for name, path in paths if not (path.is_symlink() or path.is_dir() or path.is_file())]

    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=file, ignore=special)
    elif source.is_symlink() or source.is_file():
        shutil.copy2(source, target, follow_symlinks=False)


def make(context: BuildContext, copy: Path, kernels: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write the kernels and an initramfs for each into ``folder``. ``copy`` is what prepare() made, for this alone."""
    root = copy / "root"
    scratch = within(root, "run/synos")
    scratch.mkdir(parents=True)
    shutil.copytree(within(root, "etc/initramfs-tools", follow=True), scratch / "conf", symlinks=True)
    write(scratch, "conf/conf.d/synos", "MODULES=list\nCOMPRESS=zstd\n")
    _quicken(copy, scratch)
    for path, text in ANY_PROCESSOR.items():
        if (settings := within(root, path, follow=True)).is_file():
            write(root, path, text + settings.read_text())
    for version, (kernel, image) in files_of(kernels).items():
        argv = ["mkinitramfs", "-d", "/run/synos/conf", "-o", "/run/synos/initrd.cpio", version]
        with context.fake_clock(root):
            context.run_inside(NAME, root, argv, reading={"usr": copy / "usr"}, environment=ENVIRONMENT)
        archive = within(root, "run/synos/initrd.cpio", follow=True)
        _refuse_incomplete(names_in(archive) if archive.is_file() else ())
        _compress(context, archive, folder / image)
        archive.unlink()
        shutil.copyfile(within(root, f"boot/vmlinuz-{version}", follow=True), folder / kernel)
    return {"kernels": list(kernels)}


def _compress(context: BuildContext, archive: Path, image: Path) -> None:
    """Compress the archive with /init and those after it: the kernel looks for microcode in what is not compressed."""
    start = start_of_init(archive)
    size = archive.stat().st_size - start
    # any number of threads gives the same bytes, but for --single-thread
    script = 'head -c "$2" "$0" >"$1"; tail -c "+$(($2 + 1))" "$0" | zstd -q -9 -T2 --stream-size="$3" >>"$1"'
    context.run(NAME, ["sh", "-euc", script, str(archive), str(image), str(start), str(size)])


def start_of_init(archives: Path) -> int:
    """Return where the archive with /init begins, in bytes; raises StageFailed where none has it."""
    start = 0
    with archives.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as data:
        for found in _CPIO_NAME.finditer(data):
            if found[1] == b"init":
                return start
            if found[1] == b"TRAILER!!!":
                start = data.find(b"0707", found.end())
    raise StageFailed("no archive of the initramfs has /init", where=f"stage {NAME}")


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


def _quicken(copy: Path, scratch: Path) -> None:
    """Let modules be copied all at once, and compression be left to us.

    initramfs-tools 0.142 starts several processes for each of 400 modules: 9 of its 13 seconds. Newer ones
    have dracut-install for that, and keep it.
    """
    write(copy, "usr/bin/zstd", PACKER, 0o755)
    text = within(copy, FUNCTIONS, follow=True).read_text()
    later = "manual_add_modules()\n{" in text and "dracut-install" not in text
    if later:
        write(copy, FUNCTIONS, text + COLLECT)
    hook = HOOK.format(modules=" ".join(LIVE_MODULES), flush=FLUSH if later else "")
    write(scratch, "conf/hooks/zz-synos", hook, 0o755)
