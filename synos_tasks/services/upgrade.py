"""`inv services.upgrade`: newer images, one service at a time, and the way back where one does not get healthy."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.engine.gateway import check_versions
from synos_tasks.errors import ContainerLost, ServiceUnhealthy, SynosError
from synos_tasks.images.base import TRIXIE, renew
from synos_tasks.images.building import build_image, one_at_a_time
from synos_tasks.images.packages import versions
from synos_tasks.iso.lock import version_changes
from synos_tasks.services import health, images, prepare
from synos_tasks.services.session import alone
from synos_tasks.services.stack import variable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from synos_tasks.services.session import Session
    from synos_tasks.services.stack import Service
    from synos_tasks.services.starting import Show


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """One service: whether it runs a new image, and the packages that changed, as ``name old -> new``."""

    service: str
    changed: bool
    packages: list[str]


def upgrade(session: Session, services: Sequence[Service], timeout: float, show: Show) -> list[Upgraded]:
    """Bring each service to a newer image and wait until it is healthy, before the next one is touched.

    Raises ServiceUnhealthy where one does not get healthy with the new image and has the old one again.
    """
    with alone(session):
        check_versions(session.engine.facts())
        running = {one.service: one.image for one in session.compose.containers() if one.state == "running"}
        chosen = [service for service in services if service.name in running]
        if any(service.name in images.recipes(session.settings, session.stack.name) for service in chosen):
            renew(session.settings, session.engine, TRIXIE, session.say)
        with one_at_a_time(session.settings):  # the old image has no name while it may be wanted back
            return [_one(session, service, running[service.name], timeout, show) for service in chosen]


def _one(session: Session, service: Service, old: str, timeout: float, show: Show) -> Upgraded:
    before = session.engine.image_id(service.image)
    _newer(session, service)
    new = session.engine.image_id(service.image) or ""
    had, has = _packages(session, old), _packages(session, new)
    packages = [f"{one.name} {one.old or 'none'} -> {one.new or 'none'}" for one in version_changes(had, has)]
    # the same packages are nothing to change a running service for; an image that does not tell them may be anything
    if before == old and (new == old or (had and not packages)):
        if new != old:
            session.engine.tag(old, service.image)
            session.engine.remove_nameless(new, session.settings.project_id)
        session.say(f"{service.name}: nothing newer")
        return Upgraded(service=service.name, changed=False, packages=[])
    session.say(f"{service.name}: {', '.join(packages) or 'a new image'}")
    try:
        prepare.make_readable(session.settings, [service])
        _run(session, service.name, timeout, show)
    except ContainerLost:
        raise
    except SynosError as error:
        raise _back(
            session, service, old, had_tag=before == old, error=error, timeout=timeout, show=show
        ) from error
    session.engine.remove_nameless(old, session.settings.project_id)
    return Upgraded(service=service.name, changed=True, packages=packages)


def _newer(session: Session, service: Service) -> None:
    recipe = images.recipes(session.settings, session.stack.name).get(service.name)
    if recipe is not None:
        session.say(f"{service.name}: building {service.image}")
        build_image(session.settings, session.engine, recipe, session.say, cached=False)
    elif not session.engine.pull(service.image, timeout=images.PULL_TIMEOUT):
        session.say(f"{service.name}: no registry answers for {service.image}; it stays as it is here")


def _run(session: Session, service: str, timeout: float, show: Show) -> None:
    session.compose.run("up", "--detach", "--no-build", "--no-deps", service)
    health.wait(session.compose, [service], timeout, show)


def _back(
    session: Session,
    service: Service,
    old: str,
    *,
    had_tag: bool,
    error: SynosError,
    timeout: float,
    show: Show,
) -> ServiceUnhealthy:
    """Let the service have its old image again, and make the error that says so.

    Raises what goes wrong with the old image, with what had gone wrong with the new one.
    """
    session.say(f"{service.name}: not healthy with the new image, going back to the old one")
    new = session.engine.image_id(service.image)
    hint = f"{service.name} runs its old image again, healthy; "
    try:
        if had_tag:
            session.engine.tag(old, service.image)
            _run(session, service.name, timeout, show)
            hint += "nothing else was changed after it"
        else:
            with _image(session, service, old):
                _run(session, service.name, timeout, show)
            hint += (
                "what docker/services says now makes the one that failed, so mend it before `inv services.up`"
            )
    except SynosError as second:
        raise _neither(service, error, second) from second
    if had_tag and new:
        session.engine.remove_nameless(new, session.settings.project_id)
    return ServiceUnhealthy(
        f"{service.name} did not get healthy with its new image",
        where=service.image,
        why=error.why or error.what,
        hint=hint,
    )


@contextmanager
def _image(session: Session, service: Service, ident: str) -> Iterator[None]:
    """Let the compose file have an image by its id, as long as this lasts."""
    file = session.compose.file
    session.compose.file = dataclasses.replace(
        file, environment={**file.environment, f"{variable(service.name)}_IMAGE": ident}
    )
    try:
        yield
    finally:
        session.compose.file = file


def _neither(service: Service, first: SynosError, second: SynosError) -> SynosError:
    """Make the error for a service that works with neither image; its kind is that of the ``second`` one, the old image's."""
    return type(second)(
        f"{service.name} failed with its new image, and its old one could not take its place: {second.what}",
        where=second.where or service.image,
        why=f"with the new image: {first.why or first.what}\nwith the old image: {second.why or second.what}",
        hint=second.hint,
    )


def _packages(session: Session, image: str) -> dict[str, tuple[str, bool]]:
    """Versions by package; {} where the image does not tell, as one without dpkg."""
    try:
        return versions(session.engine, image)
    except SynosError:
        return {}
