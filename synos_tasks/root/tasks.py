"""The verb without a prefix that every project has; init.py has those that make a project."""

from __future__ import annotations

from synos_tasks.cli import Command, verb


@verb("doctor", help={"json": "one JSON object with all checks on standard output"})
def doctor(command: Command) -> None:
    """Check the host and the Docker Engine, with a hint for whatever is not right; changes nothing."""
    from synos_tasks.engine.client import Docker
    from synos_tasks.root.doctor import examine

    command.report("The host and the engine", examine(command.settings, Docker()))
