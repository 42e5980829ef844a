"""bootfiles: GRUB and its menu for BIOS, and the signed shim and GRUB for UEFI with and without Secure Boot."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.errors import ProfileError
from synos_tasks.iso import distribution
from synos_tasks.iso.inputs import copy
from synos_tasks.iso.key import Key, Said, adds, mistake, updates
from synos_tasks.iso.schema import boolean, choice, integer, list_of, mapping, text
from synos_tasks.iso.stages.initramfs import files_of
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
                "timeout": integer(0, 600, "Seconds until the first entry starts."),
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
                    "Replaces the normal and the fail-safe entry.",
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
        aliases=(
            "firmware",
            "grub",
            "bootloader",
            "bootloaders",
            "menu",
            "syslinux",
            "isolinux",
            "uefi_secure_boot",
            "secure_boot",
            "memtest",
            "persistence",
            "boot_timeout",
            "bootfiles",
        ),
        example="{timeout: 10, persistence: true}",
    ),
    "kernel_arguments": Key(
        kind=list_of(_ARGUMENT, "Added to the kernel command line of every entry."),
        default=[],
        merge=adds,
        aliases=(
            "kernel_args",
            "cmdline",
            "bootappend",
            "bootappend_live",
            "append",
            "kernel_command_line",
            "kernelcmdline",
            "kernel_params",
            "kernel_options",
        ),
        example="[quiet]",
    ),
}


def _path_of(profile: Profile, name: str) -> list[str]:
    path = profile.values.get("distribution", {}).get(name)
    return [path] if path else []


STAGE = StageSpec(
    fields=("name", "title", "suite", "kernel_arguments"),
    keys={**KEYS, "distribution": distribution.KEY},
    files=lambda profile: _path_of(profile, "splash"),
    folders=lambda profile: _path_of(profile, "grub_theme"),
)
SHIM = Path("/usr/lib/shim/shimx64.efi.signed")
MOK_MANAGER = Path("/usr/lib/shim/mmx64.efi.signed")
# GRUB for removable media: its built-in prefix finds the medium by /.disk/info
SIGNED_GRUB = Path("/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed")
BIOS_MODULES = ("biosdisk", "iso9660", "part_msdos", "part_gpt", "normal", "configfile", "search", "linux", "serial",
                "terminal", "test", "echo", "all_video", "halt", "reboot", "ls", "cat")  # fmt: skip
GRAPHICS_MODULES = ("gfxterm", "gfxmenu", "gfxterm_background", "png", "jpeg", "font")
FONT = Path("/usr/share/grub/unicode.pf2")
PNG = b"\x89PNG\r\n"
EFI_IMAGE = "efi.img"
EFI_IMAGE_KB = 6144
LOOP_DEVICES = 8
"""Of Debian's kernels; live-boot of bookworm takes one for each file system, and makes none."""
SPARE_LOOP_DEVICES = 2
"""For findiso= and persistence in a file."""


def grub_config(profile: Profile, ident: str, kernels: Sequence[str], file_systems: int) -> str:
    """Return the menu, on VGA and on the first serial port: the profile's entries, then one for each further kernel.

    ``kernels`` has the default first; ``file_systems`` is how many files live-boot mounts.
    """
    boot, (default, *others) = profile.values["boot"], files_of(kernels).items()
    arguments = ["boot=live", "console=tty0", "console=ttyS0,115200"]
    if file_systems + SPARE_LOOP_DEVICES > LOOP_DEVICES:
        arguments.append(f"loop.max_loop={file_systems + LOOP_DEVICES}")
    arguments += profile.kernel_arguments
    title = distribution.menu_title(profile)
    entries = [(one["title"], one.get("arguments", []), default[1]) for one in boot["entries"]] or [
        (f"{title} ({ident})", [], default[1]),
        (f"{title}, fail-safe", ["nomodeset", "noapic", "noapm", "nodma", "nomce", "nosmp"], default[1]),
    ]
    if boot["persistence"]:
        entries.append((f"{title}, changes are kept", ["persistence"], default[1]))
    entries += [(f"{title}, Linux {version}", [], files) for version, files in others]
    shown = "".join(
        f"menuentry {_quoted(name)} {{\n    linux /live/{kernel} {' '.join(map(_quoted, [*arguments, *more]))}\n"
        f"    initrd /live/{initrd}\n}}\n"
        for name, more, (kernel, initrd) in entries
    )
    graphics = _graphics(profile)
    serial = "    serial --unit=0 --speed=115200\n"
    # UEFI's own console is on the serial port too, but not where GRUB draws
    efi = f"{serial}    terminal_output gfxterm serial\n" if graphics else "    terminal_output console\n"
    return (
        f"{graphics}"
        f'if [ "$grub_platform" = "pc" ]; then\n{serial}'
        "    terminal_input console serial\n"
        f"    terminal_output {'gfxterm' if graphics else 'console'} serial\n"
        f"else\n{efi}fi\n"
        "set menu_color_normal=white/black\nset menu_color_highlight=black/light-cyan\n"
        f"set default=0\nset timeout={boot['timeout']}\n{shown}"
    )


def _has_graphics(profile: Profile) -> bool:
    return not {"grub_theme", "splash"}.isdisjoint(profile.values["distribution"])


def _graphics(profile: Profile) -> str:
    """Return what GRUB needs for pictures; nothing where there are none."""
    if not _has_graphics(profile):
        return ""
    said = profile.values["distribution"]
    theme = "set theme=/boot/grub/theme/theme.txt\n" if "grub_theme" in said else ""
    splash = "background_image /boot/grub/splash.png\n" if "splash" in said else ""
    return f"loadfont /boot/grub/unicode.pf2\nset gfxmode=auto\nset gfxpayload=keep\nterminal_output gfxterm\n{theme}{splash}"


def _lay_graphics(context: BuildContext, grub: Path) -> None:
    """Copy theme and picture; raise ProfileError where they are none."""
    said = context.profile.values["distribution"]
    if _has_graphics(context.profile):
        shutil.copyfile(FONT, grub / "unicode.pf2")
    if folder := said.get("grub_theme"):
        source = context.find(folder, folder=True)
        context.find(f"{folder}/theme.txt")
        shutil.copytree(source, grub / "theme", copy_function=copy)
    if picture := said.get("splash"):
        copy(context.find(picture), grub / "splash.png")
        with (grub / "splash.png").open("rb") as stream:
            if stream.read(len(PNG)) != PNG:
                where = context.profile.origins.get("distribution.splash", picture)
                raise ProfileError(
                    f"{picture} is no PNG",
                    where=where,
                    hint="GRUB reads PNG of 8 bits a channel, not interlaced",
                )


def _quoted(word: str) -> str:
    """Quote a word for GRUB, which puts one with spaces into double quotes for the kernel by itself."""
    return f"'{word.replace(chr(34), '')}'"


def make(context: BuildContext, ident: str, tree: Path, *, kernels: Sequence[str], file_systems: int) -> None:
    """Lay GRUB into the ISO's ``tree`` and make the images that firmware starts from; see grub_config()."""
    profile, grub = context.profile, tree / "boot/grub"
    grub.mkdir(parents=True)
    (tree / ".disk").mkdir()
    (tree / ".disk/info").write_text(f"{distribution.menu_title(profile)} {profile.suite} {ident}\n")
    _lay_graphics(context, grub)
    (grub / "grub.cfg").write_text(grub_config(profile, ident, kernels, file_systems))
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
    graphics = GRAPHICS_MODULES if _has_graphics(context.profile) else ()
    context.run(NAME, [*argv, *BIOS_MODULES, *graphics])
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
