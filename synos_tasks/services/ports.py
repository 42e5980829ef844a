"""Whether the ports that a stack publishes are free, and if not, who has them: asked before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.errors import PortTaken
from synos_tasks.host import ports as host_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from synos_tasks.services.stack import Port, Service


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A port of a service that somebody else has."""

    service: str
    port: Port
    holder: str


def taken(
    services: Iterable[Service],
    published: Mapping[int, str],
    own: Iterable[str],
    is_taken: Callable[[str, int], bool] = host_ports.is_taken,
    holder: Callable[[int], str] = host_ports.holder,
) -> list[Taken]:
    """Give the ports that are taken. ``published``: by port, the container that has it; ``own``: those of this stack."""
    ours = set(own)
    found = []
    for service in services:
        for port in service.ports:
            container = published.get(port.published, "")
            if not port.published or container in ours or not is_taken(port.address, port.published):
                continue
            who = f"container {container}" if container else holder(port.published) or "an unknown process"
            found.append(Taken(service=service.name, port=port, holder=who))
    return found


def refuse(found: list[Taken]) -> None:
    """Raise PortTaken, naming every port, who has it, and the setting that moves it."""
    if not found:
        return
    raise PortTaken(
        "; ".join(f"port {one.port.published} of {one.service} is taken by {one.holder}" for one in found),
        where=", ".join(f"{one.port.address}:{one.port.published}" for one in found),
        why="nothing was started",
        hint="stop it, or take another port in invoke.yaml: "
        + ", ".join(f"synos.services.{one.service.replace('-', '_')}_port" for one in found),
    )
