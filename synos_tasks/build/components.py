"""Components on the host: a container of the toolchain image compiles those that the store lacks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable  # noqa: TC003  (a default of Compiler needs it when it runs)
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks import builder
from synos_tasks.build import planning
from synos_tasks.build.containers import builder_spec, compile_spec, store_volume, temporary_volume
from synos_tasks.build.view import view_for
from synos_tasks.errors import ClaimFailed, ComponentFailed, SynosError
from synos_tasks.images.catalog import TOOLCHAINS
from synos_tasks.iso import profile as profiles
from synos_tasks.iso import protocol
from synos_tasks.iso.components import recipe
from synos_tasks.iso.plan import components_of
from synos_tasks.iso.protocol import PACKAGES
from synos_tasks.iso.publish import STAGING_PREFIX, settle, take
from synos_tasks.iso.scratch import scratch
from synos_tasks.iso.suites import DEFAULT
from synos_tasks.locks import held

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from synos_tasks.build.planning import Context
    from synos_tasks.builder import RemoteStore
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.iso.components.recipe import Component
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings

POLL_SECONDS = 0.5
REQUIRED_HITS = {"ccache": 80, "sccache": 75}
"""Percent of the compilers' calls that a filled cache answers."""


@dataclass(frozen=True, kw_only=True)
class HitRate:
    """How many of the compilers' calls a cache answered; ``required`` is in percent."""

    what: str
    hits: int
    calls: int
    required: int

    @property
    def measured(self) -> int:
        """Percent of the calls."""
        return round(100 * self.hits / self.calls) if self.calls else 0


def names_of(settings: Settings) -> list[str]:
    """Return the names of the project's components."""
    return recipe.names(recipe.folder_of(settings.project.build_data))


def users_of(settings: Settings, warn: Callable[[str], object]) -> dict[str, list[Profile]]:
    """Return the profiles that have each component; a profile with mistakes counts as having none, with a warning."""
    found: dict[str, list[Profile]] = {name: [] for name in names_of(settings)}
    for name in profiles.names(planning.profile_folder(settings)):
        try:
            profile = planning.read_profile(settings, name)
        except SynosError as error:
            warn(f"which components profile {name} has is not known: {error.what}")
            continue
        for component in profile.components:
            found[component].append(profile)
    return found


def suite_for(users: Iterable[Profile]) -> str:
    """Return the suite of the profiles that have a component; the default where they differ, and without any."""
    suites = {profile.suite for profile in users}
    return suites.pop() if len(suites) == 1 else DEFAULT


def recipes(settings: Settings, names: Iterable[str]) -> list[Component]:
    """Read recipes; raises ComponentError."""
    return components_of(settings.project.build_data, list(names))


@dataclass
class Compiler:
    """Brings some components into the store, by way of a volume: what compiles does not have the store."""

    context: Context
    suite: str
    store: str = ""
    """A volume; '' is the project's own."""
    cached: bool = False
    """Use the compilers' caches with another store too."""
    offline: bool = False
    output: Path | None = None
    """Gets the .debs."""
    change: Callable[[ContainerSpec], ContainerSpec] = lambda spec: spec
    """Changes the container that compiles."""
    on_event: Callable[[protocol.Event], object] = lambda _: None
    remote: RemoteStore | None = None
    wanted: list[recipe.Compilation] = dataclasses.field(default_factory=list, init=False)
    found: list[protocol.Done] = dataclasses.field(default_factory=list, init=False)

    def ensure(self, names: Iterable[str]) -> list[protocol.Done]:
        """Compile the components that the store lacks; return all, as stages. Raises ComponentError or ComponentFailed."""
        settings = self.context.settings
        tools = planning.tools_of(self.context, TOOLCHAINS[self.suite])
        folder = recipe.folder_of(settings.project.build_data)
        self.wanted = [recipe.compilation_of(one, folder, tools) for one in recipes(settings, names)]
        self.keep()
        while len(self.found) < len(self.wanted):
            self.compile(self.wanted[len(self.found)])
        return self.found

    def compile(self, one: recipe.Compilation) -> None:
        """Compile a component, or wait for another command that does."""
        context, waited, began = self.context, list[bool](), time.monotonic()
        lease = f"component-{one.key}"

        def wait() -> None:
            waited.append(True)
            while lease in held(context.settings.project.leases):  # flock(2) itself ends by no exception here
                time.sleep(POLL_SECONDS)
                self.on_event(protocol.Tick())

        with (
            context.lease(lease, wait),
            temporary_volume(context) as packages,
        ):
            if waited:
                self.keep()
                return
            before, settings = len(self.found), context.settings
            known = builder.expected_seconds(settings).get(one.component.stage)
            forecast = "never timed here, usually minutes" if known is None else f"about {known:.0f} s"
            context.say(f"compiling {one.component.name} for {self.suite}: {forecast}")
            rights = {"cached": self.cached or not self.store, "network": not self.offline}
            spec = compile_spec(context, one.component, packages, suite=self.suite, **rights)
            request = protocol.Compile(component=one, offline=self.offline, jobs=max(1, int(spec.cpus or 1)))
            compiled = builder.ask(context, self.change(spec), request, protocol.Compiled, self.on_event)
            self.keep(compiled, packages, began)
            if len(self.found) == before:
                what = "a component was compiled, and the store does not have it"
                raise ComponentFailed(what, where=one.component.file)
            builder.remember_seconds(settings, "", {one.component.stage: self.found[before].seconds})

    def keep(self, compiled: protocol.Compiled | None = None, packages: str = "", began: float = 0.0) -> None:
        """Note what the store has, once it has got the ``packages`` of the first that it lacked, compiled since ``began``."""
        spec = builder_spec(self.context, output=self.output, store=self.store, network=False)
        request = protocol.Keep(
            components=tuple(self.wanted[len(self.found) :]),
            compiled=compiled.caches if compiled else None,
            deliver=self.output is not None,
            store_key=builder.store_key(self.context.settings),
        )

        def note(event: protocol.Event) -> None:
            if isinstance(event, protocol.Done):
                if not event.hit:
                    event = dataclasses.replace(event, seconds=round(time.monotonic() - began, 3))
                self.found.append(event)
            self.on_event(event)

        if packages:
            spec = dataclasses.replace(spec, read_only_volumes={packages: str(PACKAGES)})
        builder.ask(self.context, spec, request, protocol.Kept, note, logged=False, remote=self.remote)


def compile_all(
    context: Context, suites: Mapping[str, str], output: Path, *, cached: bool = True
) -> list[protocol.Done]:
    """Compile components, each for a suite, and move their .debs into ``output``. Raises as Compiler.ensure() and preflight() do."""
    if not suites:
        return []
    planning.preflight(context, output)
    stages = [f"component-{name}" for name in suites]
    with (
        store_volume(context, cached=cached) as store,
        scratch(output, STAGING_PREFIX) as closed,
        view_for(stages, builder.expected_seconds(context.settings)) as view,
    ):
        given = closed / "output"
        given.mkdir()
        found: dict[str, protocol.Done] = {}
        for suite in dict.fromkeys(suites.values()):
            names = [name for name in suites if suites[name] == suite]
            compiler = Compiler(context, suite, store, output=given, on_event=view.handle)
            found |= zip(names, compiler.ensure(names), strict=True)
        compiled = [found[name] for name in suites]
        packages = [package for one in compiled for package in one.facts.packages]
        for package in packages:
            if take(given / package.file, closed / package.file) != package.sha256:
                raise ComponentFailed("a .deb is not the one in the store", where=package.file)
            settle(closed / package.file, builder.owner())
        for package in packages:
            (closed / package.file).replace(output / package.file)
    return compiled


def caches_of(compiled: protocol.Done) -> Mapping[str, Mapping[str, int]]:
    """Return hits and misses of a compilation by cache; nothing where nothing was compiled."""
    return {} if compiled.hit else compiled.facts.caches


def hit_rates(compiled: Iterable[protocol.Done]) -> list[HitRate]:
    """Return how much of what was compiled came from each of the compilers' caches."""
    counts = [caches_of(one) for one in compiled]
    rates = []
    for cache, required in REQUIRED_HITS.items():
        hits, misses = (sum(one.get(cache, {}).get(what, 0) for one in counts) for what in ("hits", "misses"))
        rates.append(HitRate(what=cache, hits=hits, calls=hits + misses, required=required))
    return rates


def cache_hit_rates(context: Context) -> list[HitRate]:
    """Compile all components twice, each time from an empty store; return what the caches answered the second time."""
    planning.preflight(context, context.settings.project.state_dir)
    for _ in range(2):
        with temporary_volume(context) as store:
            compiled = Compiler(context, DEFAULT, store, cached=True).ensure(names_of(context.settings))
    return hit_rates(compiled)


def check_hit_rates(rates: Iterable[HitRate]) -> None:
    """Raise ClaimFailed where a cache answered too little."""
    for rate in rates:
        if rate.measured < rate.required:
            raise ClaimFailed(
                f"{rate.what} answered {rate.measured} % of the compilers' calls",
                why=f"{rate.required} % are needed",
                hint="`ccache --show-stats` and `sccache --show-stats` in `inv build.shell --toolchain` show more",
            )
