"""The host name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.key import Expected, Key
from synos_tasks.iso.schema import text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.system import System


def apply(system: System, name: str) -> None:
    """Write /etc/hostname and /etc/hosts."""
    system.write("etc/hostname", f"{name}\n")
    hosts = f"127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    system.write("etc/hosts", hosts)


def expect(_profile: Profile, name: str) -> Iterable[Expected]:
    """Expect that the kernel has it, and that it can be resolved."""
    yield Expected("hostname", name, "cat /proc/sys/kernel/hostname")
    yield Expected("address of the host name", "127.0.1.1", f"getent hosts {name} | cut -d ' ' -f 1")


KEY = Key(
    kind=text(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "a host name",
        "Host name.",
        allowed="lower-case letters, digits and - inside; 63 characters at most",
    ),
    default="synos",
    apply=apply,
    expect=expect,
    aliases=("host", "nodename"),
    example="kiosk",
)
