"""rootfs: Debian packages, laid down by mmdebstrap or debootstrap without mounting anything."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synos_tasks.iso.tools import Workshop

STAGE = "rootfs"
# Kept out of every image: documentation but for the licences, which must travel with the binaries.
DPKG_OPTIONS = (
    "force-unsafe-io",  # the root is thrown away if anything goes wrong, so no fsync per file
    "force-confold",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
)
APT_OPTIONS = (
    'Apt::Install-Recommends "false"',
    'Acquire::Languages "none"',
    'Acquire::Retries "2"',
    'Acquire::http::Timeout "15"',
)


def make(shop: Workshop) -> None:
    """Fill the root file system."""
    if shop.plan.profile.bootstrapper == "mmdebstrap":
        _mmdebstrap(shop)
    else:
        _debootstrap(shop)


def _mmdebstrap(shop: Workshop) -> None:
    profile = shop.plan.profile
    argv = ["mmdebstrap", "--mode=root", "--skip=check/canmount", "--variant=apt"]
    argv += [f"--architectures={profile.architecture}"]
    if profile.packages:
        argv.append(f"--include={','.join(profile.packages)}")
    argv += [f"--aptopt={option}" for option in APT_OPTIONS]
    argv += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
    # InRelease files give the build its date, see epoch(); a later stage removes them
    argv += ["--skip=cleanup/apt/lists", profile.suite, str(shop.root), "-"]
    shop.run(STAGE, argv, stdin="".join(line + "\n" for line in profile.sources()))
    for leftover in ("apt/apt.conf.d/99mmdebstrap", "dpkg/dpkg.cfg.d/99mmdebstrap"):
        (shop.root / "etc" / leftover).unlink(missing_ok=True)


def _debootstrap(shop: Workshop) -> None:
    """Lay the base with debootstrap, then install the rest with the new system's own apt."""
    profile, root = shop.plan.profile, shop.root
    shop.run(
        STAGE,
        ["debootstrap", f"--arch={profile.architecture}", "--variant=minbase",
         f"--components={','.join(profile.components)}", "--include=ca-certificates",
         "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg",
         profile.suite, str(root), profile.mirror],
    )  # fmt: skip
    temporary = {
        root / "etc/apt/apt.conf.d/99synos": "".join(f"{option};\n" for option in APT_OPTIONS),
        root / "etc/dpkg/dpkg.cfg.d/99synos": "".join(f"{option}\n" for option in DPKG_OPTIONS),
        root / "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
    }
    for path, text in temporary.items():
        path.write_text(text)
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    (root / "etc/apt/sources.list").write_text("".join(line + "\n" for line in profile.sources()))
    for name in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{name}", root / "etc" / name)
    shop.chroot(STAGE, "apt-get", "update", "--error-on=any")
    shop.chroot(STAGE, "apt-get", "dist-upgrade", "--yes")
    shop.chroot(STAGE, "apt-get", "install", "--yes", *profile.packages)
    for path in temporary:
        path.unlink()
