"""Logins over the network, where OpenSSH's server is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.key import Expected, Key, updates
from synos_tasks.iso.schema import boolean, mapping

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.system import System

SERVER = "usr/sbin/sshd"


def apply(system: System, ssh: dict[str, bool]) -> None:
    """Let the server take passwords, or keys alone."""
    if system.has(SERVER):
        answer = "yes" if ssh["password_login"] else "no"
        text = f"PasswordAuthentication {answer}\nKbdInteractiveAuthentication {answer}\n"
        system.write("etc/ssh/sshd_config.d/10-synos.conf", text)


def expect(_profile: Profile, ssh: dict[str, bool]) -> Iterable[Expected]:
    """Expect what the server itself says."""
    answer = "yes" if ssh["password_login"] else "no"
    # without the folder, which its unit makes, the server only complains
    ask = "{ mkdir -p /run/sshd; sshd -T 2>&1 | sed -n 's/^passwordauthentication //Ip'; }"
    yield Expected("ssh: login with a password", answer, f"[ ! -x /{SERVER} ] && printf {answer} || {ask}")


KEY = Key(
    kind=mapping(
        {"password_login": boolean("Allow login by password; otherwise only by key.")},
        "OpenSSH's server, where it is installed.",
    ),
    default={"password_login": False},
    merge=updates,
    apply=apply,
    expect=expect,
    aliases=("sshd", "openssh", "ssh_server"),
    example="{password_login: true}",
)
