"""What the facts mean for a build, one Check each. What Docker says comes in as plain values."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from synos_tasks.host.facts import dev_problems, free_disk_bytes, mount_table, stale_mounts
from synos_tasks.project import engine_hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.host.facts import Mount

Status = Literal["ok", "warn", "fail"]

DISK_FAIL_BYTES = 4 * 10**9
DISK_WARN_BYTES = 10 * 10**9
# Machines sold with 2 and 4 GB report a little less: the kernel keeps some for itself.
MEMORY_FAIL_MB = 1900
MEMORY_WARN_MB = 3800


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: what was found, and what to do about it (empty when it is fine)."""

    name: str
    status: Status
    detail: str
    hint: str = ""


def verdict(name: str, good: str, bad: str = "", hint: str = "", *, warn: bool = False) -> Check:
    """Return a check that is fine where ``good`` is not empty, else fails or warns."""
    if good:
        return Check(name=name, status="ok", detail=good)
    return Check(name=name, status="warn" if warn else "fail", detail=bad, hint=hint)


def check_socket(where: str, problem: str) -> Check:
    """Check the engine's address, given why the engine does not answer; '' where it does."""
    name = "docker socket"
    if not problem:
        return verdict(name, where)
    if not where.startswith("unix://"):
        hint = "see that the address in DOCKER_HOST is right and lets you in"
        return verdict(name, "", f"{where} does not answer", hint, warn=True)
    path = Path(where.removeprefix("unix://"))
    if not path.exists():
        return verdict(name, "", f"there is no {path}", engine_hint())
    good = str(path) if os.access(path, os.R_OK | os.W_OK) else ""
    hint = "sudo usermod --append --groups docker $USER, then log in again; that group is effectively root"
    return verdict(name, good, f"no permission on {path}", hint)


def check_disk(name: str, folder: Path) -> Check:
    """Check the free space at a folder; one that is not on this machine is not measured."""
    if name == "disk: engine" and not folder.exists():
        return verdict(name, f"{folder} is not on this machine: not measured")
    free = free_disk_bytes(folder)
    detail = f"{free / 1e9:.1f} GB free at {folder}"
    if free >= DISK_WARN_BYTES:
        return verdict(name, detail)
    hint = f"a build wants {DISK_WARN_BYTES / 1e9:.0f} GB: `docker system df` shows what Docker holds"
    return verdict(name, "", detail, hint, warn=free >= DISK_FAIL_BYTES)


def check_memory(meminfo: Path = Path("/proc/meminfo")) -> Check:
    """Check the main memory: the machine's, and what is left of it now; format: proc_meminfo(5)."""
    lines = (line.split() for line in meminfo.read_text(encoding="ascii").splitlines())
    megabytes = {words[0]: int(words[1]) // 1024 for words in lines}
    total, available = megabytes["MemTotal:"], megabytes["MemAvailable:"]
    detail = f"{total} MB, {available} MB available, {len(os.sched_getaffinity(0))} CPU"
    if total < MEMORY_FAIL_MB:
        return verdict("memory", "", detail, "a build needs a machine with 2 GB")
    if total < MEMORY_WARN_MB:
        hint = "keep synos.build.work at volume, and build small profiles"
        return verdict("memory", "", detail, hint, warn=True)
    good, hint = detail if available >= MEMORY_FAIL_MB else "", "close other programs before a build"
    return verdict("memory", good, detail, hint, warn=True)


def check_dev(problems: Sequence[str]) -> Check:
    """Check /dev, given its problems."""
    hint = "restart the machine to get a new /dev; find out what wrote there before you build again"
    return verdict("/dev", "" if problems else "healthy", "; ".join(problems), hint)


def check_mounts(stale: Sequence[Mount]) -> Check:
    """Check mounts left behind. Those through which a delete reaches the kernel stop a build."""
    detail = "; ".join(f"{mount.point} ({mount.kind})" for mount in stale)
    # The deepest first: a mount cannot go while another is on it.
    points = sorted((mount.point for mount in stale), key=lambda point: -point.count("/"))
    hint = f"before you delete anything there: sudo umount {' '.join(points)}"
    harmless = not any(mount.reaches_kernel for mount in stale)
    return verdict("mounts", "" if stale else "none left behind", detail, hint, warn=harmless)


def check_machine(project: Path, engine_folders: Sequence[Path]) -> list[Check]:
    """Check what stops a build: memory, /dev, and mounts left behind, which in the engine's folders are its own."""
    mounts = stale_mounts(project, mount_table(), ignore=engine_folders)
    return [check_memory(), check_dev(dev_problems()), check_mounts(mounts)]


def check_leftovers(names: Sequence[str]) -> Check:
    """Check for containers that a killed build left."""
    good, hint = "" if names else "no container left behind", f"docker rm --force --volumes {' '.join(names)}"
    return verdict("leftovers", good, ", ".join(names), hint, warn=True)


def check_boot(etc: Path = Path("/etc")) -> Check:
    """Check that the engine starts with the machine: it then starts the services again that ran."""
    links = ("systemd/system/*.wants/docker.s*", "rc[2-5].d/S*docker", "runlevels/*/docker")
    good = "starts with the machine" if any(link for pattern in links for link in etc.glob(pattern)) else ""
    hint = "sudo systemctl enable docker; otherwise services stay down after a reboot"
    return verdict("engine at boot", good, "does not start with the machine", hint, warn=True)


def check_kvm(device: Path = Path("/dev/kvm")) -> Check:
    """Check whether KVM's device can be opened: without it guests are emulated, which only takes longer."""
    good, bad, hint = "", "", "guests boot under emulation, which is slower"
    if not device.is_char_device():
        bad = f"there is no device {device}"
    else:
        try:
            os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
            good = "can be opened; how fast it is shows at a boot"
        except OSError as error:
            bad = f"{device} cannot be opened: {error.strerror}"
            hint += "; membership of the group kvm lets you use it"
    return verdict("kvm", good, bad, hint, warn=True)
