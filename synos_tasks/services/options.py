"""Options that verbs of `inv services.*` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks import console

if TYPE_CHECKING:
    from synos_tasks.cli import Command
    from synos_tasks.services.stack import StackContext

ONLY = "names with commas between them (default: all)"
STACK = {
    "stack": "compose file docker/services/docker-compose.NAME.yml (default: synos.services.stack in invoke.yaml)"
}
WAITS = {
    **STACK,
    "wait-timeout": "seconds to get healthy (default: synos.services.wait_timeout in invoke.yaml)",
}
SOME = {**WAITS, "only": ONLY}
CHOICE = {
    "only": "services, or SERVICE/DATABASE, with commas between them (default: all)",
    "skip": "services, or SERVICE/DATABASE, to leave out",
}
YES = "do not ask"


def open_stack(command: Command, stack: str, wait_timeout: int = 0, workers: int = 0) -> StackContext:
    """Open a stack on the real engine."""
    from synos_tasks.services import stack as stacks  # noqa: PLC0415  (kept off `inv --list`)

    return stacks.open_stack(command.settings, stack, console.say, wait_timeout, workers)
