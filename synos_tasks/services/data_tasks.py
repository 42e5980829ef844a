"""The verbs of `inv services.*` about what services hold: backups, secrets, newer images."""

from __future__ import annotations

from synos_tasks import console
from synos_tasks.cli import Command, verb
from synos_tasks.services.options import JSON, ONLY, STACK, TIMEOUT, YES, agreement, open_stack


@verb(
    "services.backup",
    help={"stack": STACK, "name": "letters, digits, . _ - (default: the time, UTC)", "json": JSON},
)
def backup(command: Command, name: str = "", stack: str = "") -> None:
    """Back up what every service holds, with checksums; restore it here or on another machine."""
    from synos_tasks import archive  # noqa: PLC0415
    from synos_tasks.services import backup as backing  # noqa: PLC0415

    context = open_stack(command, stack)
    if command.dry:
        command.would(f"take a backup of stack {context.stack.name} into {backing.folder_of(context)}")
        return
    path = backing.backup(context, name)
    manifest = archive.manifest_of(path)
    console.say(f"{console.human_bytes(manifest.bytes)} in {path}")
    command.result({"name": path.name, "path": str(path), "bytes": manifest.bytes, "holds": manifest.facts})


@verb("services.backups", help={"stack": STACK, "json": JSON})
def list_backups(command: Command, stack: str = "") -> None:
    """List the backups of a stack, newest first."""
    from synos_tasks import archive  # noqa: PLC0415
    from synos_tasks.services import backup as backing  # noqa: PLC0415

    context = open_stack(command, stack)
    folder = backing.folder_of(context)
    found = archive.listing(folder)
    rows = [
        [one.name, one.created, console.human_bytes(one.bytes), one.trouble or backing.summary(one.facts)]
        for one in found
    ]
    console.table(f"backups in {folder}", ["name", "taken", "size", "holds"], rows)
    command.result({"backups": [one.__dict__ for one in found]})


@verb(
    "services.restore",
    positional=["name"],
    help={
        "name": "one that inv services.backups lists, or the path of one from another machine",
        "stack": STACK,
        "no-backup": "without a backup of what is there now",
        "yes": YES,
        "wait-timeout": TIMEOUT,
        "json": JSON,
    },
)
def restore(
    command: Command,
    name: str,
    stack: str = "",
    no_backup: bool = False,
    yes: bool = False,
    wait_timeout: int = 0,
) -> None:
    """Restore a backup; a damaged one is refused before anything is touched."""
    from synos_tasks import archive  # noqa: PLC0415
    from synos_tasks.services import backup as backing  # noqa: PLC0415

    context = open_stack(command, stack, wait_timeout)
    if command.dry:
        source = archive.find(backing.folder_of(context), name)
        command.would(f"restore {source}, taken {archive.verify(source).created}")
        return
    done = backing.restore(context, name, agreed=agreement(yes=yes), safety=not no_backup)
    console.say(f"restored {done.backup}")
    if done.before:
        console.say(f"what was there before: inv services.restore {done.before}")
    command.result({"backup": str(done.backup), "holds": done.facts, "before": done.before})


@verb("services.secrets-rotate", help={"stack": STACK, "only": ONLY, "wait-timeout": TIMEOUT, "json": JSON})
def secrets_rotate(command: Command, stack: str = "", only: str = "", wait_timeout: int = 0) -> None:
    """Change the passwords, in the running services too; clients must read them again."""
    from synos_tasks.services import secrets  # noqa: PLC0415

    context = open_stack(command, stack, wait_timeout)
    if command.dry:
        command.would(f"change the secrets of {', '.join(one.name for one in context.stack.chosen(only))}")
        return
    names = secrets.rotate(context, only)
    folder = context.folder / "secrets"
    console.say(f"changed: {', '.join(names)} in {folder}")
    command.result({"stack": context.stack.name, "secrets": names, "folder": str(folder)})


@verb(
    "services.upgrade",
    help={
        "stack": STACK,
        "only": ONLY,
        "no-backup": "without a backup before",
        "wait-timeout": TIMEOUT,
        "json": JSON,
    },
)
def upgrade(
    command: Command, stack: str = "", only: str = "", no_backup: bool = False, wait_timeout: int = 0
) -> None:
    """Upgrade running services to newer images, one by one; one that does not get healthy gets its old image back."""
    from synos_tasks.services import backup as backing  # noqa: PLC0415
    from synos_tasks.services import upgrade as upgrading  # noqa: PLC0415

    context = open_stack(command, stack, wait_timeout)
    services = context.stack.chosen(only)
    if command.dry:
        command.would(f"upgrade {', '.join(service.name for service in services)}, one by one")
        return
    if not no_backup:
        console.say(f"backup: {backing.backup(context)}")
    done = upgrading.upgrade(context, services)
    changed = [one.service for one in done if one.changed]
    console.say(f"upgraded: {', '.join(changed) or 'none: nothing newer'}")
    command.result({"stack": context.stack.name, "services": [one.__dict__ for one in done]})
