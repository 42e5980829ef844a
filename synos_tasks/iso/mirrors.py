"""How mirrors are asked: Debian's own by https, where that answers."""

from __future__ import annotations

import base64
import functools
import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from synos_tasks.iso.proxies import CERTIFICATES

if TYPE_CHECKING:
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.proxies import Proxies

DEBIAN, PORT = "deb.debian.org", 443
SECONDS = 4.0


def over_https(profile: Profile, proxies: Proxies) -> Profile:
    """Return a profile with https for Debian's own mirror; where no trusted https answers, and for others, as it is.

    Signatures protect what is fetched either way. https only hides it on the way, so no build fails for the lack of it.
    """
    plain, secure = f"http://{DEBIAN}/", f"https://{DEBIAN}/"
    main, security = (one.replace(plain, secure) for one in (profile.mirror, profile.security_mirror))
    changed = replace(profile, mirror=main, security_mirror=security)
    proxy = proxies.for_host("https", DEBIAN)
    if changed == profile or (not proxy and proxies.for_host("http", DEBIAN)):
        return profile  # a proxy for http alone is asked, as it may keep the packages
    return changed if _answers(DEBIAN, PORT, proxy) else profile


@functools.cache  # a build fetches for each layer
def _answers(host: str, port: int, proxy: str) -> bool:
    """Ask within SECONDS; a name server that is silent would take much longer."""
    answered = threading.Event()
    asking = threading.Thread(target=_ask, args=(host, port, proxy, answered), daemon=True)
    asking.start()
    asking.join(SECONDS)
    return answered.is_set()


def _ask(host: str, port: int, proxy: str, answered: threading.Event) -> None:
    import ssl  # noqa: PLC0415  (a build that has its packages asks no mirror)
    from http.client import HTTPException, HTTPSConnection  # noqa: PLC0415

    parts = urlsplit(proxy)
    to = (parts.hostname or "", parts.port or 80) if proxy else (host, port)
    try:
        trust = ssl.create_default_context(cafile=CERTIFICATES if CERTIFICATES.is_file() else None)
        connection = HTTPSConnection(*to, timeout=SECONDS, context=trust)
        if proxy:
            login = base64.b64encode(unquote(parts.netloc.rpartition("@")[0]).encode()).decode()
            connection.set_tunnel(host, port, {"Proxy-Authorization": f"Basic {login}"} if login else {})
        connection.connect()
        connection.close()
    except (OSError, HTTPException):
        return
    answered.set()
