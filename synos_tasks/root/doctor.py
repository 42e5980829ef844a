"""Asks Docker and the host, and hands what they say to the checks."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from synos_tasks.engine import gateway
from synos_tasks.engine.client import Docker
from synos_tasks.errors import EngineUnavailable
from synos_tasks.host import checks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synos_tasks.settings import Settings

LEFT_STATES = frozenset({"created", "exited", "dead"})


def examine(settings: Settings, engine: gateway.Engine) -> list[checks.Check]:
    """Check the machine and the engine; changes nothing."""
    command = shutil.which("docker") or ""
    report = engine_report(
        engine, settings.project_id, command=command, host=os.environ.get("DOCKER_HOST", "")
    )
    found = checks.all_checks(settings.root, report)
    try:
        return found if report.problem else [*found, checks.check_cache_mounts(Docker().inspect_builder())]
    except EngineUnavailable:  # the builder has another name in another context
        return found


def engine_report(engine: gateway.Engine, project: str, *, command: str, host: str) -> checks.EngineReport:
    """Put what the engine says into plain values; one that does not answer is a report too."""
    if not command:
        return checks.EngineReport(command="", host=host, problem="there is no docker command")
    try:
        facts = engine.facts()
    except EngineUnavailable as error:
        return checks.EngineReport(command=command, host=host, problem=error.why or error.what)
    return checks.EngineReport(
        command=command,
        host=host,
        parts=(
            _part("engine version", facts.version, gateway.MINIMUM_ENGINE),
            _part("buildx", facts.buildx, gateway.MINIMUM_BUILDX),
            _part("compose", facts.compose, gateway.MINIMUM_COMPOSE),
        ),
        root_dir=facts.root_dir,
        leftovers=tuple(leftovers(engine.containers(project))),
    )


def leftovers(containers: Iterable[gateway.ContainerFacts]) -> list[str]:
    """Name the builders that no longer run: a build removes its own, so these were left by a kill."""
    return sorted(c.name for c in containers if c.role == "build" and c.state in LEFT_STATES)


def _part(name: str, version: str, minimum: tuple[int, ...]) -> checks.Part:
    return checks.Part(
        name=name,
        version=version,
        minimum=".".join(map(str, minimum)),
        fits=gateway.version_tuple(version) >= minimum,
    )
