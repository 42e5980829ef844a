"""What stages share about the root file system: dpkg's options, device nodes, and what no layer keeps."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from synos_tasks.errors import StageFailed
from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

DPKG_CONF = "etc/dpkg/dpkg.cfg.d/99synos"
DPKG_INFO = "var/lib/dpkg/info"
# Kept out of every image: documentation but for the licences, which must travel with the binaries.
DPKG_OPTIONS = (
    "force-unsafe-io",  # the root is thrown away if anything goes wrong, so no fsync per file
    "force-confold",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
)
# see Documentation/admin-guide/devices.txt of Linux; the engine allows these to every container
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
# it differs from build to build, is wrong on another machine, or says nothing to a user
_CLUTTER = (
    "etc/machine-id", "var/lib/dbus/machine-id", "etc/resolv.conf", "etc/passwd-",
    "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock", "etc/mtab.*",
    "var/cache/ldconfig/aux-cache", "var/cache/debconf/*-old", "var/lib/dpkg/*-old", "var/lib/dpkg/lock*",
    "var/cache/man/*", "var/lib/apt/lists/*", "var/cache/apt/*.bin", "var/lib/apt/extended_states",
    "var/cache/apt/archives/*.deb", "var/cache/apt/archives/lock", "var/lib/systemd/catalog/database",
    "var/lib/systemd/random-seed", "var/tmp/*", "tmp/*", "run/*", "root/.wget-hsts",
    "dev/*",  # the kernel's devtmpfs covers it at boot
    "debootstrap",
)  # fmt: skip


NO_SERVICES = "#!/bin/sh\nexit 101\n"
LINKS = 40
"""As Linux follows at most."""


def within(root: Path, path: str, *, follow: bool = False) -> Path:
    """Return where a path of the system in ``root`` is; links lead where they do in the system.

    Foreign code laid these links: followed from here they could lead to the store. The last part is a link still, unless
    ``follow``. Raises StageFailed.
    """
    found, waiting, links = root, path.split("/"), 0
    while waiting:
        part = waiting.pop(0)
        if part == "..":
            found = root if found == root else found.parent
        elif (waiting or follow) and (found / part).is_symlink():
            target, links = str((found / part).readlink()), links + 1
            if links > LINKS:
                raise StageFailed("links lead in a circle", where=f"/{path}", why=f"more than {LINKS} links")
            found = root if target.startswith("/") else found
            waiting = [*target.split("/"), *waiting]
        else:
            found /= part
    return found


def write(root: Path, path: str, text: str, mode: int = 0o644) -> Path:
    """Put a new file into the system in ``root``, in the place of what is there; return where it is."""
    target = within(root, path)
    remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("x") as stream:
        stream.write(text)
    target.chmod(mode)
    return target


@contextmanager
def no_services(root: Path) -> Iterator[None]:
    """Let no package script start a service, by invoke-rc.d's policy; one that the system brings stays."""
    policy = within(root, "usr/sbin/policy-rc.d")
    added = not os.path.lexists(policy)
    if added:
        write(root, "usr/sbin/policy-rc.d", NO_SERVICES, 0o755)
    yield
    if added and policy.is_file() and policy.read_text() == NO_SERVICES:
        remove(policy)


def make_devices(root: Path) -> None:
    """Make the few device nodes that scripts in the root expect, on the builder's own disk; clean() removes them."""
    if (root / "dev").is_symlink() or not (root / "dev").is_dir():
        return
    for name, (major, minor) in NODES.items():
        path = root / "dev" / name
        if not os.path.lexists(path):
            os.mknod(path, stat.S_IFCHR, os.makedev(major, minor))
            path.chmod(0o666)


def clean(root: Path, *, keep: Collection[str] = ()) -> None:
    """Remove what no layer keeps, but for the paths to ``keep`` and what packages own; of logs only the files."""
    logs = (path for path in root.glob("var/log/**/*") if path.is_symlink() or not path.is_dir())
    clutter = {found for pattern in _CLUTTER for found in root.glob(pattern)} | set(logs)
    kept = {*keep, *(path.lstrip("/") for paths in lists_of_packages(root).values() for path in paths)}
    documentation = (path for path in root.glob("usr/share/doc/*/*") if path.name != "copyright")
    excluded = {*documentation, *root.glob("usr/share/info/*"), *root.glob("usr/**/__pycache__")}
    for path in sorted(clutter | excluded):
        inside = path.relative_to(root)
        leads_out = any((root / above).is_symlink() for above in inside.parents)
        if str(inside) not in (keep if path in excluded else kept) and not leads_out:
            remove(path)
    # empty, not missing: systemd then makes one at first boot without calling it a first boot
    if "etc/machine-id" not in keep:
        write(root, "etc/machine-id", "")
    within(root, "var/log/journal").mkdir(parents=True, exist_ok=True)


def lists_of_packages(root: Path) -> dict[str, list[str]]:
    """Return the absolute paths that dpkg knows of, by package; DPKG_OPTIONS keep some of them out all the same."""
    lists = within(root, DPKG_INFO, follow=True).glob("*.list")
    return {path.stem: path.read_text(errors="replace").splitlines() for path in lists if path.is_file()}
