"""The cluster of a stack with Ray, as the head's dashboard tells it to those who have the token."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import SecretsDamaged, ServiceFailed, printable
from synos_tasks.images.catalog import SERVICES
from synos_tasks.services.health import MEGABYTE
from synos_tasks.services.secrets import Secrets
from synos_tasks.shapes import fit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from synos_tasks.services.stack import Port
    from synos_tasks.settings import Settings

STACK, HEAD, SECRET = "ray", "ray-head", "ray_token"
DASHBOARD = 8265
"""Port of the dashboard in the head's container."""
SECONDS = 4.0
"""What an answer may take."""
COLUMNS = ("node", "address", "CPUs", "memory", "for objects")
REFUSED = frozenset({401, 403})
VERSION: dict[str, Any] = {"ray_version": str}
NODE = {"node_name": str, "node_ip": str, "is_head_node": bool, "state": str, "resources_total": dict}
NODES: dict[str, Any] = {"data": {"result": {"result": [NODE]}}}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node, and what it offers. Memory in bytes."""

    name: str
    address: str
    head: bool
    cpus: float
    memory: int
    object_store: int


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The nodes that are alive, the head first."""

    version: str
    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        """Return it as a line for a person."""
        cpus = sum(node.cpus for node in self.nodes)
        return f"Ray {self.version}: {len(self.nodes)} nodes, {cpus:g} CPUs for tasks"

    def rows(self) -> list[list[str]]:
        """Return the rows of the table."""
        return [
            [
                f"{node.name} (head)" if node.head else node.name,
                node.address,
                f"{node.cpus:g}",
                f"{node.memory / MEGABYTE:.0f} MB",
                f"{node.object_store / MEGABYTE:.0f} MB",
            ]
            for node in self.nodes
        ]


def look(settings: Settings, stack: str, ports: Iterable[Port]) -> Cluster | None:
    """Return the cluster of a stack whose head publishes these ports; None where the dashboard has none.

    Raises SecretsDamaged where the token is missing, damaged or refused, ServiceFailed where the head does not answer,
    or runs another Ray than the one of this project.
    """
    port = next((one.host_port for one in ports if one.container_port == DASHBOARD), 0)
    if not port:
        return None
    own = Secrets(settings.stack_dir(stack))
    token, file = own.read(SECRET), own.folder / SECRET
    version = _ask(port, "/api/version", token, file, VERSION)["ray_version"]
    pinned = _pinned(settings.project.root)
    if version != pinned:
        what, where = f"the head runs Ray {version}, and this project has {pinned}", f"127.0.0.1:{port}"
        raise ServiceFailed(what, where=where, hint=f"inv services.up --stack {stack} brings it up to date")
    answer = _ask(port, "/api/v0/nodes", token, file, NODES)
    alive = [_node(one) for one in answer["data"]["result"]["result"] if one["state"] == "ALIVE"]
    return Cluster(version=version, nodes=tuple(sorted(alive, key=lambda one: (not one.head, one.name))))


def _node(fields: dict[str, Any]) -> Node:
    resources = {key: float(value) for key, value in fields["resources_total"].items()}
    return Node(
        name=fields["node_name"],
        address=fields["node_ip"],
        head=fields["is_head_node"],
        cpus=resources.get("CPU", 0.0),
        memory=int(resources.get("memory", 0)),
        object_store=int(resources.get("object_store_memory", 0)),
    )


def _pinned(root: Path) -> str:
    """Return the version of Ray that the image is built with."""
    found = re.search(r"^ray==(\S+)", (root / SERVICES / "ray/requirements.lock").read_text(), re.MULTILINE)
    return found[1] if found else ""


def _ask(port: int, path: str, token: str, file: Path, shape: Any) -> Any:  # noqa: ANN401
    """Return what a shape has of the dashboard's answer."""
    from http.client import HTTPConnection, HTTPException  # noqa: PLC0415  (not for other stacks)

    where = f"http://127.0.0.1:{port}{path}"
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status in REFUSED:
            raise SecretsDamaged(
                "Ray refuses the token",
                where=str(file),
                why=f"{where}: {answer.status} {printable(text)[:200]}",
                hint="`inv services.secrets-rotate --stack ray` gives all nodes a new one",
            )
        return fit(json.loads(text), shape)
    except (OSError, HTTPException, ValueError) as error:
        what, hint = "the dashboard of Ray does not answer", f"inv services.logs --stack ray --only {HEAD}"
        raise ServiceFailed(what, where=where, why=str(error) or "nothing came", hint=hint) from error
    finally:
        connection.close()
