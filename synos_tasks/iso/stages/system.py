"""system: where packages come from, host name, locale, time zone, keyboard and users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.errors import ProfileError
from synos_tasks.iso.root import clean, make_devices, within, write
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.layers import StageInputs
    from synos_tasks.iso.profile import Profile, User
    from synos_tasks.iso.tools import BuildContext

NAME = "system"
STAGE = StageSpec(order=30, fields=("users", "hostname", "locale", "timezone", "keyboard", "sources"))


def make(inputs: StageInputs, root: Path) -> None:
    """Set the system up as the profile says."""
    context, profile = inputs.context, inputs.context.profile
    make_devices(root)
    write(root, "etc/apt/sources.list", "".join(f"{line}\n" for line in profile.sources))
    write(root, "etc/hostname", f"{profile.hostname}\n")
    write(
        root,
        "etc/hosts",
        f"127.0.0.1\tlocalhost\n127.0.1.1\t{profile.hostname}\n\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    )
    _live_config(profile, root)
    _locale(context, root)
    for user in profile.users[1:]:
        _add_user(context, root, user)
    clean(root)


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
    text = "".join(f'{key}="{value}"\n' for key, value in values.items())
    write(root, "etc/live/config.conf.d/synos.conf", text)


def _locale(context: BuildContext, root: Path) -> None:
    profile = context.profile
    write(root, "etc/default/locale", f"LANG={profile.locale}\n")
    if profile.locale != "C.UTF-8":
        if not (root / "usr/sbin/locale-gen").exists():
            raise ProfileError(
                f"locale {profile.locale} needs the package locales", hint="add `- locales` to packages"
            )
        write(root, "etc/locale.gen", f"{profile.locale} UTF-8\n")
        context.run_inside(NAME, root, ["locale-gen"])
    zone = within(root, f"usr/share/zoneinfo/{profile.timezone}", follow=True)
    if not zone.is_file() and profile.timezone != "Etc/UTC":
        raise ProfileError(
            f"there is no time zone {profile.timezone!r}",
            hint="zones are named as Europe/Berlin; the package tzdata must be among the packages",
        )
    localtime = within(root, "etc/localtime")
    remove(localtime)
    localtime.symlink_to(f"/usr/share/zoneinfo/{profile.timezone}")
    write(root, "etc/timezone", f"{profile.timezone}\n")
    layout, variant, model = profile.keyboard
    write(
        root,
        "etc/default/keyboard",
        f'XKBMODEL="{model}"\nXKBLAYOUT="{layout}"\nXKBVARIANT="{variant}"\nXKBOPTIONS=""\nBACKSPACE="guess"\n',
    )


def _add_user(context: BuildContext, root: Path, user: User) -> None:
    argv = ["useradd", "--create-home", "--shell=/bin/bash"]
    argv.append(f"--comment={user.full_name}")
    if user.groups:
        argv.append(f"--groups={','.join(user.groups)}")
    context.run_inside(NAME, root, [*argv, user.name])
    if user.password_hash:  # not as an argument: these are logged
        text = f"{user.name}:{user.password_hash}\n"
        context.run_inside(NAME, root, ["chpasswd", "--encrypted"], stdin=text)
