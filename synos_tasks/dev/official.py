"""The official CLI of development containers, @devcontainers/cli: found on PATH, and run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from synos_tasks.errors import HookFailed, HostUnfit, ImageBuildFailed

if TYPE_CHECKING:
    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.containers import Context

INSTALL = "npm install --global @devcontainers/cli"


def find(wanted: str) -> str:
    """Return the CLI's path, '' to make containers without it; ``wanted`` is synos.dev.cli. Raises HostUnfit."""
    found = "" if wanted == "docker" else shutil.which("devcontainer") or ""
    if not found and wanted == "official":
        raise HostUnfit(
            "there is no `devcontainer` command",
            where="PATH",
            why="synos.dev.cli is 'official'",
            hint=f"{INSTALL}, or set synos.dev.cli to auto",
        )
    return found


def up(context: Context, config: DevContainer, cli: str, *, cached: bool) -> None:
    """Make and start a container; what the CLI says of it goes to standard error.

    Raises ImageBuildFailed or HookFailed with the CLI's reason.
    """
    argv = [cli, "up", f"--workspace-folder={config.root}", f"--config={config.path}"]
    argv += [] if cached else ["--build-no-cache"]
    # these would give a compose file another meaning
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    context.say(shlex.join(argv))
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    done = subprocess.run(argv, check=False, stdin=nothing, stdout=pipe, env=environment)
    last = done.stdout.rstrip().rpartition(b"\n")[2]  # a line of JSON that tells how it went
    try:
        result = dict(json.loads(last))
    except (ValueError, TypeError):
        result = {}
    if done.returncode == 0 and result.get("outcome") == "success":
        return
    failed = HookFailed if result.get("containerId") else ImageBuildFailed
    raise failed(
        f"@devcontainers/cli could not bring {config.name} up",
        where=str(config.path),
        why=str(result.get("message") or result.get("description") or f"exit code {done.returncode}"),
        hint=f"its output is above; fix what it names, then inv dev.rebuild --name {config.name}",
    )
