"""`inv doctor`: the checks of the machine, and what the engine says of itself."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import builder, host
from synos_tasks.engine import failures
from synos_tasks.errors import EngineUnavailable
from synos_tasks.host import Check, verdict
from synos_tasks.project import engine_hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synos_tasks.engine.client import Docker, SystemInfo
    from synos_tasks.settings import Settings


def examine(settings: Settings, docker: Docker) -> list[Check]:
    """Check everything, in the order in which a person would repair it; change nothing."""
    address, root = failures.address(), settings.project.root
    info, problem = None, ""
    try:
        info = docker.info()
    except EngineUnavailable as error:
        problem = error.why or error.what
    left = sorted(one.name for one in builder.leftovers(docker, settings.project)) if info else []
    engine_dir = [Path(info.docker_root_dir)] if info and info.docker_root_dir else None
    return [
        verdict("python", platform.python_version()),
        *check_engine(address, info, problem),
        host.check_disk("disk: project", root),
        *(host.check_disk("disk: engine", folder) for folder in engine_dir or ()),
        *host.check_machine(root, engine_dir),
        *([host.check_leftovers(left)] if info else []),
        *([host.check_boot()] if info and not address[0] else []),
        host.check_kvm(),
    ]


def check_engine(address: tuple[str, str], info: SystemInfo | None, problem: str) -> Iterator[Check]:
    """Check the command, the socket, the engine and its parts; without an answer the parts are unknown."""
    command = shutil.which("docker") or ""
    yield verdict("docker command", command, "not on PATH", engine_hint())
    if not command:
        return
    variable, value = address
    yield host.check_socket(value or failures.DEFAULT_SOCKET, problem, variable)
    hint = f"{engine_hint()}; its log says why it does not run: journalctl --unit docker"
    hint = failures.address_hint() or hint
    yield verdict("docker engine", "" if problem else "answers", problem, hint)
    for name, version, wrong in failures.versions(info) if info else ():
        yield verdict(name, "" if wrong else version, wrong, engine_hint())
