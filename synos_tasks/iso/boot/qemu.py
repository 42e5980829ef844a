"""The QEMU command of a request, and the machine it starts."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from synos_tasks.iso.boot.request import Boot

QEMU = "qemu-system-x86_64"
ASSET_TAG = "synos-selftest"
FIRMWARE_DIR = Path("/usr/share/OVMF")
PROBE_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """The files of one machine, in a folder of its own."""

    folder: Path

    @property
    def serial(self) -> Path:
        """What the guest wrote to its first serial port."""
        return self.folder / "serial"

    @property
    def control(self) -> Path:
        """QEMU's control socket (QMP)."""
        return self.folder / "qmp"

    @property
    def variables(self) -> Path:
        """The firmware's own copy of its variable store."""
        return self.folder / "vars.fd"

    @property
    def debug(self) -> Path:
        """What SeaBIOS wrote to its debug port."""
        return self.folder / "debug"


def variable_store(firmware: str) -> Path | None:
    """Return the template of the variable store; the .ms one has Microsoft's keys enrolled. None for bios."""
    names = {"uefi": "OVMF_VARS_4M.fd", "secure-boot": "OVMF_VARS_4M.ms.fd"}
    return FIRMWARE_DIR / names[firmware] if firmware in names else None


def qemu_argv(request: Boot, accelerator: str, scratch: Scratch) -> list[str]:
    """Return the command for a request. ``accelerator`` is kvm or tcg."""
    machine = "q35,smm=on" if request.firmware == "secure-boot" else "q35"
    return [
        QEMU,
        *("-no-user-config", "-nodefaults", "-no-reboot"),
        *("-machine", machine, *_accelerator_argv(accelerator)),
        *("-smp", "2", "-m", str(request.memory_mb)),
        *("-display", "none", "-vga", "std", "-nic", "none"),
        *("-device", "virtio-rng-pci"),
        *("-chardev", f"file,id=serial0,path={scratch.serial}", "-serial", "chardev:serial0"),
        *("-qmp", f"unix:{scratch.control},server=on,wait=off"),
        *("-smbios", f"type=3,asset={ASSET_TAG}"),
        *_firmware_argv(request.firmware, scratch),
        *_media_argv(request),
    ]


def _accelerator_argv(accelerator: str) -> list[str]:
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    # tb-size: QEMU sizes its code cache by the host's memory, up to 1 GB, whatever the container's limit.
    # la57: five levels of page tables only cost time.
    return ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,la57=off"]


def _firmware_argv(firmware: str, scratch: Scratch) -> list[str]:
    if firmware == "bios":
        return [
            *("-chardev", f"file,id=debug0,path={scratch.debug}"),
            *("-device", "isa-debugcon,iobase=0x402,chardev=debug0"),
        ]
    code = "OVMF_CODE_4M.ms.fd" if firmware == "secure-boot" else "OVMF_CODE_4M.fd"
    argv = [
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE_DIR / code}"),
        *("-drive", f"if=pflash,unit=1,format=raw,file={scratch.variables}"),
    ]
    if firmware == "secure-boot":
        # only code in system management mode may write the variables; it does not survive a suspend to RAM
        argv += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        argv += ["-global", "ICH9-LPC.disable_s3=1"]
    return argv


def _media_argv(request: Boot) -> list[str]:
    # QEMU writes a comma in a value as two
    drive = f"if=none,id=medium,format=raw,readonly=on,file={str(request.iso).replace(',', ',,')}"
    if request.media == "cdrom":
        return ["-drive", f"{drive},media=cdrom", "-device", "ide-cd,drive=medium,bus=ide.0,bootindex=0"]
    usb = "usb-storage,drive=medium,removable=on,bootindex=0"
    return ["-drive", drive, "-device", "qemu-xhci", "-device", usb]


class Machine:
    """A running QEMU; as a context manager it is dead on leaving."""

    def __init__(self, argv: list[str], scratch: Scratch) -> None:
        self._argv, self._scratch = argv, scratch
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start QEMU; raises OSError where there is none."""
        self._process = subprocess.Popen(
            self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Kill QEMU: the medium is read-only and there is no disk, so nothing is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()

    def ended(self) -> str | None:
        """None while QEMU runs, else why it ended."""
        if self._process is None or self._process.poll() is None:
            return None
        said = self._process.stderr.read().strip() if self._process.stderr is not None else ""
        return said or f"QEMU ended ({self._process.returncode}): the guest switched off or reset itself"

    def screenshot(self, path: Path) -> bool:
        """Write the screen to a PNG file; False when that did not work."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(15)
                connection.connect(str(self._scratch.control))
                stream = connection.makefile("rw")
                stream.readline()  # the greeting
                _control(stream, "qmp_capabilities")
                return _control(stream, "screendump", filename=str(path), format="png")
        except OSError:
            return False


def _control(stream: IO[str], command: str, **arguments: Any) -> bool:  # noqa: ANN401
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    stream.flush()
    for line in stream:
        answer = json.loads(line)
        if "return" in answer or "error" in answer:
            return "return" in answer
    return False


def prepare(request: Boot, scratch: Scratch) -> None:
    """Make the files a machine starts from; raises OSError."""
    scratch.serial.touch()
    store = variable_store(request.firmware)
    if store is not None:
        shutil.copyfile(store, scratch.variables)


def kvm_works(scratch: Scratch) -> bool:
    """Tell whether KVM runs SeaBIOS to its end about as fast as emulation does.

    /dev/kvm may exist and be unusable, or, in a virtual machine of a virtual machine, be many times slower
    than no KVM at all: there SeaBIOS took 1.9 s instead of 0.1 s, and Linux never came up.
    """
    kvm = _seabios_seconds("kvm", scratch)
    return kvm is not None and kvm_pays(kvm, _seabios_seconds("tcg", scratch))


def kvm_pays(kvm: float, tcg: float | None) -> bool:
    """Judge the two times, in seconds; ``tcg`` is None where emulation did not end in time."""
    return tcg is None or kvm <= 3 * tcg + 0.5


def _seabios_seconds(accelerator: str, scratch: Scratch) -> float | None:
    debug = scratch.folder / f"probe-{accelerator}"
    argv = [
        QEMU,
        *("-no-user-config", "-nodefaults", "-machine", "q35", *_accelerator_argv(accelerator)),
        *("-smp", "2", "-m", "64", "-display", "none", "-chardev", f"file,id=debug0,path={debug}"),
        *("-device", "isa-debugcon,iobase=0x402,chardev=debug0"),
    ]
    started = time.monotonic()
    with Machine(argv, scratch) as machine:
        while time.monotonic() - started < PROBE_SECONDS and machine.ended() is None:
            if debug.exists() and "No bootable device" in debug.read_text(errors="replace"):
                return time.monotonic() - started
            time.sleep(0.02)
    return None
