"""The official CLI of development containers, @devcontainers/cli: found, or installed for this project, and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.errors import HookFailed, HostUnfit, ImageBuildFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import IO

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.session import Session

PACKAGE = Path("docker/dev/cli")
"""Folder with package.json and a lock that has the package's checksum."""
NODE_MINIMUM = 20
"""What the package says that it needs."""
INSTALL_TIMEOUT = 120
"""Seconds; it takes one or two."""
_STEP = re.compile(r"#\d+ (\[(?!internal\]).*)")
_COMMAND = re.compile(r"Running the \w+ from ")
_CHATTER = re.compile(r"\[\d{4}-\d\d-\d\dT|#\d+ ")


def find(session: Session) -> Path | None:
    """Give the CLI: the one on PATH, else the one that was installed for this project; None where there is none."""
    on_path = shutil.which("devcontainer")
    if on_path:
        return Path(on_path)
    own = session.state / "cli/node_modules/.bin/devcontainer"
    return own if own.exists() and shutil.which("node") else None


def ensure(session: Session) -> Path | None:
    """Give the CLI that the settings want, installing it where npm is there; None: make the container without it.

    Raises HostUnfit where it must be the official one and there is no way to have it.
    """
    wanted = session.settings.dev.cli
    if wanted == "docker":
        return None
    found = find(session) or _install(session)
    if found is None and wanted == "official":
        raise HostUnfit(
            "there is no @devcontainers/cli, and it cannot be installed",
            where="PATH",
            why="synos.dev.cli is 'official'",
            hint="install Node.js 20 with npm, or set synos.dev.cli to auto",
        )
    return found


def node_major() -> int:
    """Give the first number of the version of Node.js on PATH; 0 where there is none."""
    try:
        told = subprocess.run(["node", "--version"], check=False, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return 0
    major = told.strip().lstrip("v").partition(".")[0]
    return int(major) if major.isdigit() else 0


def _install(session: Session) -> Path | None:
    if not shutil.which("npm") or node_major() < NODE_MINIMUM:
        return None
    folder = session.state / "cli"
    folder.mkdir(parents=True, exist_ok=True)
    for path in (session.settings.root / PACKAGE).glob("package*.json"):
        shutil.copy2(path, folder)
    session.say("installing @devcontainers/cli for this project, from the npm registry")
    argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            argv, cwd=folder, check=False, capture_output=True, text=True, timeout=INSTALL_TIMEOUT
        )
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"npm took more than {INSTALL_TIMEOUT} s"
    found = find(session)
    if found is None:
        last = (said.strip().splitlines() or ["npm said nothing"])[-1]
        session.say(f"it could not be installed ({last}); going on without it")
    return found


def up(session: Session, config: DevContainer, cli: Path, *, cached: bool) -> None:
    """Make and start a container; all that the CLI says is in a log, and its steps are told.

    Raises ImageBuildFailed or HookFailed with what the CLI says.
    """
    argv = [
        str(cli), "up", f"--workspace-folder={config.root}", f"--config={config.path}",
        *([] if cached else ["--build-no-cache"]),
    ]  # fmt: skip
    log = session.settings.state_dir / "logs" / f"dev-{config.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as kept,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101  (for the type checker)
        assert process.stderr is not None  # noqa: S101
        tell(process.stderr, kept, session.say)
        told = outcome(process.stdout.readlines())
    if process.returncode == 0 and told.get("outcome") == "success":
        return
    failed = HookFailed if told.get("containerId") else ImageBuildFailed
    last = "\n".join(log.read_text().rstrip().splitlines()[-12:])
    raise failed(
        f"@devcontainers/cli could not bring {config.name} up",
        where=str(log),
        why=f"{last}\n{told.get('message') or told.get('description') or f'exit code {process.returncode}'}",
        hint=f"mend what it names, then inv dev.rebuild --name {config.name}",
    )


def tell(lines: Iterable[str], kept: IO[str], say: Callable[[str], None]) -> None:
    """Keep all lines; tell the steps of an image's build, and what lifecycle commands are and print."""
    steps: set[str] = set()
    running = False
    for line in lines:
        kept.write(line)
        text = line.strip()
        step = _STEP.match(text)
        if step and step[1] not in steps:
            steps.add(step[1])
            say(f"  {step[1].split(' && ')[0][:90]}")
        elif _COMMAND.search(text):
            running = True
            say(text.partition("] ")[2] or text)
        elif running and text and not _CHATTER.match(text):
            say(text)


def outcome(lines: Sequence[str]) -> dict[str, str]:
    """Read the last line that the CLI prints, which tells how it went; {} where there is none."""
    for line in reversed(lines):
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and "outcome" in told:
            return {key: str(value) for key, value in told.items()}
    return {}


def _environment() -> dict[str, str]:
    """Give the environment without what a compose file would read another meaning into."""
    return {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
