"""`inv dev.doctor`: what development containers need, and whether those that are there keep our promises."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from synos_tasks.dev import host, official
from synos_tasks.dev.config import LABEL_FOLDER, load, names
from synos_tasks.errors import SynosError
from synos_tasks.host.checks import Check

if TYPE_CHECKING:
    from synos_tasks.dev.session import Session
    from synos_tasks.engine.running import Running


def examine(session: Session) -> list[Check]:
    """Look at everything; changes nothing. Raises EngineUnavailable."""
    containers = session.containers.find({LABEL_FOLDER: str(session.settings.root)})
    return [
        *_configurations(session),
        _user(session),
        _cli(session),
        _editor(),
        _services(session),
        *(_container(one) for one in containers),
    ]


def _configurations(session: Session) -> list[Check]:
    found = []
    for name in names(session.settings):
        try:
            config = load(session.settings, name)
        except SynosError as error:
            found.append(
                Check(name=f"config {name}", status="fail", detail=error.what, hint=error.hint or error.why)
            )
            continue
        needs = ", ".join(config.needs_official)
        detail = f"needs the official CLI: {needs}" if needs else "can be made with Docker alone"
        found.append(Check(name=f"config {name}", status="ok", detail=detail, hint=""))
    return found


def _user(session: Session) -> Check:
    uid, gid = host.owner(session.settings.root, host.ids(), rootless=session.containers.is_rootless())
    return Check(name="user", status="ok", detail=f"files made inside belong to {uid}:{gid}", hint="")


def _cli(session: Session) -> Check:
    cli = official.find(session)
    if cli is not None:
        version = _version([str(cli), "--version"])
        return Check(name="official CLI", status="ok", detail=f"{version} at {cli}", hint="")
    if shutil.which("npm") and official.node_major() >= official.NODE_MINIMUM:
        return Check(
            name="official CLI",
            status="ok",
            detail="will be installed by the first `inv dev.up`",
            hint="",
        )
    return Check(
        name="official CLI",
        status="ok",
        detail="not there, nor Node.js with npm for it; containers are made with Docker alone",
        hint=f"Node.js {official.NODE_MINIMUM} with npm gives it, for configurations with features",
    )


def _editor() -> Check:
    if shutil.which("code"):
        return Check(name="code", status="ok", detail="VS Code is on PATH", hint="")
    return Check(
        name="code",
        status="ok",
        detail="not on PATH: `inv dev.code` tells how to open VS Code, `inv dev.shell` needs none",
        hint="",
    )


def _services(session: Session) -> Check:
    stack = session.settings.services.stack
    network = f"{session.settings.compose_project(stack)}_data"
    if session.containers.network_exists(network):
        return Check(name="services", status="ok", detail=f"stack {stack} is there to be joined", hint="")
    return Check(
        name="services", status="ok", detail="none run; `full` starts them by itself", hint="inv services.up"
    )


def _container(container: Running) -> Check:
    name = f"container {container.name}"
    if container.privileged:
        hint = "inv dev.down, and take what made it so out of its devcontainer.json"
        return Check(name=name, status="fail", detail="it is privileged", hint=hint)
    if any(source.endswith("docker.sock") for source in container.sources):
        hint = "inv dev.down and inv dev.up without --docker, once it is not needed"
        return Check(name=name, status="warn", detail="it has an engine's socket", hint=hint)
    return Check(name=name, status="ok", detail=container.state, hint="")


def _version(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, check=False, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
