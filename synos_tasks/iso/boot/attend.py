"""Run an ISO for a person: its serial port is this container's own streams, its screen and its ssh are ports."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from synos_tasks.iso import codec
from synos_tasks.iso.boot.qemu import (
    DISK_BYTES,
    SSH_PORT,
    VNC_PORT,
    Console,
    Machine,
    Ran,
    Run,
    Running,
    accelerator_of,
    lay_variables,
    machine_argv,
    medium_argv,
)

SCRATCH_DISK = Path("/var/tmp/disk.raw")  # noqa: S108  (in the container, and not in memory as /tmp)


class Keyboard:
    """Hands on what is typed, once there is a machine to type at."""

    def __init__(self) -> None:
        self._port: IO[bytes] | None = None

    def connect(self, port: IO[bytes]) -> None:
        """Type at ``port`` from now on."""
        self._port = port

    def hear(self, line: bytes) -> None:
        """Type what a line of the lease says; what comes before the machine is lost."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            keys = base64.b64decode(json.loads(line)["keys"])
            if self._port:
                self._port.write(keys)
                self._port.flush()


def attend(request: Run, keyboard: Keyboard) -> Ran:
    """Run what is asked for, and report what it writes to its serial port."""
    with tempfile.TemporaryDirectory(prefix="run-") as name:
        folder = Path(name)
        if not request.disk:
            SCRATCH_DISK.touch()
            os.truncate(SCRATCH_DISK, DISK_BYTES)
        accelerator = accelerator_of(request.kvm, folder)
        try:
            lay_variables(request.firmware, folder)
            machine = Machine(run_argv(request, accelerator, folder), folder, subprocess.PIPE)
        except OSError as error:
            return Ran(why=f"QEMU could not be started: {error}")
        with machine:
            keyboard.connect(cast("IO[bytes]", machine.stdin))
            if machine.ready():
                codec.write_event(Running(accelerator=accelerator))
            while data := os.read(cast("IO[bytes]", machine.stdout).fileno(), 2**16):
                codec.write_event(Console(data=base64.b64encode(data).decode()))
            return Ran(why=machine.failure())


def run_argv(request: Run, accelerator: str, folder: Path) -> list[str]:
    """Return the command. The guest's network is QEMU's own: it sees what the container sees, and gets its ssh from SSH_PORT."""
    disk = request.disk or SCRATCH_DISK
    kind = "qcow2" if disk.suffix == ".qcow2" else "raw"
    screen = ["-display", "none"]
    if request.password:
        secret = folder / "password"
        secret.write_text(request.password)
        screen = [
            *("-object", f"secret,id=password,file={secret}"),
            *("-vnc", f":{VNC_PORT - 5900},password-secret=password"),
            *("-device", "qemu-xhci,id=input", "-device", "usb-tablet,bus=input.0"),
        ]
    return [
        *machine_argv(request.firmware, request.memory_mb, accelerator, folder),
        *screen,
        *("-chardev", "stdio,id=serial0,signal=off", "-serial", "chardev:serial0"),
        *("-nic", f"user,model=virtio-net-pci,hostfwd=tcp::{SSH_PORT}-:22"),
        *(
            "-drive",
            f"if=none,id=disk,format={kind},file={disk}",
            "-device",
            "virtio-blk-pci,drive=disk,bootindex=1",
        ),
        *medium_argv(request.iso, request.media),
    ]
