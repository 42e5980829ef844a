"""The Docker CLI, for one command and its output."""

from __future__ import annotations

import subprocess

from synos_tasks.errors import EngineUnavailable


def docker(*arguments: str) -> str:
    """Give what a docker command prints; raises EngineUnavailable, with what it says, where it fails."""
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise EngineUnavailable("there is no `docker` command", hint="./scripts/synos installs it") from None
    if done.returncode:
        raise EngineUnavailable(
            "the Docker Engine does not do what was asked",
            where=f"docker {' '.join(arguments)}"[:600],
            why=done.stderr.strip(),
            hint="inv doctor tells whether the engine is well",
        )
    return done.stdout
