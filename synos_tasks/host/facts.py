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
    """Return the bytes that an unprivileged process may still write at ``path`` or its nearest parent."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def memory(meminfo: Path = Path("/proc/meminfo")) -> Memory:
    """Read total and available memory; format: proc_meminfo(5)."""
    lines = meminfo.read_text(encoding="ascii").splitlines()
    kilobytes = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith("Mem")}
    return Memory(total_mb=kilobytes["MemTotal:"] // 1024, available_mb=kilobytes["MemAvailable:"] // 1024)


def cpu_count() -> int:
    """Return the number of processors that this process may run on."""
    return len(os.sched_getaffinity(0))


def kvm(device: Path = Path("/dev/kvm")) -> Kvm:
    """Return whether KVM's device can be opened. It may still be slow: that only a boot shows."""
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
