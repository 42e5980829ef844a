"""`inv services.up`, `restart` and `heal`: containers made, and waited for until they do their work."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.engine.gateway import check_versions
from synos_tasks.errors import ContainerLost, DiskFull, EngineUnavailable, SynosError
from synos_tasks.host.facts import free_disk_bytes
from synos_tasks.services import environment, health, images, mending, ports, prepare, rotate
from synos_tasks.services.session import Session, alone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synos_tasks.engine.old_compose import ServiceContainer
    from synos_tasks.services.health import Progress
    from synos_tasks.services.stack import Service

    Show = Callable[[list[Progress]], None]

LEAST_FREE_BYTES = 300 * 10**6
"""What three new databases take, and some to work with."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """What `up` did. Seconds by service until it was healthy; services that are changed have a new container."""

    seconds: dict[str, float]
    changed: list[str]
    secrets: list[str]
    """Names of those that were made."""
    restarted: list[str]
    """Services that ran, and could not see their new secrets."""


def up(session: Session, services: Sequence[Service], timeout: float, show: Show) -> Started:
    """Bring services up, building what is missing, and wait until they are healthy.

    Raises PortTaken, DiskFull or SecretsDamaged before anything is started; ServiceUnhealthy, ServiceFailed
    or ContainerLost afterwards, with what is left running.
    """
    with alone(session):
        there = session.compose.containers()
        before = {one.service: one.id for one in there}
        _check(session, services, there)
        images.ensure(
            session.settings, session.engine, session.stack.name, _needed(session, services), session.say
        )
        made = prepare.prepare(session, services, _running(there))
        environment.write(session)
        names = [service.name for service in services]
        seconds = _started(
            session, ["up", "--detach", "--no-build", "--no-deps", *names], names, timeout, show
        )
        after = {one.service: one.id for one in session.compose.containers()}
        changed = [name for name in names if after.get(name) != before.get(name)]
        ran_on = [name for name in _running(there) if after.get(name) == before[name]]
        prepare.caught_up(session, [name for name in prepare.behind(session) if name not in ran_on])
        restarted = rotate.reconnect(session, names, timeout, show)
        rotate.finish(session, timeout, show)
        late = [name for name in prepare.behind(session) if name in names]
        rotate.apply(session, prepare.secret_names(session.stack), late)
        mending.finish(session, names)
        _say_behind(session)
        return Started(seconds=seconds, changed=changed, secrets=made, restarted=restarted)


def restart(session: Session, services: Sequence[Service], timeout: float, show: Show) -> dict[str, float]:
    """Restart services, and wait until they are healthy. Raises ServiceUnhealthy, ServiceFailed or ContainerLost."""
    names = [service.name for service in services]
    with alone(session):
        seconds = _started(session, ["restart", "--no-deps", *names], names, timeout, show)
        prepare.caught_up(session, names)
        return seconds


def heal(session: Session, timeout: float, show: Show) -> tuple[list[str], dict[str, float]]:
    """Make the containers anew of services that are not healthy; gives which, and the seconds they took.

    Those that are, and those that were never started, are left alone. Raises as up() does.
    """
    with alone(session):
        names = ill(session)
        if not names:
            return [], {}
        services = [session.stack[name] for name in names]
        there = session.compose.containers()
        _check(session, services, there)
        images.ensure(session.settings, session.engine, session.stack.name, names, session.say)
        prepare.prepare(session, services, _running(there))
        words = ["up", "--detach", "--no-build", "--no-deps", "--force-recreate", *names]
        seconds = _started(session, words, names, timeout, show)
        prepare.caught_up(session, names)
        _say_behind(session)
        return names, seconds


def ill(session: Session) -> list[str]:
    """Give the services that are not healthy, but for those that are on their way. Raises EngineUnavailable."""
    found = [
        one.service
        for one in session.compose.containers()
        if not one.ready and not (one.state == "running" and one.health == "starting")
    ]
    return [service.name for service in session.stack.running if service.name in found]


def _running(there: Sequence[ServiceContainer]) -> list[str]:
    return [one.service for one in there if one.state in {"running", "paused"}]


def _say_behind(session: Session) -> None:
    if left := prepare.behind(session):
        session.say(
            f"still with passwords from before: {', '.join(left)}; inv services.up lets them have the new ones"
        )


def _needed(session: Session, services: Sequence[Service]) -> list[str]:
    """Give the services whose images are needed: with the tools, which a backup needs before it can be asked for."""
    return [*(one.name for one in services), *(one.name for one in session.stack.services if one.tool)]


def _check(session: Session, services: Sequence[Service], there: Sequence[ServiceContainer]) -> None:
    facts = session.engine.facts()
    check_versions(facts)
    ports.refuse(ports.taken(services, session.engine.published_ports(), [one.name for one in there]))
    new = {service.name for service in services} - {one.service for one in there}
    root = Path(facts.root_dir)
    if new and root.exists() and (free := free_disk_bytes(root)) < LEAST_FREE_BYTES:
        raise DiskFull(
            "the engine's disk is nearly full",
            where=str(root),
            why=f"{free // 10**6} MB free, {LEAST_FREE_BYTES // 10**6} MB needed; nothing was started",
            hint="`docker system df` shows what is used",
        )


def _started(
    session: Session, words: Sequence[str], names: Sequence[str], timeout: float, show: Show
) -> dict[str, float]:
    """Run a compose command beside the wait, so that its first steps are seen too."""
    failed: list[SynosError] = []
    trouble: SynosError | None = None
    seconds: dict[str, float] = {}

    def run() -> None:
        try:
            session.compose.run(*words)
        except SynosError as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)

    def doing() -> bool:
        # what compose did not start never gets ready; without an engine, the look itself says more
        if failed and not isinstance(failed[0], EngineUnavailable):
            raise failed[0]
        return thread.is_alive()

    thread.start()
    try:
        seconds = health.wait(session.compose, names, timeout, show, doing=doing)
    except SynosError as error:
        trouble = error
    except KeyboardInterrupt:
        session.compose.stop()
        session.say(_left(session, names))
        raise
    thread.join(timeout=5)
    if trouble is None and not failed:
        return seconds
    # compose's own words tell more, unless the engine went away under both
    if failed and not isinstance(trouble, ContainerLost):
        first = failed[0]
        hint = "; ".join(part for part in (first.hint, _left(session, names)) if part)
        raise type(first)(first.what, where=first.where, why=first.why, hint=hint) from first
    raise trouble or failed[0]


def _left(session: Session, names: Sequence[str]) -> str:
    """Say how things are left: nothing half-started stays unsaid."""
    try:
        seen = {one.service: one for one in session.compose.containers()}
    except EngineUnavailable:
        return "the engine does not answer, so it is not known what is left running"
    states = ", ".join(f"{name} is {health.step_of(seen.get(name))}" for name in names)
    return f"left as it is: {states}; inv services.down stops all and keeps the data"
