"""`inv dev.doctor`: whether development containers can be made here, and keep the project's promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.dev import official
from synos_tasks.dev.config import LABEL_FOLDER, load, names
from synos_tasks.dev.starting import has_socket
from synos_tasks.errors import SynosError
from synos_tasks.host.checks import Check

if TYPE_CHECKING:
    from synos_tasks.dev.containers import Context
    from synos_tasks.engine.client import Container
    from synos_tasks.host.checks import Status


def examine(context: Context) -> list[Check]:
    """Look at everything; change nothing. Raises EngineUnavailable."""
    containers = context.docker.containers({LABEL_FOLDER: str(context.settings.project.root)})
    return [
        *(_configuration(context, name) for name in names(context.settings)),
        _official(context),
        *(_container(one) for one in containers),
    ]


def _configuration(context: Context, name: str) -> Check:
    try:
        needs = ", ".join(load(context.settings, name).needs_official)
    except SynosError as error:
        return Check(name=f"config {name}", status="fail", detail=error.what, hint=error.hint or error.why)
    detail = f"needs the official CLI: {needs}" if needs else "can be made with Docker alone"
    return Check(name=f"config {name}", status="ok", detail=detail)


def _official(context: Context) -> Check:
    detail, hint = "not there, nor Node.js with npm for it; containers are made with Docker alone", ""
    if found := official.find(context):
        detail = f"at {found}"
    elif official.installable():
        detail = "will be installed by the first `inv dev.up`"
    else:
        hint = f"Node.js {official.NODE_MINIMUM} with npm gives it, for configurations with features"
    return Check(name="official CLI", status="ok", detail=detail, hint=hint)


def _container(container: Container) -> Check:
    status: Status = "ok"
    detail, hint = container.state.status or "", ""
    if container.host_config.privileged:
        status, detail = "fail", "it is privileged"
        hint = "inv dev.down, and remove what made it so from its compose file or devcontainer.json"
    elif has_socket(container):
        status, detail = "warn", "it has an engine's socket"
        hint = "inv dev.down and inv dev.up without --docker, once it is not needed"
    return Check(name=f"container {container.name}", status=status, detail=detail, hint=hint)
