"""How mirrors are asked: Debian's own by https, where that answers."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synos_tasks.iso.profile import Profile

DEBIAN, PORT = "deb.debian.org", 443
SECONDS = 4.0


def over_https(profile: Profile) -> Profile:
    """Return a profile with https for Debian's own mirror; where no trusted https answers, and for others, as it is.

    Signatures protect what is fetched either way. https only hides it on the way, so no build fails for the lack of it.
    """
    plain, secure = f"http://{DEBIAN}/", f"https://{DEBIAN}/"
    main, security = (one.replace(plain, secure) for one in (profile.mirror, profile.security_mirror))
    changed = replace(profile, mirror=main, security_mirror=security)
    return changed if changed != profile and _answers(DEBIAN, PORT) else profile


@functools.cache  # a build fetches for each layer
def _answers(host: str, port: int) -> bool:
    import socket  # noqa: PLC0415  (a build that has its packages asks no mirror)
    import ssl  # noqa: PLC0415

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(SECONDS)
            connection.connect(address)  # the first alone: a firewall may drop all, each for SECONDS
            ssl.create_default_context().wrap_socket(connection, server_hostname=host).close()
    except OSError:
        return False
    return True
