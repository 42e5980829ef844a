"""`inv dev.doctor`: what development containers need, and whether the existing ones keep the project's promises."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from synos_tasks.dev import official
from synos_tasks.dev.config import LABEL_FOLDER, load, names
from synos_tasks.dev.prepare import is_rootless, owner_of, services_network
from synos_tasks.dev.starting import has_socket
from synos_tasks.errors import SynosError
from synos_tasks.host.checks import Check

if TYPE_CHECKING:
    from synos_tasks.dev.containers import Context
    from synos_tasks.engine.client import Container


def examine(context: Context) -> list[Check]:
    """Look at everything; change nothing. Raises EngineUnavailable."""
    containers = context.docker.containers({LABEL_FOLDER: str(context.settings.root)})
    uid, gid = owner_of(context.settings.root, (os.geteuid(), os.getegid()), rootless=is_rootless(context))
    return [
        *(_configuration(context, name) for name in names(context.settings)),
        _ok("user", f"files made inside belong to {uid}:{gid}"),
        _official(context),
        _ok(
            "code",
            "VS Code is on PATH"
            if shutil.which("code")
            else "not on PATH: `inv dev.code` tells how to open VS Code",
        ),
        _services(context),
        *(_container(one) for one in containers),
    ]


def _configuration(context: Context, name: str) -> Check:
    try:
        needs = ", ".join(load(context.settings, name).needs_official)
    except SynosError as error:
        return Check(name=f"config {name}", status="fail", detail=error.what, hint=error.hint or error.why)
    detail = f"needs the official CLI: {needs}" if needs else "can be made with Docker alone"
    return _ok(f"config {name}", detail)


def _official(context: Context) -> Check:
    if cli := official.find(context):
        return _ok("official CLI", f"at {cli}")
    if official.installable():
        return _ok("official CLI", "will be installed by the first `inv dev.up`")
    return _ok(
        "official CLI",
        "not there, nor Node.js with npm for it; containers are made with Docker alone",
        f"Node.js {official.NODE_MINIMUM} with npm gives it, for configurations with features",
    )


def _services(context: Context) -> Check:
    if context.docker.network(services_network(context)):
        return _ok("services", f"stack {context.settings.services.stack} runs, and can be joined")
    return _ok("services", "none run; `full` starts them by itself", "inv services.up")


def _container(container: Container) -> Check:
    name = f"container {container.name}"
    if container.host_config.privileged:
        hint = "inv dev.down, and remove what made it so from its devcontainer.json"
        return Check(name=name, status="fail", detail="it is privileged", hint=hint)
    if has_socket(container):
        hint = "inv dev.down and inv dev.up without --docker, once it is not needed"
        return Check(name=name, status="warn", detail="it has an engine's socket", hint=hint)
    return _ok(name, container.state.status or "")


def _ok(name: str, detail: str, hint: str = "") -> Check:
    return Check(name=name, status="ok", detail=detail, hint=hint)
