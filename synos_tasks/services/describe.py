"""How applications reach the services: addresses, users, password files, and these as variables."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from synos_tasks.errors import ServiceFailed
from synos_tasks.services import health
from synos_tasks.services.ray import DASHBOARD
from synos_tasks.services.secrets import Secrets
from synos_tasks.services.stack import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synos_tasks.services.stack import Port, Service, StackContext

ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  (nothing is bound)
COLUMNS = ("service", "state", "address", "user", "password file")
MOST = 3
"""Services that `up` names at its end."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~-]*")


@dataclass(frozen=True, kw_only=True)
class Access:
    """How applications on this machine reach one service. What is not known is '', or 0 for a port.

    ``url`` has neither user nor password. Without a port, the service is reachable on the stack's networks alone.
    """

    name: str
    state: str
    ports: tuple[Port, ...]
    host: str
    port: int
    scheme: str
    user: str
    database: str
    url: str
    password_file: str

    def variables(self, password: str = "") -> dict[str, str]:
        """Return variables for an application, with a ``password`` where it is not ''."""
        if self.scheme == "ray":
            return self._of_ray(password)
        word = re.sub(r"^(?=\d)|\W", "_", self.name.upper(), flags=re.ASCII)
        prefix = "PG" if self.scheme == "postgresql" else f"{word}_"  # libpq's own names
        fields = {"HOST": self.host, "PORT": str(self.port or ""), "USER": self.user, "PASSWORD": password}
        fields |= {"DATABASE": self.database, "PASSWORD_FILE": self.password_file}
        fields |= {f"PORT_{port.container_port}": str(port.host_port) for port in self.ports[1:]}
        found = {f"{prefix}{key}": value for key, value in fields.items() if value}
        url = self.url.replace("://", f"://{self.user}:{password}@", 1) if password else self.url
        return {**found, **({f"{word}_URL": url} if url else {})}

    def _of_ray(self, token: str) -> dict[str, str]:
        """Return the variables that Ray reads by itself: its programs, and `ray job`."""
        ports = {port.container_port: port.host_port for port in self.ports}
        found = {"RAY_ADDRESS": self.url, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": self.password_file}
        if dashboard := ports.get(DASHBOARD):
            found["RAY_API_SERVER_ADDRESS"] = f"http://{self.host}:{dashboard}"
        return found | ({"RAY_AUTH_TOKEN": token} if token else {})


def describe(context: StackContext, services: Sequence[Service]) -> list[Access]:
    """Return how services are reached: ports are those of running containers, else those of the compose file."""
    containers = context.compose.containers()
    found = []
    for service in services:
        container = containers.get(service.name)
        runs = container is not None and container.state.status == "running"
        ports = health.ports_of(container) if container and runs else service.ports
        found.append(_access(context, service, ports, health.step_of(container)))
    return found


def _access(context: StackContext, service: Service, ports: Sequence[Port], state: str) -> Access:
    unique = tuple({port.container_port: port for port in reversed(ports)}.values())[::-1]  # IPv6 comes last
    first, address = unique[0] if unique else None, urlsplit(service.url)
    host = "" if first is None else "127.0.0.1" if first.address in ANY_ADDRESS else first.address
    number = first.host_port if first else 0
    shown = f"[{host}]" if ":" in host else host
    return Access(
        name=service.name,
        state=state,
        ports=unique,
        host=host,
        port=number,
        scheme=address.scheme,
        user=address.username or "",
        database=address.path.strip("/"),
        url=f"{address.scheme}://{shown}:{number}{address.path.rstrip('/')}"
        if address.scheme and number
        else "",
        password_file=str(context.folder / "secrets" / service.secrets[0]) if service.secrets else "",
    )


def variables(context: StackContext, services: Sequence[Service], *, passwords: bool) -> dict[str, str]:
    """Return variables for applications; with ``passwords`` these too, else only the files that have them.

    Raises ServiceFailed where a port is not known yet, SecretsDamaged.
    """
    own, found = Secrets(context.folder), dict[str, str]()
    for service, access in zip(services, describe(context, services), strict=True):
        if any(not port.host_port for port in access.ports):
            what = f"the port of {service.name} is not known: the engine chooses it at the start"
            raise ServiceFailed(
                what, where=context.compose.project, hint=f"inv services.up{context.option} starts it"
            )
        password = own.read(service.secrets[0]) if passwords and service.secrets else ""
        if access.ports:  # without any, nothing of this machine can reach it
            found = (
                access.variables(password) | found
            )  # of two services with the same variables the first counts
    return found


def lines(values: Mapping[str, str], form: str) -> str:
    """Return variables as text for a shell's `eval`, or for a file that docker, compose and python-dotenv read."""
    if form == "shell":
        return "".join(f"export {key}={shlex.quote(value)}\n" for key, value in sorted(values.items()))
    plain = {key: value if _PLAIN.fullmatch(value) else quoted(value) for key, value in values.items()}
    return "".join(f"{key}={value}\n" for key, value in sorted(plain.items()))


def rows(found: Sequence[Access]) -> list[list[str]]:
    """Return the rows of the table."""
    return [[one.name, one.state, _address(one), one.user, one.password_file] for one in found]


def summary(found: Sequence[Access], command: str, option: str = "") -> str:
    """Return the lines with which `up` ends; ``option`` is that of a stack."""
    shown = [f"{one.name:<12} {_address(one)}" + (f"  user {one.user}" if one.user else "") for one in found]
    shown[MOST:] = [f"and {len(shown) - MOST} more: {command} services.describe{option}"] * (
        len(shown) > MOST
    )
    if folders := {one.password_file.rpartition("/")[0] for one in found if one.password_file}:
        shown.append(f"passwords: files in {folders.pop()}")
    return "\n".join([*shown, f'for applications: eval "$({command} services.env{option})"'])


def _address(one: Access) -> str:
    if not one.ports:
        return "no port of this machine"
    if not one.port:
        return "a free port, chosen at the start"
    return one.url or ", ".join(f"{one.host}:{port.host_port}" for port in one.ports)
