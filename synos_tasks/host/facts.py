"""What the machine is like: disk, memory, processors, KVM. Reads only; every path is a parameter."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Main memory in MB (1,048,576 bytes)."""

    total_mb: int
    available_mb: int


@dataclass(frozen=True, kw_only=True)
class Kvm:
    """Whether hardware virtualisation can be asked for; ``why`` is empty when it is usable."""

    present: bool
    usable: bool
    why: str = ""


def free_disk_bytes(path: Path) -> int:
    """Bytes an unprivileged process may still write at ``path``, or at its nearest parent that exists."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def memory(meminfo: Path = Path("/proc/meminfo")) -> Memory:
    """Read total and available memory; raises OSError, and ValueError when the file has no such lines."""
    kilobytes: dict[str, int] = {}
    for line in meminfo.read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name in {"MemTotal", "MemAvailable", "MemFree"}:
            kilobytes[name] = int(rest.split()[0])
    if "MemTotal" not in kilobytes:
        raise ValueError(f"{meminfo} has no line MemTotal")
    available = kilobytes.get("MemAvailable", kilobytes.get("MemFree", 0))
    return Memory(total_mb=kilobytes["MemTotal"] // 1024, available_mb=available // 1024)


def cpu_count() -> int:
    """Count the processors this process may run on, at least 1."""
    return len(os.sched_getaffinity(0)) or 1


def kvm(device: Path = Path("/dev/kvm")) -> Kvm:
    """Tell whether KVM's device is there and can be opened. It may still be slow: that only a boot shows."""
    try:
        mode = device.stat().st_mode
    except OSError:
        return Kvm(present=False, usable=False, why=f"there is no {device}")
    if not stat.S_ISCHR(mode):
        return Kvm(present=False, usable=False, why=f"{device} is not a character device")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        why = os.strerror(error.errno or errno.EIO)
        return Kvm(present=True, usable=False, why=f"{device} cannot be opened: {why}")
    return Kvm(present=True, usable=True)
