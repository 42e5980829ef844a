"""Components on the host: asks a container of the toolchain image to compile what the store lacks."""

from __future__ import annotations

import dataclasses
import os
import stat
import uuid
from collections.abc import Callable  # noqa: TC003  (a default of Place needs it when it runs)
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.build import planning, preflight
from synos_tasks.build.progress import History, view_for
from synos_tasks.builder import ask, compiler_cache_volumes, once_volume, owner, toolchain_spec
from synos_tasks.errors import ComponentFailed
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import TOOLCHAIN
from synos_tasks.iso import profile as profiles
from synos_tasks.iso import protocol
from synos_tasks.iso.components import recipe
from synos_tasks.iso.inputs import components_of
from synos_tasks.iso.publish import STAGING_PREFIX
from synos_tasks.iso.scratch import scratch
from synos_tasks.iso.store import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synos_tasks.engine.client import Docker, SystemInfo
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.iso.components.recipe import Component
    from synos_tasks.settings import Settings


REQUIRED_HITS = {"ccache": 80, "sccache": 75}
"""Percent of the compilers' calls that a filled cache answers."""


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One component in the store. ``packages`` are as the manifest of an ISO has them, with ``file``.

    ``caches`` counts hits and misses of this compilation by cache; empty where nothing was compiled.
    """

    name: str
    key: str
    hit: bool
    seconds: float
    packages: list[dict[str, Any]]
    caches: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where components are compiled and kept."""

    store: str = ""
    """A volume besides the project's own store."""
    offline: bool = False
    output: Path | None = None
    """Folder that gets the .debs."""
    change: Callable[[ContainerSpec], ContainerSpec] = lambda spec: spec
    """Makes another container of the usual one."""


def names_of(settings: Settings) -> list[str]:
    """Names of the project's components."""
    return recipe.names(recipe.folder_of(planning.docker_build(settings)))


def users_of(settings: Settings) -> dict[str, list[str]]:
    """Give the profiles that have each component; profiles with mistakes count as having none."""
    found: dict[str, list[str]] = {name: [] for name in names_of(settings)}
    for name in profiles.names(planning.profile_folder(settings)):
        try:
            profile = planning.read_profile(settings, name)
        except planning.PROFILE_ERRORS:
            continue
        for component in profile.components:
            found[component].append(name)
    return found


def have(
    settings: Settings,
    docker: Docker,
    info: SystemInfo,
    names: Iterable[str],
    say: Callable[[str], None],
    place: Place | None = None,
    on_event: Callable[[protocol.Event], object] = lambda _: None,
) -> list[Compiled]:
    """Have components in the store, compiled where they are not. Raises ComponentError or ComponentFailed."""
    place = place or Place()
    docker_build = planning.docker_build(settings)
    wanted = components_of(docker_build, list(names))
    image = ensure_image(settings, docker, TOOLCHAIN, say)
    tools = planning.tools_of(settings, docker, image)
    asked = [_asked(component, docker_build, tools) for component in wanted]
    spec = toolchain_spec(
        settings, info, image, output=place.output, store=place.store, network=not place.offline
    )
    found: list[Compiled] = []

    def note(event: protocol.Event) -> None:
        on_event(event)
        if isinstance(event, protocol.Done):
            found.append(_compiled(event))

    while len(found) < len(asked):  # a container compiles one at most
        request = protocol.Compile(
            components=tuple(asked[len(found) :]),
            offline=place.offline,
            deliver=place.output is not None,
            owner=owner(),
            jobs=max(1, int(spec.cpus or 1)),
        )
        before = len(found)
        ask(settings, docker, place.change(spec), request, protocol.Compiled, say, note)
        if len(found) == before:
            raise ComponentFailed("the toolchain's container told of no component", where=spec.name)
        spec = dataclasses.replace(spec, name=f"{spec.name.rpartition('-')[0]}-{uuid.uuid4().hex[:8]}")
    return found


def _asked(component: Component, docker_build: Path, tools: str) -> protocol.Compilation:
    inputs = recipe.inputs_of(component, recipe.folder_of(docker_build), tools)
    return protocol.Compilation(component=component, key=recipe.key_of(inputs), source=inputs["source"])


def _compiled(event: protocol.Done) -> Compiled:
    facts = event.facts
    return Compiled(
        name=event.name.removeprefix("component-"),
        key=event.key,
        hit=event.hit,
        seconds=event.seconds,
        packages=facts["packages"],
        caches={} if event.hit else facts["caches"],
    )


def output_folder(settings: Settings, output: str) -> Path:
    """Where .debs go: ``output``, or components in the folder of ISOs."""
    return Path(output).resolve() if output else settings.output_dir / "components"


def recipes(settings: Settings, names: Iterable[str]) -> list[Component]:
    """Read recipes; raises ComponentError."""
    return components_of(planning.docker_build(settings), list(names))


def compile_all(
    settings: Settings,
    docker: Docker,
    names: list[str],
    output: Path,
    say: Callable[[str], None],
    *,
    cached: bool = True,
) -> list[Compiled]:
    """Compile components, and lay their .debs into ``output``. Raises what have() raises, and what a build does."""
    if not names:
        return []
    info = preflight.check(settings, docker, output)
    with (
        nullcontext("") if cached else once_volume(settings, docker) as store,
        scratch(output, STAGING_PREFIX) as folder,
        view_for(
            [f"component-{name}" for name in names], History(settings.state_dir / "history.json", "")
        ) as view,
    ):
        made = have(settings, docker, info, names, say, Place(store=store, output=folder), view.handle)
        names_told = [package["file"] for one in made for package in one.packages]
        for package in (package for one in made for package in one.packages):
            _verify(folder, package)
        for name in names_told:
            (folder / name).replace(output / name)
    return made


def cache_hit_rates(
    settings: Settings, docker: Docker, say: Callable[[str], None]
) -> list[dict[str, str | int | bool]]:
    """Compile all components twice from an empty store; return what the compilers' caches had the second time."""
    info = preflight.check(settings, docker, settings.state_dir)
    caches = compiler_cache_volumes(settings)
    for _ in range(2):
        with once_volume(settings, docker) as store:
            place = Place(
                store=store,
                change=lambda spec: dataclasses.replace(spec, volumes={**spec.volumes, **caches}),
            )
            made = have(settings, docker, info, names_of(settings), say, place)
    rates: list[dict[str, str | int | bool]] = []
    for cache, required in REQUIRED_HITS.items():
        hits = sum(one.caches[cache]["hits"] for one in made)
        calls = hits + sum(one.caches[cache]["misses"] for one in made)
        measured = round(100 * hits / calls) if calls else 0
        rates.append({"what": cache, "hits": hits, "calls": calls, "required": required, "measured": measured,
                      "holds": measured >= required})  # fmt: skip
    return rates


def _verify(folder: Path, package: dict[str, Any]) -> None:
    """Raise ComponentFailed unless a package is what was told of it."""
    # the container is not trusted with names and links: what is compiled in it can become root there
    name = package["file"]
    path = folder / name
    regular = Path(name).name == name and os.path.lexists(path) and stat.S_ISREG(path.lstat().st_mode)
    if not regular or sha256(path) != package["sha256"]:
        raise ComponentFailed("the container delivered another package than it told", where=name)


def hit_rates(made: Compiled) -> str:
    """Tell how much came from the compilers' caches."""
    told = []
    for cache, counts in made.caches.items():
        asked = counts["hits"] + counts["misses"]
        if asked:
            told.append(f"{cache} {counts['hits']} of {asked}")
    return ", ".join(told)
