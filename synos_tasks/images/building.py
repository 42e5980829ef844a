"""Build images of this project: each only once, or all again on newer bases, and one command at a time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.failures import check_versions
from synos_tasks.engine.labels import LABEL_BASE, LABEL_PROJECT, image_labels
from synos_tasks.errors import ImageBuildFailed
from synos_tasks.images import ledger
from synos_tasks.images.base import ensure_base, renew
from synos_tasks.images.catalog import every
from synos_tasks.images.dockerfile import steps_of
from synos_tasks.images.uplink import build_secrets
from synos_tasks.iso.codec import to_data
from synos_tasks.iso.diagnose import mirror_failure
from synos_tasks.iso.lock import version_changes
from synos_tasks.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from synos_tasks.engine.client import Docker
    from synos_tasks.images import Context
    from synos_tasks.images.catalog import Recipe
    from synos_tasks.iso.proxies import Proxies
    from synos_tasks.settings import Settings

LIST_PACKAGES = ("dpkg-query", "--show")


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image that was built. Size in bytes; few seconds where no step changed."""

    name: str
    tag: str
    bytes: int
    seconds: float


def ensure_image(context: Context, recipe: Recipe) -> str:
    """Build an image unless it is there; return its tag.

    Raises EngineUnavailable, EngineTooOld, ImageBuildFailed, or HostUnfit and MirrorUnreachable without a base.
    """
    tag = recipe.tag(context.settings.project)
    if not context.docker.image_id(tag):
        build_images(context, [recipe], missing=True)
    return tag


def build_images(
    context: Context, recipes: Sequence[Recipe], *, cached: bool = True, missing: bool = False
) -> list[Built]:
    """Build images, in order: all, or those that are ``missing``. Raises as ensure_image() does."""
    docker, project = context.docker, context.settings.project
    check_versions(docker.info())
    with one_at_a_time(context.settings):
        parents = [recipe.parent for recipe in recipes if recipe.parent]
        wanted = [
            one
            for one in dict.fromkeys([*parents, *recipes])
            if (one in recipes and not missing) or not docker.image_id(one.tag(project))
        ]
        for base in dict.fromkeys(recipe.base for recipe in wanted):
            ensure_base(context, base)
        found = []
        for recipe in wanted:
            until = " (once, until its Dockerfile changes)" if missing else ""
            tag = recipe.tag(project)
            took = ledger.read(project.state_dir).seconds_of(tag.partition(":")[0])
            context.say(
                f"building image {tag}{until}: {f'about {took:.0f} s' if took else 'a minute or two'}"
            )
            found.append(build_image(context, recipe, cached=cached))
        return found


def build_image(context: Context, recipe: Recipe, *, cached: bool = True) -> Built:
    """Build an image. The caller has the base and the lock. Raises ImageBuildFailed or MirrorUnreachable."""
    settings, tag = context.settings, recipe.tag(context.settings.project)
    dockerfile = settings.project.root / recipe.dockerfile
    began = time.monotonic()
    with mirror_errors(context.proxies):
        context.docker.build_image(
            settings.project.root,
            context.say,
            tags=[tag],
            file=dockerfile,
            target=recipe.target or None,
            cache=cached,
            build_args=recipe.build_args(settings.project),
            secrets=build_secrets(settings.project.root, context.say),
            environment=context.proxies.variables,
            labels=image_labels(settings.project.id, recipe.role, tag),
        )
    seconds = round(time.monotonic() - began, 2)
    image = context.docker.image(tag)
    if image is None:
        raise ImageBuildFailed(
            "an image was removed while it was built", where=tag, hint="run the command again"
        )
    steps = steps_of(dockerfile.read_text())
    ledger.remember(settings.project.state_dir, ident=image.id, tag=tag, seconds=seconds, steps=steps)
    return Built(name=recipe.name, tag=tag, bytes=image.size or 0, seconds=seconds)


@contextmanager
def mirror_errors(proxies: Proxies) -> Iterator[None]:
    """Raise MirrorUnreachable or BadSignature where a mirror made a step fail. The error has no password in it."""
    try:
        yield
    except ImageBuildFailed as error:
        error.why = proxies.masked(error.why)
        if failure := mirror_failure(error.why.splitlines(), [], error.where, proxies):
            raise type(failure)(failure.what, where=error.where, why=error.why, hint=failure.hint) from error
        raise


@contextmanager
def one_at_a_time(settings: Settings, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock of this clone's images; ``waiting`` is called before it waits for another command."""
    settings.project.state_dir.mkdir(parents=True, exist_ok=True)
    with exclusive(settings.project.state_dir / "image.lock", waiting):
        yield


def remove_nameless(context: Context, ident: str) -> None:
    """Remove an image of this project that has no name left; the engine keeps one that is in use."""
    image = context.docker.image(ident)
    if image is not None and not image.repo_tags:
        labels = image.config.labels or {}
        if context.settings.project.id in (labels.get(LABEL_PROJECT), labels.get(LABEL_BASE)):
            context.docker.remove_image(ident)


def update_base(context: Context, *, dry: bool) -> dict[str, Any]:
    """Build all images that are there on newer bases, without cache; show what changed, and return it as JSON fields.

    Until an image is built, the one before stays. Raises MirrorUnreachable, ImageBuildFailed or HostUnfit.
    """
    docker, project = context.docker, context.settings.project
    check_versions(docker.info())  # without an engine there seems to be no image either
    recipes = every(context.settings)
    there = [recipe for recipe in recipes if docker.image_id(recipe.tag(project))]
    names = [recipe.name for recipe in there]
    missing = [recipe.name for recipe in recipes if recipe not in there]
    if missing:
        context.say(f"not built yet, so not updated: {', '.join(missing)}")
    if not there:
        context.say("nothing to do: no image of this project is built")
    if dry:
        context.say(f"would build on newer bases, without cache: {', '.join(names) or 'nothing'}")
        return {"not_built": missing, "images": names}
    bases = list(dict.fromkeys(recipe.base for recipe in there))
    tags = [*bases, *(recipe.tag(project) for recipe in there)]
    old = {tag: ident for tag in tags if (ident := docker.image_id(tag))}
    before = {tag: versions(docker, tag) for tag in old}
    for base in bases:
        renew(context, base)
    build_images(context, there, cached=False)
    for tag, ident in old.items():
        if ident != docker.image_id(tag):
            remove_nameless(context, ident)
    if any(recipe.role == "services" for recipe in there):
        context.say("`inv services.upgrade` brings running services to them")
    return {"not_built": missing, "images": [_update(context, tag, before.get(tag)) for tag in tags]}


def _update(context: Context, tag: str, before: dict[str, tuple[str, bool]] | None) -> dict[str, Any]:
    """Show which packages of an image changed, none where it was not there ``before``; return that as JSON fields."""
    after = versions(context.docker, tag)
    changes = [] if before is None else version_changes(before, after)
    count = "was not there before" if before is None else f"{len(changes)} changed"
    context.say("\n".join([f"{tag}: {len(after)} packages, {count}", *(change.line for change in changes)]))
    fields = {"image": tag, "there": before is not None, "packages": len(after)}
    return {**fields, "changes": [to_data(change) for change in changes]}


def versions(docker: Docker, image: str) -> dict[str, tuple[str, bool]]:
    """Return version by package, as iso.lock.version_changes() compares them; raises EngineUnavailable.

    No package is marked as a security update: an image does not say.
    """
    lines = (line.partition("\t") for line in docker.output_of(image, LIST_PACKAGES).splitlines())
    return {name: (version, False) for name, _, version in lines if version}
