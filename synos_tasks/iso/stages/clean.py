"""What no layer keeps: it differs from build to build, is wrong on another machine, or says nothing to a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_CLUTTER = (
    "etc/machine-id", "var/lib/dbus/machine-id", "etc/resolv.conf", "etc/ssh/ssh_host_*", "etc/passwd-",
    "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock", "etc/mtab.*",
    "var/cache/ldconfig/aux-cache", "var/cache/debconf/*-old", "var/lib/dpkg/*-old", "var/lib/dpkg/lock*",
    "var/cache/man/*", "var/log/*", "var/lib/apt/lists/*", "var/cache/apt/*.bin", "var/lib/apt/extended_states",
    "var/cache/apt/archives/*.deb", "var/cache/apt/archives/lock", "var/lib/systemd/catalog/database",
    "etc/nvme/hostid", "etc/nvme/hostnqn",  # who a machine is on a fabric, made when nvme-cli is installed
    "var/lib/systemd/random-seed", "var/tmp/*", "tmp/*", "run/*", "root/.wget-hsts",
    "dev/*",  # the kernel's devtmpfs covers it at boot
    "usr/share/info/*", "debootstrap",
)  # fmt: skip


def clean(root: Path, *, keep: Collection[str] = ()) -> None:
    """Remove it, but for the paths to ``keep``."""
    documentation = (path for path in root.glob("usr/share/doc/*/*") if path.name != "copyright")
    clutter = (found for pattern in _CLUTTER for found in root.glob(pattern))
    for path in sorted({*documentation, *clutter, *root.glob("usr/**/__pycache__")}):
        if str(path.relative_to(root)) not in keep and _is_inside(root, path):
            remove(path)
    # empty, not missing: systemd then makes one at first boot without calling it a first boot
    if "etc/machine-id" not in keep:
        (root / "etc/machine-id").write_text("")
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)


def _is_inside(root: Path, path: Path) -> bool:
    """Tell whether a path lies in the root itself, not behind a link that leads out of it."""
    return not any((root / above).is_symlink() for above in path.relative_to(root).parents)
