"""The splash screen while the system starts and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.key import Expected, Key
from synos_tasks.iso.schema import text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.system import System


def apply(system: System, theme: str) -> None:
    """Choose the theme; an overlay may bring it later."""
    system.write("etc/plymouth/plymouthd.conf", f"[Daemon]\nTheme={theme}\n")


def expect(_profile: Profile, theme: str) -> Iterable[Expected]:
    """Expect that it is there and chosen."""
    folder = f"/usr/share/plymouth/themes/{theme}"
    yield Expected(
        "plymouth", theme, f"[ -d {folder} ] && sed -n 's/^Theme=//p' /etc/plymouth/plymouthd.conf"
    )


KEY = Key(
    kind=text(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}",
        "a theme of Plymouth",
        "Theme of the splash screen, from plymouth-themes, another package or an overlay.",
        allowed="the name of a folder in /usr/share/plymouth/themes",
    ),
    packages=lambda _theme: ["plymouth", "plymouth-themes"],
    kernel_arguments=lambda _theme: ["splash"],
    apply=apply,
    expect=expect,
    aliases=("bootsplash", "bootsplash_theme", "splash_theme"),
    example="spinner",
)
