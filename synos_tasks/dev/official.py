"""The official CLI of development containers, @devcontainers/cli: find it, install it for this project, run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from synos_tasks.errors import HookFailed, HostUnfit, ImageBuildFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.containers import Context

PACKAGE = "dev/cli"
"""Folder of the project's data with package.json and a lock that has the package's checksum."""
NODE_MINIMUM = 20  # the package says so
INSTALL_SECONDS = 120
_STEP = re.compile(r"#\d+ (\[(?!internal\]).*)")
_COMMAND = re.compile(r"Running the \w+ from ")
_NOISE = re.compile(r"\[\d{4}-\d\d-\d\dT|#\d+ ")


def find(context: Context) -> Path | None:
    """Return the CLI: the one on PATH, else the one that was installed for this project; None without one."""
    if on_path := shutil.which("devcontainer"):
        return Path(on_path)
    own = context.state / "cli/node_modules/.bin/devcontainer"
    return own if own.exists() and shutil.which("node") else None


def ensure(context: Context) -> Path | None:
    """Return the CLI, installed where npm is there; None: make the container without it. Raises HostUnfit."""
    wanted = context.settings.dev.cli
    if wanted == "docker":
        return None
    found = find(context) or (_install(context) if installable() else None)
    if found is None and wanted == "official":
        raise HostUnfit(
            "there is no @devcontainers/cli, and it cannot be installed",
            where="PATH",
            why="synos.dev.cli is 'official'",
            hint="install Node.js 20 with npm, or set synos.dev.cli to auto",
        )
    return found


def installable() -> bool:
    """Return whether npm and a Node.js that is new enough are on PATH."""
    if not shutil.which("npm") or not shutil.which("node"):
        return False
    version = subprocess.run(["node", "--version"], check=False, capture_output=True, text=True).stdout
    major = version.strip().lstrip("v").partition(".")[0]
    return major.isdigit() and int(major) >= NODE_MINIMUM


def _install(context: Context) -> Path | None:
    folder = context.state / "cli"
    folder.mkdir(parents=True, exist_ok=True)
    for path in (context.settings.project.data / PACKAGE).glob("package*.json"):
        shutil.copy2(path, folder)
    context.say("installing @devcontainers/cli for this project, from the npm registry")
    argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(argv, cwd=folder, check=False, capture_output=True, timeout=INSTALL_SECONDS)
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired:
        reason = f"npm took more than {INSTALL_SECONDS} s"
    found = find(context)
    if found is None:
        context.say(f"it could not be installed ({reason}); going on without it")
    return found


def up(context: Context, config: DevContainer, cli: Path, *, cached: bool) -> None:
    """Make and start a container. Everything that the CLI prints is in a log; people see the steps.

    Raises ImageBuildFailed or HookFailed with what the CLI says.
    """
    argv = [str(cli), "up", f"--workspace-folder={config.root}", f"--config={config.path}"]
    argv += [] if cached else ["--build-no-cache"]
    # these would give a compose file another meaning
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    path = context.settings.project.state_dir / "logs" / f"dev-{config.name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    streams: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    with (
        path.open("w") as log,
        subprocess.Popen(argv, **streams, env=environment, errors="replace") as process,
    ):
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
