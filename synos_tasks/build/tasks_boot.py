"""The verbs of `inv build.*` that start an ISO; see tasks.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import console
from synos_tasks.cli import Command, one_of, verb

if TYPE_CHECKING:
    from synos_tasks.build.planning import Context

FIRMWARE_HELP = "bios, uefi or secure-boot (default: bios if the ISO boots there, else uefi)"
FIRMWARE_TYPES = {"firmware": one_of("bios", "uefi", "secure-boot"), "media": one_of("cdrom", "usb")}
NEWEST = "the ISO (default: the newest in dist)"


def context_of(command: Command) -> Context:
    """Return what every command of build works with."""
    from synos_tasks.build.planning import Context
    from synos_tasks.engine.client import Docker

    return Context(command.settings, Docker(), console.say, dry=command.dry)


@verb(
    "build.boot",
    help={
        "iso": NEWEST,
        "firmware": FIRMWARE_HELP,
        "media": "cdrom or usb: how the ISO is put in",
        "timeout": "seconds until the guest must have reported (default: synos.boot.timeout of invoke.yaml)",
    },
    types=FIRMWARE_TYPES,
    example="--firmware uefi --media usb",
)
def boot(command: Command, iso: str = "", firmware: str = "", media: str = "cdrom", timeout: int = 0) -> None:
    """Boot an ISO in QEMU and exit by what the guest itself reports."""
    from synos_tasks.build.boot import checked_iso, chosen_iso, firmware_of

    path = checked_iso(chosen_iso(command.settings, iso))
    firmware, media = firmware or firmware_of(path), media or "cdrom"
    command.would(f"boot {path} on {firmware}", iso=str(path), firmware=firmware)
    command.result(boot_and_say(command, path, firmware, media, timeout))


def boot_and_say(
    command: Command, path: Path, firmware: str = "", media: str = "cdrom", timeout: int = 0
) -> dict[str, object]:
    """Boot an ISO and say how long it took; return the fields of the JSON object."""
    from synos_tasks.build.boot import boot_iso, firmware_of

    firmware = firmware or firmware_of(path)
    found, log = boot_iso(context_of(command), path, firmware=firmware, media=media, timeout=timeout)
    console.say(f"{path.name} booted on {firmware} in {found.seconds:.0f} s; screenshot: {found.screenshot}")
    places = {"iso": str(path), "log": str(log), "screenshot": str(found.screenshot or "")}
    return {**found.__dict__, **places, "firmware": firmware}


@verb(
    "build.run",
    help={
        "iso": NEWEST,
        "firmware": FIRMWARE_HELP,
        "media": "cdrom or usb: how the ISO is put in",
        "memory": "of the guest, in MB (default: synos.boot.memory_mb of invoke.yaml)",
        "disk": "a file that is the guest's disk, made where it is missing (default: an empty disk, thrown away)",
        "vnc": "show the screen at a port of this machine, for a VNC viewer",
        "serial": "the serial console in this terminal, also where there is a display",
    },
    types=FIRMWARE_TYPES,
    example="--memory 2048 --disk disk.qcow2",
)
def run(
    command: Command,
    iso: str = "",
    firmware: str = "",
    media: str = "cdrom",
    memory: int = 0,
    disk: str = "",
    vnc: bool = False,
    serial: bool = False,
) -> None:
    """Boot an ISO to use it: a window or its serial console, ssh by a local port, an empty disk."""
    from synos_tasks.build import run as running
    from synos_tasks.build.boot import checked_iso, chosen_iso, firmware_of

    screen = running.screen_of(vnc=vnc, serial=serial, json=command.json)
    path = checked_iso(chosen_iso(command.settings, iso))
    firmware, media = firmware or firmware_of(path), media or "cdrom"
    command.would(f"run {path} on {firmware}: {screen}", iso=str(path), firmware=firmware, screen=screen)
    ended = running.run_iso(
        context_of(command),
        path,
        screen=screen,
        firmware=firmware,
        media=media,
        memory_mb=memory,
        disk=Path(disk) if disk else None,
    )
    console.say(f"ended by the {ended.by} after {ended.seconds:.0f} s")
    command.result({"iso": str(path), "firmware": firmware, "screen": screen, **ended.__dict__})
