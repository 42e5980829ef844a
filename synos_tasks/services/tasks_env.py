"""Verbs of `inv services.*` that tell applications how to reach the services."""

from __future__ import annotations

from synos_tasks import console
from synos_tasks.cli import Command, one_of, verb
from synos_tasks.services.options import ONLY, STACK, open_stack


@verb("services.describe", help={**STACK, "only": ONLY})
def describe(command: Command, stack: str = "", only: str = "") -> None:
    """Show how applications reach the services: addresses, users, password files."""
    from dataclasses import asdict

    from synos_tasks.services import describe as describing

    context = open_stack(command, stack)
    found = describing.describe(context, context.stack.chosen(only))
    if not command.json:
        command.table(f"stack {context.stack.name}", describing.COLUMNS, describing.rows(found))
    command.result({"stack": context.stack.name, "services": [asdict(one) for one in found]})


@verb(
    "services.env",
    help={
        **STACK,
        "only": ONLY,
        "format": "shell, for eval, or dotenv, for files (default: shell)",
        "show-passwords": "the passwords too, not only the files that have them",
    },
    types={"format": one_of("shell", "dotenv")},
)
def env(
    command: Command,
    stack: str = "",
    only: str = "",
    format_: str = "shell",
    show_passwords: bool = False,
) -> None:
    """Print what applications need as variables: eval "$(inv services.env)"."""
    from synos_tasks.services import describe as describing

    context = open_stack(command, stack)
    values = describing.variables(context, context.stack.chosen(only), passwords=show_passwords)
    if not command.json:
        console.out(describing.lines(values, format_ or "shell"), end="")
    command.result({"stack": context.stack.name, "variables": values})
