"""The official CLI of development containers, @devcontainers/cli: found on PATH, and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import IO, TYPE_CHECKING, Any

from synos_tasks.errors import HookFailed, HostUnfit, ImageBuildFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.containers import Context

INSTALL = "npm install --global @devcontainers/cli"
_STEP = re.compile(r"#\d+ (\[(?!internal\]).*)")
_COMMAND = re.compile(r"Running the \w+ from ")
_NOISE = re.compile(r"\[\d{4}-\d\d-\d\dT|#\d+ ")


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
    """Make and start a container. Everything that the CLI prints is in a log; people see the steps.

    Raises ImageBuildFailed or HookFailed with what the CLI says.
    """
    argv = [cli, "up", f"--workspace-folder={config.root}", f"--config={config.path}"]
    argv += [] if cached else ["--build-no-cache"]
    # these would give a compose file another meaning
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    path = context.settings.project.state_dir / "logs" / f"dev-{config.name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    streams: dict[str, Any] = {"stdin": nothing, "stdout": pipe, "stderr": pipe, "errors": "replace"}
    with path.open("w") as log, subprocess.Popen(argv, **streams, env=environment) as process:
        show_steps(process.stderr or (), log, context.say)
        printed = process.stdout.read() if process.stdout else ""
    last = printed.rstrip().rpartition("\n")[2]  # a line of JSON that tells how it went
    try:
        result = dict(json.loads(last))
    except (ValueError, TypeError):
        result = {}
    if process.returncode == 0 and result.get("outcome") == "success":
        return
    messages = path.read_text().rstrip().splitlines()[-12:]
    reason = result.get("message") or result.get("description") or f"exit code {process.returncode}"
    failed = HookFailed if result.get("containerId") else ImageBuildFailed
    raise failed(
        f"@devcontainers/cli could not bring {config.name} up",
        where=str(path),
        why="\n".join([*messages, str(reason)]),
        hint=f"fix what it names, then inv dev.rebuild --name {config.name}",
    )


def show_steps(lines: Iterable[str], log: IO[str], say: Callable[[str], None]) -> None:
    """Log all lines; show the steps of an image's build, the lifecycle commands and what these print."""
    shown: set[str] = set()
    commands = False
    for line in lines:
        log.write(line)
        text = line.strip()
        if (step := _STEP.match(text)) and step[1] not in shown:
            shown.add(step[1])
            say(f"  {step[1].split(' && ')[0][:90]}")
        elif _COMMAND.search(text):
            commands = True
            say(text.partition("] ")[2] or text)
        elif commands and text and not _NOISE.match(text):
            say(text)
