"""A clone whose stack has ports of its own, and what tests ask of its containers."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from synos_tasks.host import is_taken
from tests.build_helpers import Clone, copy_project, docker
from tests.service_clients import CLIENTS, Addresses

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service_clients import ServiceClient

PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to clients: one of them must not have a service's while that restarts."""
# one iterator for all clones of a process, so that no two have the same
_free_ports = (port for port in random.sample(PORTS, len(PORTS)) if not is_taken("127.0.0.1", port))
SERVICES = ("nats", "postgres", "redis")


def services_clone(folder: Path, **settings: str) -> Clone:
    """Copy the project and give its stack free ports, and further settings of `synos.services`."""
    clone = copy_project(folder)
    ports = {f"{name}_port": str(next(_free_ports)) for name in SERVICES}
    for key, value in {**ports, **settings}.items():
        set_setting(clone, key, value)
    return clone


def set_setting(clone: Clone, key: str, value: str) -> None:
    """Change a setting of `synos.services` in the clone's invoke.yaml."""
    path = clone.root / "invoke.yaml"
    text, count = re.subn(rf"(?m)^    {key}: .*$", f"    {key}: {value}", path.read_text())
    assert count == 1, key
    path.write_text(text)


def port_of(clone: Clone, service: str) -> int:
    """Port of a service on 127.0.0.1."""
    found = re.search(rf"(?m)^    {service}_port: (\d+)$", (clone.root / "invoke.yaml").read_text())
    assert found
    return int(found[1])


def client(clone: Clone, service: str, namespace: str = "probe") -> ServiceClient:
    """A client of a service, which is to be connected, or used in a `with`."""
    ports = {name: port_of(clone, name) for name in SERVICES}
    return CLIENTS[service](Addresses(ports=ports, secrets=secrets_folder(clone)), namespace)


def inspected(clone: Clone, service: str) -> dict[str, Any]:
    """What the engine tells of a service's container."""
    found: list[dict[str, Any]] = json.loads(docker("inspect", container(clone, service)))
    return found[0]


def container(clone: Clone, service: str) -> str:
    """Id of a service's container, running or not."""
    label = f"--filter=label=com.docker.compose.service={service}"
    [ident] = docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=label={clone.label}", label).split()
    return ident


def secret(clone: Clone, service: str) -> str:
    """The password that applications have."""
    return (secrets_folder(clone) / f"{service}_password").read_text().strip()


def secrets_folder(clone: Clone) -> Path:
    """Where the secrets of the clone's stack are."""
    return clone.settings.project.state_dir / "services/unified/secrets"


def crash(clone: Clone, service: str) -> None:
    """Kill a service as a crash does: `docker kill` would count as somebody's wish, and nothing would start it again."""
    pid = inspected(clone, service)["State"]["Pid"]
    assert pid > 1, f"{service} does not run"  # 0 would be the tests' own process group
    os.kill(pid, signal.SIGKILL)


def shell(clone: Clone, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb that hands on what a program in a container prints."""
    return subprocess.run(
        [sys.executable, "-m", "synos_tasks", *words],
        cwd=clone.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def take_down(clone: Clone) -> None:
    """Remove the stack with its data."""
    clone.inv("services.down", "--volumes", "--yes", "--no-backup")
