"""`inv services.secrets-rotate`: new passwords, in running services, that can be interrupted at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.errors import ServiceFailed, SettingsError
from synos_tasks.services import health, prepare
from synos_tasks.services.session import alone
from synos_tasks.services.stack import unknown

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from synos_tasks.services.session import Session
    from synos_tasks.services.starting import Show

APPLY = ("sh", "/etc/synos/apply", "--running")


def rotate(session: Session, only: str, timeout: float, show: Show) -> list[str]:
    """Change the secrets of services (all for ''), and let the running ones take them; gives the secrets' names.

    A service that is stopped takes its secret when it starts. Raises SettingsError, SecretsDamaged,
    ServiceFailed, ServiceUnhealthy; an interrupted rotation is finished by the next one, or by `up`.
    """
    with alone(session):
        services = [service.name for service in session.stack.chosen(only)]
        known = prepare.secret_names(session.stack)
        names = sorted({secret.name for name in services for secret in session.stack[name].secrets})
        if not names:
            raise unknown("secret", only, known, f"stack {session.stack.name}")
        own = prepare.secrets_of(session)
        if not own.folder.is_dir():
            raise SettingsError(
                "there are no secrets yet", where=str(own.folder), hint="inv services.up makes them"
            )
        own.propose(names)
        finish(session, timeout, show)
        return names


def finish(session: Session, timeout: float, show: Show) -> list[str]:
    """Give the running services the secrets that are proposed, see that they work, and keep those; gives their names."""
    own = prepare.secrets_of(session)
    names = own.pending()
    if not names:
        return []
    running = {one.service: one for one in session.compose.containers() if one.state == "running"}
    image = next(iter(running.values())).image if running else session.stack.running[0].image
    before = prepare.behind(session)
    prepare.hand_out(session, image, running)
    reconnect(session, running, timeout, show)
    changed = apply(session, names, sorted(running))
    prepare.caught_up(session, [name for name in running if name not in before])  # theirs were not changed
    health.wait(session.compose, changed, timeout, show)
    for name in names:
        own.accept(name)
    return names


def reconnect(session: Session, services: Collection[str], timeout: float, show: Show) -> list[str]:
    """Start those services again that cannot see the copies of their secrets; gives which, when they are healthy."""
    names = [name for name in prepare.cut_off(session) if name in services]
    if names:
        session.say(f"started again, as their copies of the passwords had been deleted: {', '.join(names)}")
        session.compose.run("restart", "--no-deps", *names)
        health.wait(session.compose, names, timeout, show)
        prepare.caught_up(session, names)
    return names


def apply(session: Session, names: Sequence[str], running: Sequence[str]) -> list[str]:
    """Let running services take the secrets that were handed to them; gives which have one of those names."""
    changed = [
        service.name
        for service in session.stack.running
        if service.name in running and any(secret.name in names for secret in service.secrets)
    ]
    for service in changed:
        try:
            session.compose.pipe(("exec", "--no-TTY", service, *APPLY))
        except ServiceFailed as error:
            raise ServiceFailed(
                f"{service} did not take its new secret",
                where=error.where,
                why=error.why,
                hint="the old and the new one are both kept: run `inv services.secrets-rotate` again, it goes on with this one",
            ) from error
    prepare.caught_up(session, changed)
    return changed
