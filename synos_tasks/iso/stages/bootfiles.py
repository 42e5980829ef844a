"""bootfiles: GRUB and its menu for BIOS, and the signed shim and GRUB for UEFI with and without Secure Boot."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.iso.key import Key, Said, adds, mistake, updates
from synos_tasks.iso.schema import Kind, boolean, choice, list_of, mapping, text
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synos_tasks.errors import ProfileError
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.tools import BuildContext

NAME = "bootfiles"
FIRMWARE = ("bios", "uefi", "secure-boot")
_ARGUMENT = text(
    r'([!#-&(-\[\]-~]|"[ !#-&(-\[\]-~]*")+',
    "one kernel argument",
    allowed="no space unless in double quotes; neither \\ nor '",
)


def _no_firmware(said: Said) -> Iterator[ProfileError]:
    firmware = said.value("boot", "firmware")
    if firmware.data == []:
        yield mistake(
            firmware, "boot.firmware is empty: the ISO would boot nowhere", f"of {', '.join(FIRMWARE)}"
        )


KEYS = {
    "boot": Key(
        kind=mapping(
            {
                "firmware": list_of(choice(*FIRMWARE), "Firmware the ISO boots on."),
                "timeout": Kind(
                    type="integer",
                    minimum=0,
                    maximum=600,
                    shape="0 to 600",
                    doc="Seconds until the first entry starts.",
                ),
                "entries": list_of(
                    mapping(
                        {
                            "title": text(
                                r"[^\x00-\x1f'\\]{1,80}",
                                "one line of text",
                                "What the menu shows.",
                                allowed="no ' and no \\",
                            ),
                            "arguments": list_of(_ARGUMENT, "Kernel arguments of this entry."),
                        },
                        required=("title",),
                    ),
                    "The menu, in place of a normal and a fail-safe entry.",
                ),
                "persistence": boolean(
                    "A further entry that keeps changes on a partition labelled `persistence`."
                ),
            },
            "The boot menu.",
        ),
        default={"firmware": list(FIRMWARE), "timeout": 3, "entries": [], "persistence": False},
        merge=updates,
        check=_no_firmware,
        aliases=("firmware", "grub", "bootloader", "menu"),
        example="{timeout: 10, persistence: true}",
    ),
    "kernel_arguments": Key(
        kind=list_of(_ARGUMENT, "Added to the kernel command line of every entry."),
        default=[],
        merge=adds,
        aliases=("kernel_args", "cmdline", "bootappend", "append"),
        example="[quiet]",
    ),
}
STAGE = StageSpec(fields=("name", "title", "suite"), keys=KEYS)
SHIM = Path("/usr/lib/shim/shimx64.efi.signed")
MOK_MANAGER = Path("/usr/lib/shim/mmx64.efi.signed")
# GRUB for removable media: its built-in prefix finds the medium by /.disk/info
SIGNED_GRUB = Path("/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed")
BIOS_MODULES = ("biosdisk", "iso9660", "part_msdos", "part_gpt", "normal", "configfile", "search", "linux", "serial",
                "terminal", "test", "echo", "all_video", "halt", "reboot", "ls", "cat")  # fmt: skip
EFI_IMAGE = "efi.img"
EFI_IMAGE_KB = 6144


def grub_config(profile: Profile, ident: str) -> str:
    """Return the menu, on VGA and on the first serial port."""
    boot = profile.values["boot"]
    arguments = ["boot=live", "console=tty0", "console=ttyS0,115200", *profile.values["kernel_arguments"]]
    title = f"{profile.title} {profile.name}"
    entries = [(one["title"], one.get("arguments", [])) for one in boot["entries"]] or [
        (f"{title} ({ident})", []),
        (f"{title}, fail-safe", ["nomodeset", "noapic", "noapm", "nodma", "nomce", "nosmp"]),
    ]
    if boot["persistence"]:
        entries.append((f"{title}, changes are kept", ["persistence"]))
    shown = "".join(
        f"menuentry {_quoted(name)} {{\n    linux /live/vmlinuz {' '.join(map(_quoted, [*arguments, *more]))}\n"
        "    initrd /live/initrd.img\n}\n"
        for name, more in entries
    )
    return (
        'if [ "$grub_platform" = "pc" ]; then\n'
        "    serial --unit=0 --speed=115200\n"
        "    terminal_input console serial\n"
        "    terminal_output console serial\n"
        "fi\n"
        "set menu_color_normal=white/black\nset menu_color_highlight=black/light-cyan\n"
        f"set default=0\nset timeout={boot['timeout']}\n{shown}"
    )


def _quoted(word: str) -> str:
    """Quote a word for GRUB, which puts one with spaces into double quotes for the kernel by itself."""
    return f"'{word.replace(chr(34), '')}'"


def make(context: BuildContext, ident: str, tree: Path) -> None:
    """Lay GRUB into the ISO's ``tree`` and make the images that firmware starts from."""
    profile, grub = context.profile, tree / "boot/grub"
    grub.mkdir(parents=True)
    (tree / ".disk").mkdir()
    (tree / ".disk/info").write_text(f"{profile.title} {profile.name} {profile.suite} {ident}\n")
    (grub / "grub.cfg").write_text(grub_config(profile, ident))
    firmware = set(profile.values["boot"]["firmware"])
    if "bios" in firmware:
        _bios(context, grub)
    if {"uefi", "secure-boot"} & firmware:
        (grub / "x86_64-efi").mkdir()
        (grub / "x86_64-efi/grub.cfg").write_text("source /boot/grub/grub.cfg\n")
        _efi_image(context, ident, tree.with_name(EFI_IMAGE))


def _bios(context: BuildContext, grub: Path) -> None:
    core, early = context.work / "core.img", context.work / "early.cfg"
    early.write_text("search --no-floppy --set=root --file /.disk/info\nset prefix=($root)/boot/grub\n")
    argv = ["grub-mkimage", "-O", "i386-pc", "-p", "/boot/grub", "-c", str(early), "-o", str(core)]
    context.run(NAME, [*argv, *BIOS_MODULES])
    cdboot = Path("/usr/lib/grub/i386-pc/cdboot.img").read_bytes()
    (grub / "eltorito.img").write_bytes(cdboot + core.read_bytes())


def _efi_image(context: BuildContext, ident: str, image: Path) -> None:
    label = ["-n", "SYNOS_EFI", "-i", ident[:8], "--invariant"]
    context.run(NAME, ["mkfs.vfat", "-C", *label, str(image), str(EFI_IMAGE_KB)])
    staging = context.work / "efi"
    boot = staging / "EFI/BOOT"
    boot.mkdir(parents=True)
    for source, name in ((SHIM, "BOOTX64.EFI"), (MOK_MANAGER, "mmx64.efi"), (SIGNED_GRUB, "grubx64.efi")):
        shutil.copyfile(source, boot / name)
    for path in (*boot.iterdir(), boot, boot.parent):
        os.utime(path, (context.epoch, context.epoch))
    context.run(NAME, ["mcopy", "-s", "-m", "-i", str(image), str(staging / "EFI"), "::"])
