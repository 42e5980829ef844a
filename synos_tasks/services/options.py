"""What the verbs of `inv services.*` share: options that most have, and the stack they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.cli import Command
    from synos_tasks.services.stack import StackContext

STACK = "compose file docker/services/docker-compose.NAME.yml (default: synos.services.stack in invoke.yaml)"
ONLY = "names with commas between them (default: all)"
JSON = "one JSON object on standard output"
TIMEOUT = "seconds to get healthy (default: synos.services.wait_timeout in invoke.yaml)"
YES = "agree to what would be asked"


def open_stack(command: Command, stack: str, wait_timeout: int = 0) -> StackContext:
    """Open a stack on the real engine."""
    from synos_tasks.services import stack as stacks  # noqa: PLC0415

    return stacks.open_stack(command.settings, stack, console.say, wait_timeout)


def agreement(*, yes: bool) -> Callable[[str], bool]:
    """Return what is asked before something is lost: a person, or nobody with --yes."""
    return (lambda _question: True) if yes else console.agreed
