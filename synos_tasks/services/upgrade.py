"""`inv services.upgrade`: newer images, one service at a time, and the way back where one does not get healthy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.engine.failures import check_versions
from synos_tasks.errors import ContainerLost, ServiceUnhealthy, SynosError
from synos_tasks.images.base import renew
from synos_tasks.images.building import (
    build_image,
    ensure_image,
    one_at_a_time,
    remove_nameless,
    versions,
)
from synos_tasks.images.catalog import TRIXIE
from synos_tasks.iso.lock import version_changes
from synos_tasks.services import health
from synos_tasks.services.stack import PULL_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.services.stack import Service, StackContext


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """One service: whether it runs a new image, and the packages that changed, as ``name old -> new``."""

    service: str
    changed: bool
    packages: list[str]


def upgrade(context: StackContext, services: Sequence[Service]) -> list[Upgraded]:
    """Bring each service to a newer image and wait until it is healthy, before the next one is touched.

    Raises ServiceUnhealthy where one does not get healthy with the new image and has the old one again.
    """
    with context.locked():
        check_versions(context.docker.info())
        containers = context.compose.containers()
        running = {name: one.image for name, one in containers.items() if one.state.status == "running"}
        chosen = [service for service in services if service.name in running]
        recipes = [context.recipes[one.name] for one in chosen if one.name in context.recipes]
        if any(recipe.base == TRIXIE for recipe in recipes):
            renew(context, TRIXIE)
        for parent in {recipe.parent for recipe in recipes if recipe.parent}:
            ensure_image(context, parent)
        with one_at_a_time(context.settings):  # the old image has no name while it may be wanted back
            return [_upgrade(context, service, running[service.name]) for service in chosen]


def _upgrade(context: StackContext, service: Service, old: str) -> Upgraded:
    before = context.docker.image_id(service.image)
    if service.name in context.recipes:
        context.say(f"{service.name}: building {service.image}")
        recipe = context.recipes[service.name]
        # what is on another image is pinned, and changes with that one only
        build_image(context, recipe, cached=recipe.parent is not None)
    elif not context.docker.pull(service.image, timeout=PULL_TIMEOUT):
        context.say(f"{service.name}: no registry answers for {service.image}; it stays as it is here")
    new = context.docker.image_id(service.image) or ""
    had, has = _packages(context, old), _packages(context, new)
    packages = [f"{one.name} {one.old or 'none'} -> {one.new or 'none'}" for one in version_changes(had, has)]
    # a running service is not changed for the same packages; an image that does not tell its packages may differ
    if before == old and (new == old or (had and not packages)):
        if new != old:
            context.docker.tag(old, service.image)
            remove_nameless(context, new)
        context.say(f"{service.name}: nothing newer")
        return Upgraded(service=service.name, changed=False, packages=[])
    context.say(f"{service.name}: {', '.join(packages) or 'a new image'}")
    try:
        context.make_readable([service])
        _run(context, service.name)
    except ContainerLost:
        raise
    except SynosError as error:
        raise _roll_back(context, service, old, had_tag=before == old, error=error) from error
    remove_nameless(context, old)
    return Upgraded(service=service.name, changed=True, packages=packages)


def _run(context: StackContext, service: str) -> None:
    context.compose.up(service)
    health.wait(context, [service])


def _roll_back(
    context: StackContext, service: Service, old: str, *, had_tag: bool, error: SynosError
) -> ServiceUnhealthy:
    """Give the service its old image again, and return the error that says so.

    Raises what goes wrong with the old image, with what had gone wrong with the new one.
    """
    context.say(f"{service.name}: not healthy with the new image, going back to the old one")
    new = context.docker.image_id(service.image)
    hint = "nothing else was changed after it"
    try:
        if had_tag:
            context.docker.tag(old, service.image)
        else:
            context = context.with_image(service.name, old)
            hint = "docker/services still builds the image that failed: correct it before `inv services.up`"
        _run(context, service.name)
    except SynosError as second:
        raise type(second)(
            f"{service.name} failed with its new image, and its old one could not take its place: {second.what}",
            where=second.where or service.image,
            why=f"with the new image: {error.why or error.what}\nwith the old image: {second.why or second.what}",
            hint=second.hint,
        ) from second
    if had_tag and new:
        remove_nameless(context, new)
    return ServiceUnhealthy(
        f"{service.name} did not get healthy with its new image",
        where=service.image,
        why=error.why or error.what,
        hint=f"{service.name} runs its old image again, healthy; {hint}",
    )


def _packages(context: StackContext, image: str) -> dict[str, tuple[str, bool]]:
    """Return versions by package; {} where the image does not tell, as one without dpkg."""
    try:
        return versions(context.docker, image)
    except SynosError:
        return {}
