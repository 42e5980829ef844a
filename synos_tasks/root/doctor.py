"""Ask Docker and the host, and give what they say to the checks."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from synos_tasks.engine import failures
from synos_tasks.engine.labels import labels
from synos_tasks.errors import EngineUnavailable
from synos_tasks.host import checks

if TYPE_CHECKING:
    from synos_tasks.engine.client import Docker
    from synos_tasks.settings import Settings

LEFT_STATES = frozenset({"created", "exited", "dead"})


def examine(settings: Settings, docker: Docker) -> list[checks.Check]:
    """Check the machine and the engine; changes nothing."""
    command, host = shutil.which("docker") or "", os.environ.get("DOCKER_HOST", "")
    report = engine_report(docker, settings.project.id, command=command, host=host)
    found = checks.all_checks(settings.project.root, report)
    try:
        return found if report.problem else [*found, checks.check_cache_mounts(docker.inspect_builder())]
    except EngineUnavailable:  # the builder has another name in another context
        return found


def engine_report(docker: Docker, project: str, *, command: str, host: str) -> checks.EngineReport:
    """Return what the engine says as plain values; one that does not answer is a report too."""
    if not command:
        return checks.EngineReport(command="", host=host, problem="there is no docker command")
    try:
        info = docker.info()
        containers = docker.containers(labels(project, "build"))
    except EngineUnavailable as error:
        return checks.EngineReport(command=command, host=host, problem=error.why or error.what)
    # a build removes its own containers: those that ended were left when it was killed
    left = [container.name for container in containers if container.state.status in LEFT_STATES]
    return checks.EngineReport(
        command=command,
        host=host,
        parts=(
            _part("engine version", info.server_version or "", failures.MINIMUM_ENGINE),
            _part("buildx", failures.plugin_version(info, "buildx"), failures.MINIMUM_BUILDX),
            _part("compose", failures.plugin_version(info, "compose"), failures.MINIMUM_COMPOSE),
        ),
        root_dir=str(info.docker_root_dir or ""),
        leftovers=tuple(sorted(name for name in left if name.startswith(f"{project}-"))),
    )


def _part(name: str, version: str, minimum: tuple[int, ...]) -> checks.Part:
    least = ".".join(map(str, minimum))
    fits = failures.version_tuple(version) >= minimum
    return checks.Part(name=name, version=version, minimum=least, fits=fits)
