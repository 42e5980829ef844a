"""The way out of a program with a network: proxies, and the certificates that the host trusts. In no key, no file of a system."""

from __future__ import annotations

import base64
from collections.abc import Mapping  # noqa: TC003  (codec reads the types of fields)
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

CERTIFICATES = Path("/synos/certificates.pem")
"""In a container with a network: what the host trusts. It is missing where the host has no such file."""
_READERS = (
    "SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO",
)  # fmt: skip
TRUST = {**dict.fromkeys(_READERS, str(CERTIFICATES)), "APT_CONFIG": "/synos/apt.conf"}
"""Variables that name it for programs; apt reads a file of the image."""
NAMES = {"http": "http_proxy", "https": "https_proxy", "no": "no_proxy"}
MASK = "***"
SHORT = 4
"""Characters of a password below which it is masked only where its proxy is named: other words may contain it."""


@dataclass(frozen=True, kw_only=True)
class Proxies:
    """Addresses of proxies, with their passwords; '' is none. ``no`` lists who is asked without one."""

    http: str = ""
    https: str = ""
    no: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Proxies:
        """Read them from variables, of which the names in small letters come first."""
        found = {
            field: (environment.get(name) or environment.get(name.upper()) or "").strip()
            for field, name in NAMES.items()
        }
        addresses = {key: found[key] for key in ("http", "https") if found[key]}
        # apt takes the name of a host that stands alone for a scheme
        whole = {key: value if "://" in value else f"http://{value}" for key, value in addresses.items()}
        return cls(no=found["no"] if whole else "", **whole)

    def for_host(self, scheme: str, host: str) -> str:
        """Return the proxy by which a host is asked; '' for none."""
        names = [name.strip().lstrip("*.") for name in self.no.split(",")]
        direct = self.no.strip() == "*" or any(name and f".{host}".endswith(f".{name}") for name in names)
        return "" if direct else self.https if scheme == "https" else self.http

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the proxies, each once."""
        return tuple(dict.fromkeys(filter(None, (self.http, self.https))))

    @property
    def variables(self) -> dict[str, str]:
        """Variables that name the proxies, in small letters and in capitals."""
        found = {name: getattr(self, field) for field, name in NAMES.items() if getattr(self, field)}
        return found | {name.upper(): value for name, value in found.items()}

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a program in a container: the proxies, and the certificates there."""
        return {**self.variables, **(TRUST if CERTIFICATES.is_file() else {})}

    @property
    def secrets(self) -> dict[str, str]:
        """User and password of each proxy with the proxy's name, as they are in its address, by what they are."""
        found = (urlsplit(address).netloc for address in self.addresses)
        return {f"proxy {login.rpartition('@')[2]}": login for login in found if "@" in login}

    def masked(self, text: str) -> str:
        """Return a text without the passwords."""
        for login, _, host in (secret.rpartition("@") for secret in self.secrets.values()):
            plain = unquote(login)
            header = base64.b64encode(plain.encode()).decode()
            text = text.replace(f"{login}@{host}", f"{MASK}@{host}")
            for words in (login, plain, header, login.partition(":")[2], plain.partition(":")[2]):
                text = text.replace(words, MASK) if len(words) >= SHORT and ":" in login else text
        return text


NO_PROXIES = Proxies()
