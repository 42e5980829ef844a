"""The machine: its disk, memory, ports, mounts and /dev, and what they mean for a build, one Check each.

Changes nothing, and knows no Docker: what that says comes in as plain values.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from synos_tasks.project import engine_hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Status = Literal["ok", "warn", "fail"]

DISK_FAIL_BYTES = 4 * 10**9
DISK_WARN_BYTES = 10 * 10**9
# Machines sold with 2 and 4 GB report a little less: the kernel keeps some for itself.
MEMORY_FAIL_MB = 1900
MEMORY_WARN_MB = 3800
# Fixed by the kernel: Documentation/admin-guide/devices.txt.
NODES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0), "ptmx": (5, 2),
}  # fmt: skip
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
# Deleting files in these deletes the kernel's own: a devtmpfs is one instance for the whole machine.
KERNEL_KINDS = frozenset({"devtmpfs", "devpts", "proc", "sysfs", "efivarfs", "securityfs", "debugfs"})


@dataclass(frozen=True, order=True)
class Mount:
    """One line of mountinfo: where, what kind of file system, from what, and which folder of it."""

    point: str
    kind: str
    source: str
    root: str


def free_disk_bytes(path: Path) -> int:
    """Return the bytes that an unprivileged process may still write at ``path`` or its nearest parent."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def is_taken(address: str, port: int) -> bool:
    """Return whether something listens at ``address`` (IPv4 or IPv6, a number) already.

    False too where this process may not listen (ports below 1024, addresses of other machines): the engine,
    which has other rights, finds that out.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # as the engine does: connections that ended a moment ago do not keep a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def mount_table(mountinfo: Path = Path("/proc/self/mountinfo")) -> tuple[Mount, ...]:
    """Read the mounts that this process sees, sorted; format: proc_pid_mountinfo(5)."""
    found = []
    for line in mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, dash, after = line.partition(" - ")
        fields, (kind, _, rest) = before.split(" "), after.partition(" ")
        if dash and len(fields) > 4:
            source = rest.partition(" ")[0]
            found.append(Mount(*(_unescape(text) for text in (fields[4], kind, source, fields[3]))))
    return tuple(sorted(found))


def stale_mounts(project: Path, table: Iterable[Mount], *, ignore: Sequence[Path] = ()) -> tuple[Mount, ...]:
    """Return the mounts below ``project``, and those anywhere with a folder named synos-* in their path.

    ``ignore``: folders whose mounts others clean up, as the engine's root folder.
    """

    def is_stale(point: Path) -> bool:
        if any(folder in point.parents for folder in ignore):
            return False
        # the project's own parents may be named synos-* too: only what comes below them counts
        if point == project or point in project.parents:
            return False
        return project in point.parents or any(part.startswith("synos-") for part in point.parts)

    return tuple(mount for mount in table if is_stale(Path(mount.point)))


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def dev_problems(dev: Path = Path("/dev")) -> list[str]:
    """Return what is wrong in ``dev``, one sentence each; empty when it is healthy."""
    problems = []
    for name, numbers in NODES.items():
        path = dev / name
        try:
            # where devpts is an instance of its own, ptmx is a link to pts/ptmx
            facts = path.stat() if name == "ptmx" else path.lstat()
        except FileNotFoundError:
            problems.append(f"{path} is missing")
        except OSError as error:
            problems.append(f"{path} cannot be examined: {error.strerror}")
        else:
            problems.append(node_problem(path, facts, numbers))
    problems += [_link_problem(dev / name, target) for name, target in LINKS.items()]
    return [*filter(None, problems), *_stray_files(dev)]


def node_problem(path: Path, facts: os.stat_result, numbers: tuple[int, int]) -> str:
    """Return what is wrong with a device, given its status and the numbers that it has to have; '' for nothing."""
    have = os.major(facts.st_rdev), os.minor(facts.st_rdev)
    if not stat.S_ISCHR(facts.st_mode) or have != numbers:
        return f"{path} is {stat.filemode(facts.st_mode)}, not character device {numbers[0]}:{numbers[1]}"
    if facts.st_mode & 0o006 != 0o006:
        return f"{path} has mode {stat.S_IMODE(facts.st_mode):04o}: not everybody may use it"
    return ""


def _link_problem(path: Path, target: str) -> str:
    try:
        points_to = str(path.readlink())
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        is_other = error.errno == errno.EINVAL
        return f"{path} is not a link" if is_other else f"{path} cannot be examined: {error.strerror}"
    return "" if points_to.endswith(target) else f"{path} is a link to {points_to}"


def _stray_files(dev: Path) -> list[str]:
    """Find regular files directly in ``dev``; hidden ones belong to container managers."""
    try:
        paths = sorted(dev.iterdir())
    except OSError as error:
        return [f"{dev} cannot be read: {error.strerror}"]
    strays = [path for path in paths if path.name not in {*NODES, *LINKS} and not path.name.startswith(".")]
    return [f"{path} is a regular file" for path in strays if path.is_file() and not path.is_symlink()]


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


def check_socket(where: str, problem: str, variable: str = "DOCKER_HOST") -> Check:
    """Check the engine's address, given why the engine does not answer; '' where it does."""
    name = "docker socket"
    if not problem:
        return verdict(name, where)
    if not where.startswith("unix://"):
        hint = f"see that the address in {variable} is right and lets you in"
        return verdict(name, "", f"{where} does not answer", hint, warn=True)
    path = Path(where.removeprefix("unix://"))
    try:
        path.stat()
    except FileNotFoundError:
        return verdict(name, "", f"there is no {path}", engine_hint())
    except OSError as error:
        hint = f"see that the address in {variable} is right, and that this user may use its folder"
        return verdict(name, "", f"{path} cannot be examined: {error.strerror}", hint)
    good = str(path) if os.access(path, os.R_OK | os.W_OK) else ""
    hint = "sudo usermod --append --groups docker $USER, then log in again; that group is effectively root"
    return verdict(name, good, f"no permission on {path}", hint)


def check_disk(name: str, folder: Path) -> Check:
    """Check the free space at a folder; one that is not on this machine is not measured."""
    try:
        folder.stat()
        free = free_disk_bytes(folder)
    except FileNotFoundError:
        return verdict(name, f"{folder} is not on this machine: not measured")
    except OSError as error:
        bad, hint = f"not known: {folder}: {error.strerror}", f"as root: df --human-readable {folder}"
        return verdict(name, "", bad, hint, warn=True)
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
    harmless = KERNEL_KINDS.isdisjoint(mount.kind for mount in stale)
    return verdict("mounts", "" if stale else "none left behind", detail, hint, warn=harmless)


def check_machine(project: Path, engine_folders: Sequence[Path] | None) -> list[Check]:
    """Check what stops a build: memory, /dev, and mounts left behind, which in the engine's folders are its own.

    Where those folders are not known (None), mounts outside the project may be those of running containers.
    """
    found = stale_mounts(project, mount_table(), ignore=engine_folders or ())
    mounts = [one for one in found if engine_folders is not None or project in Path(one.point).parents]
    checked = check_mounts(mounts)
    if len(mounts) < len(found) and not mounts:
        bad = f"unknown: {len(found)} mounts may be those of running containers, and no engine tells"
        checked = verdict(
            "mounts", "", bad, "do not unmount them; start the engine and check again", warn=True
        )
    return [check_memory(), check_dev(dev_problems()), checked]


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
    hint = "guests boot under emulation, which is slower"
    if not device.is_char_device():
        return verdict("kvm", "", f"there is no device {device}", hint, warn=True)
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        bad = f"{device} cannot be opened: {error.strerror}"
        return verdict("kvm", "", bad, f"{hint}; membership of the group kvm lets you use it", warn=True)
    return verdict("kvm", "can be opened; how fast it is shows at a boot")
