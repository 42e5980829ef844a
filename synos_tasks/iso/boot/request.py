"""What to boot and how, and what is reported of it. The image that boots has no PyYAML: nothing here needs it."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from synos_tasks.iso import codec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIRMWARES = ("bios", "uefi", "secure-boot")
MEDIA = ("cdrom", "usb")


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
    """How a boot went: ``why`` says what is wrong with it. Seconds from QEMU's start to the report."""

    accelerator: str
    ok: bool = False
    seconds: float = 0.0
    why: str = ""
    screenshot: Path | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
