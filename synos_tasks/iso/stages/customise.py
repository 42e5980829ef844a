"""customise: identity, users, locale, overlays and hooks; then everything that differs by chance is removed."""

from __future__ import annotations

import os
import shutil
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.errors import HookFailed, ProfileError
from synos_tasks.iso.plan import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.iso.profile import Profile, User
    from synos_tasks.iso.tools import Workshop

STAGE = "customise"
BASE_OVERLAY = "overlays/synos-base"
# Differs from build to build, is wrong on another machine, or says nothing to a user.
_CLUTTER = (
    "etc/machine-id", "var/lib/dbus/machine-id", "etc/resolv.conf", "etc/ssh/ssh_host_*", "etc/passwd-",
    "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock", "etc/mtab.*",
    "var/cache/ldconfig/aux-cache", "var/cache/debconf/*-old", "var/lib/dpkg/*-old", "var/lib/dpkg/lock*",
    "var/cache/man/*", "var/log/*", "var/lib/apt/lists/*", "var/cache/apt/*.bin", "var/lib/apt/extended_states",
    "var/cache/apt/archives/*.deb", "var/lib/systemd/catalog/database", "var/lib/systemd/random-seed",
    "var/tmp/*", "tmp/*", "run/*", "root/.wget-hsts",
    "dev/*",  # the kernel's devtmpfs covers it at boot
)  # fmt: skip


def make(shop: Workshop) -> None:
    """Turn a Debian root file system into SynOS."""
    profile, root = shop.plan.profile, shop.root
    _identity(shop)
    _locale(shop)
    for user in profile.users[1:]:
        _add_user(shop, user)
    for overlay in (BASE_OVERLAY, *profile.overlays):
        copy_overlay(shop.docker_build / overlay, root)
    for hook in profile.hooks:
        _run_hook(shop, hook)
    clean(root)


def epoch(root: Path) -> int:
    """Seconds since 1970 that all dates are clamped to: the newest Release file the packages came from."""
    dates = [
        int(parsedate_to_datetime(line.partition(":")[2].strip()).timestamp())
        for path in sorted((root / "var/lib/apt/lists").glob("*Release"))
        for line in path.read_text(errors="replace").splitlines()
        if line.startswith("Date:")
    ]
    return max(dates, default=0)


def build_id(shop: Workshop) -> str:
    """Twelve hex digits: the plan and the exact packages that the mirror gave."""
    return digest([shop.plan.key, installed(shop.root)])[:12]


def installed(root: Path) -> list[tuple[str, str, str]]:
    """(name, version, architecture) of every installed package, sorted, from dpkg's status file."""
    packages = []
    for block in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" ")
        )
        if fields.get("Status") == "install ok installed":
            packages.append((fields["Package"], fields["Version"], fields["Architecture"]))
    return sorted(packages)


def _identity(shop: Workshop) -> None:
    profile, root = shop.plan.profile, shop.root
    ident = build_id(shop)
    version = {"bookworm": "12", "trixie": "13"}[profile.suite]
    release = {
        "PRETTY_NAME": f'"SynOS {version} ({profile.name})"',
        "NAME": '"SynOS"',
        "ID": "synos",
        "ID_LIKE": "debian",
        "VERSION_ID": f'"{version}"',
        "VERSION_CODENAME": profile.suite,
        "VARIANT_ID": profile.name,
        "BUILD_ID": ident,
    }
    os_release = root / "usr/lib/os-release"
    os_release.unlink(missing_ok=True)
    os_release.write_text("".join(f"{key}={value}\n" for key, value in release.items()))
    (root / "etc/issue").write_text(f"SynOS {version} {profile.name} {ident} \\n \\l\n\n")
    (root / "etc/issue.net").write_text(f"SynOS {version}\n")
    (root / "etc/hostname").write_text(f"{profile.hostname}\n")
    (root / "etc/hosts").write_text(
        f"127.0.0.1\tlocalhost\n127.0.1.1\t{profile.hostname}\n\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    )
    _live_config(profile, root)


def _live_config(profile: Profile, root: Path) -> None:
    """Tell live-config what to do at boot: make the live user, and set the host's name."""
    user = profile.users[0]
    groups = sorted({"audio", "cdrom", "dip", "floppy", "netdev", "plugdev", "video", *user.groups})
    values = {
        "LIVE_USERNAME": user.name,
        "LIVE_USER_FULLNAME": user.full_name,
        "LIVE_USER_DEFAULT_GROUPS": " ".join(groups),
        "LIVE_HOSTNAME": profile.hostname,
    }
    folder = root / "etc/live/config.conf.d"
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f'{key}="{value}"\n' for key, value in values.items())
    (folder / "synos.conf").write_text(text)


def _locale(shop: Workshop) -> None:
    profile, root = shop.plan.profile, shop.root
    (root / "etc/default").mkdir(exist_ok=True)
    (root / "etc/default/locale").write_text(f"LANG={profile.locale}\n")
    if profile.locale != "C.UTF-8":
        if not (root / "usr/sbin/locale-gen").exists():
            raise ProfileError(
                f"locale {profile.locale} needs the package locales", hint="add `- locales` to packages"
            )
        (root / "etc/locale.gen").write_text(f"{profile.locale} UTF-8\n")
        shop.chroot(STAGE, "locale-gen")
    zone = root / "usr/share/zoneinfo" / profile.timezone
    if not zone.is_file() and profile.timezone != "Etc/UTC":
        raise ProfileError(
            f"there is no time zone {profile.timezone!r}",
            hint="zones are named as Europe/Berlin; the package tzdata must be among the packages",
        )
    localtime = root / "etc/localtime"
    localtime.unlink(missing_ok=True)
    localtime.symlink_to(f"/usr/share/zoneinfo/{profile.timezone}")
    (root / "etc/timezone").write_text(f"{profile.timezone}\n")
    layout, variant, model = profile.keyboard
    (root / "etc/default/keyboard").write_text(
        f'XKBMODEL="{model}"\nXKBLAYOUT="{layout}"\nXKBVARIANT="{variant}"\nXKBOPTIONS=""\nBACKSPACE="guess"\n'
    )


def _add_user(shop: Workshop, user: User) -> None:
    argv = ["useradd", "--create-home", "--shell=/bin/bash", f"--comment={user.full_name}"]
    if user.groups:
        argv.append(f"--groups={','.join(user.groups)}")
    if user.password_hash:
        argv.append(f"--password={user.password_hash}")
    shop.chroot(STAGE, *argv, user.name)


def copy_overlay(source: Path, root: Path) -> None:
    """Copy a folder over the root: modes from git (755 or 644), owner root, links kept.

    Raises ProfileError where a file or link would replace a folder, or a folder a file.
    """
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        target = root / inside
        is_folder = path.is_dir() and not path.is_symlink()
        clash = not target.is_dir() if is_folder else target.is_dir() and not target.is_symlink()
        if clash and os.path.lexists(target):
            raise ProfileError(
                f"overlay {source.name}: /{inside} is {_kind(path)}, in the root it is {_kind(target)}",
                where=str(path),
                hint="an overlay adds and replaces files; a hook can remove folders",
            )
        if is_folder:
            target.mkdir(exist_ok=True, parents=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        else:
            shutil.copyfile(path, target)
            target.chmod(0o755 if os.access(path, os.X_OK) else 0o644)


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "a link"
    return "a folder" if path.is_dir() else "a file"


def _run_hook(shop: Workshop, hook: str) -> None:
    """Run a hook in the root: as root of the container, which is less than root of the host."""
    inside = Path("/tmp") / f"synos-hook-{Path(hook).name}"  # noqa: S108  (in the root under construction)
    target = shop.root / inside.relative_to("/")
    shutil.copyfile(shop.docker_build / hook, target)
    target.chmod(0o755)

    def failed(code: int, lines: Sequence[str]) -> Exception:
        return HookFailed(
            f"hook {hook} ended with {code}",
            where=shop.plan.profile.origins.get(hook, hook),
            why="\n".join(lines[-10:]),
            hint="the full log has all it printed",
        )

    resolv = shop.root / "etc/resolv.conf"
    shutil.copyfile("/etc/resolv.conf", resolv)
    shop.run(STAGE, ["chroot", str(shop.root), str(inside)], on_failure=failed)
    target.unlink(missing_ok=True)


def clean(root: Path) -> None:
    """Remove what differs from build to build or would be wrong on another machine."""
    for pattern in _CLUTTER:
        for path in sorted(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for cache in sorted(root.glob("usr/**/__pycache__")):
        shutil.rmtree(cache)
    # empty, not missing: systemd then makes one at first boot without calling it a first boot
    (root / "etc/machine-id").write_text("")
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
