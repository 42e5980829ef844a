"""What to boot and what is reported of it; the QEMU command of a request, and the machine it starts.

The image that boots has no PyYAML: nothing here needs it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from synos_tasks.iso import codec

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRMWARES = ("bios", "uefi", "secure-boot")
MEDIA = ("cdrom", "usb")
QEMU = "qemu-system-x86_64"
ASSET_TAG = "synos-selftest"
FIRMWARE_DIR = Path("/usr/share/OVMF")
# files of a machine, in a folder of its own: its first serial port, QMP, the firmware's variables, SeaBIOS' output
SERIAL, CONTROL, VARIABLES, DEBUG = "serial", "qmp", "vars.fd", "debug"
SSH_PORT, VNC_PORT = 2222, 5900
DISK_BYTES = 16 * 10**9
PROBE_SECONDS = 4.0
PROBES = 3
POLL_SECONDS = 0.05


class Boot(codec.Request, name="boot"):
    """Boot an ISO. Paths are those in the container; the timeout in seconds, memory in MB. Answer: Booted."""

    iso: Path
    firmware: str
    media: str
    timeout: int
    memory_mb: int
    kvm: bool
    screenshot: Path
    """Where the picture of the screen goes."""


class Log(codec.Event, name="log"):
    """A line of a tool's output, or of the serial port of the machine that boots."""

    stage: str
    line: str


class Booted(codec.Event, name="booted"):
    """How a boot went: ``why`` says what is wrong with it. Seconds from QEMU's start to the report, or the guest's end."""

    accelerator: str
    ok: bool = False
    seconds: float = 0.0
    login_seconds: float | None = None
    """Until the login prompt on the serial port."""
    why: str = ""
    hint: str = ""
    screenshot: Path | None = None
    report: Mapping[str, Any] = field(default_factory=dict)


class Run(codec.Request, name="run"):
    """Run an ISO until it ends or the lease does. Paths are those in the container, the memory in MB. Answer: Ran.

    Then lines ``{"keys": …}`` are what is typed at its serial port, in base64.
    """

    iso: Path
    firmware: str
    media: str
    memory_mb: int
    kvm: bool
    disk: Path | None = None
    """None: an empty one, which ends with the container."""
    password: str = ""
    """Of the screen, at VNC_PORT; without one it is shown nowhere."""


class Running(codec.Event, name="running"):
    """The machine runs; ``accelerator`` is kvm or tcg."""

    accelerator: str


class Console(codec.Event, name="console"):
    """What the machine wrote to its serial port, in base64."""

    data: str


class Ran(codec.Event, name="ran"):
    """The machine has ended: by itself, or ``why``."""

    why: str = ""


def qemu_argv(request: Boot, accelerator: str, folder: Path) -> list[str]:
    """Return the command for a request. ``accelerator`` is kvm or tcg, ``folder`` has the machine's files."""
    return [
        *machine_argv(request.firmware, request.memory_mb, accelerator, folder),
        *("-no-reboot", "-display", "none"),
        # services may wait for a network card and its address; this one leads nowhere, and no firmware starts from it
        *("-netdev", "user,id=net,restrict=on", "-device", "e1000,netdev=net,romfile="),
        *("-chardev", f"file,id=serial0,path={folder / SERIAL}", "-serial", "chardev:serial0"),
        *("-smbios", f"type=3,asset={ASSET_TAG}"),
        *medium_argv(request.iso, request.media),
    ]


def machine_argv(firmware: str, memory_mb: int, accelerator: str, folder: Path) -> list[str]:
    """Return the beginning of a command: a machine with its firmware, without any medium, port or network."""
    return [
        QEMU,
        *("-no-user-config", "-nodefaults"),
        *("-machine", "q35,smm=on" if firmware == "secure-boot" else "q35", *_accelerator_argv(accelerator)),
        *("-smp", "2", "-m", str(memory_mb), "-vga", "std", "-device", "virtio-rng-pci"),
        *("-qmp", f"unix:{folder / CONTROL},server=on,wait=off"),
        *_firmware_argv(firmware, folder),
    ]


def _accelerator_argv(accelerator: str) -> list[str]:
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    # tb-size: QEMU sizes its code cache by the host's memory, up to 1 GB, whatever the container's limit.
    # la57: five levels of page tables only cost time.
    return ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,la57=off"]


def _firmware_argv(firmware: str, folder: Path) -> list[str]:
    if firmware == "bios":
        return _debug_argv(folder / DEBUG)
    argv = [
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_firmware_file('CODE', firmware)}"),
        *("-drive", f"if=pflash,unit=1,format=raw,file={folder / VARIABLES}"),
    ]
    if firmware == "secure-boot":
        # only code in system management mode may write the variables; it does not survive a suspend to RAM
        argv += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        argv += ["-global", "ICH9-LPC.disable_s3=1"]
    return argv


def _firmware_file(part: str, firmware: str) -> Path:
    """Return the path of OVMF's CODE or VARS; the .ms one has Microsoft's keys enrolled."""
    return FIRMWARE_DIR / f"OVMF_{part}_4M{'.ms' if firmware == 'secure-boot' else ''}.fd"


def _debug_argv(path: Path) -> list[str]:
    chardev = f"file,id=debug0,path={path}"
    return ["-chardev", chardev, "-device", "isa-debugcon,iobase=0x402,chardev=debug0"]


def medium_argv(iso: Path, media: str) -> list[str]:
    """Return what puts an ISO in, to be started first."""
    # QEMU writes a comma in a value as two
    drive = f"if=none,id=medium,format=raw,readonly=on,file={str(iso).replace(',', ',,')}"
    if media == "cdrom":
        return ["-drive", f"{drive},media=cdrom", "-device", "ide-cd,drive=medium,bus=ide.0,bootindex=0"]
    usb = "usb-storage,drive=medium,removable=on,bootindex=0"
    return ["-drive", drive, "-device", "qemu-xhci", "-device", usb]


class Machine:
    """A running QEMU; as a context manager it is dead on leaving.

    ``streams``: what its standard input and output are, subprocess.DEVNULL or PIPE.
    """

    def __init__(self, argv: list[str], folder: Path, streams: int = subprocess.DEVNULL) -> None:
        self._folder, self._errors = folder, folder / "errors"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(argv, stdin=streams, stdout=streams, stderr=errors)
        self.stdin, self.stdout = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill QEMU: it asks nobody, and what it has written to a disk is in the file."""
        self._process.kill()
        self._process.wait()

    def ended(self) -> str | None:
        """Return why QEMU ended; None while it runs."""
        if self._process.poll() is None:
            return None
        why = self._errors.read_text(errors="replace").strip()
        return why or f"QEMU ended ({self._process.returncode}): the guest switched off or reset itself"

    def ready(self) -> bool:
        """Wait until QEMU answers, when its ports are open too; False where it ended."""
        while self.ended() is None:
            if self._control("query-status"):
                return True
            time.sleep(POLL_SECONDS)
        return False

    def failure(self) -> str:
        """Wait for QEMU's end; return what it complained of, '' where the guest switched itself off."""
        code = self._process.wait()
        return self._errors.read_text(errors="replace").strip() if code else ""

    def screenshot(self, path: Path) -> bool:
        """Write the screen to a PNG file; False when that did not work."""
        return self._control("screendump", filename=str(path), format="png")

    def _control(self, command: str, **arguments: Any) -> bool:  # noqa: ANN401
        """Have QEMU do a command of QMP; False where that did not work."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(15)
            connection.connect(str(self._folder / CONTROL))
            stream = connection.makefile("rw")
            stream.readline()  # the greeting
            return _answer(stream, "qmp_capabilities") and _answer(stream, command, **arguments)
        return False


def _answer(stream: IO[str], command: str, **arguments: Any) -> bool:  # noqa: ANN401
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    stream.flush()
    for line in stream:
        answer = json.loads(line)
        if "return" in answer or "error" in answer:
            return "return" in answer
    return False


def start(request: Boot, accelerator: str, folder: Path) -> Machine:
    """Start what is asked for, with its files in ``folder``; raises OSError."""
    lay_variables(request.firmware, folder)
    return Machine(qemu_argv(request, accelerator, folder), folder)


def lay_variables(firmware: str, folder: Path) -> None:
    """Copy the variables that a machine's firmware starts with into its folder."""
    if firmware != "bios":
        shutil.copyfile(_firmware_file("VARS", firmware), folder / VARIABLES)


def accelerator_of(kvm: bool, folder: Path) -> str:
    """Return kvm where it is wanted, there and of use, else tcg."""
    return "kvm" if kvm and os.access("/dev/kvm", os.R_OK | os.W_OK) and kvm_works(folder) else "tcg"


def kvm_works(folder: Path) -> bool:
    """Tell whether KVM runs SeaBIOS to its end about as fast as emulation does.

    /dev/kvm may exist and be unusable, or, in a virtual machine of a virtual machine, be many times slower
    than no KVM at all: there SeaBIOS took 1.9 s instead of 0.1 s, and Linux never came up. On a busy machine
    single times say little.
    """
    emulated = [seabios_seconds("tcg", folder, PROBE_SECONDS) for _ in range(PROBES)]
    limit = min(1.5 * min(emulated) + 0.2, PROBE_SECONDS)
    return any(seabios_seconds("kvm", folder, limit) < limit for _ in range(PROBES))


def seabios_seconds(accelerator: str, folder: Path, limit: float) -> float:
    """Return how long SeaBIOS takes to look for a medium, at most ``limit``."""
    debug = folder / f"probe-{accelerator}"
    debug.unlink(missing_ok=True)
    argv = [
        QEMU,
        *("-no-user-config", "-nodefaults", "-machine", "q35", *_accelerator_argv(accelerator)),
        *("-smp", "2", "-m", "64", "-display", "none", *_debug_argv(debug)),
    ]
    started = time.monotonic()
    with Machine(argv, folder) as machine:
        while (seconds := time.monotonic() - started) < limit and machine.ended() is None:
            if debug.exists() and "No bootable device" in debug.read_text(errors="replace"):
                return seconds
            time.sleep(0.02)
    return limit
