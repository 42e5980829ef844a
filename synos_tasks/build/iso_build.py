"""`inv build.iso`: profile and lock become a plan; what it describes is there already, or a container makes it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks import console, errors
from synos_tasks.build import components, locking, planning
from synos_tasks.build.view import History, last_plan, remember, view_for
from synos_tasks.builder import PRIVILEGED, builder_spec, once_volume, owner
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN
from synos_tasks.iso import protocol
from synos_tasks.iso.eviction import Limits
from synos_tasks.iso.publish import iso_path, point_to, publish, published, staging, sweep_staging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from synos_tasks.build.planning import Context
    from synos_tasks.iso.lock import Lock
    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import MaintSettings

DAY = 86400
STAGE_FIELDS = ("name", "key", "hit", "seconds", "bytes")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is asked of a build, besides settings."""

    profile: str
    output: Path
    release: bool = False
    locked: bool = False
    """Refuse to write the lock."""
    offline: bool = False
    """Fetch nothing."""
    cached: bool = True
    """Use the store and the pool, and ISOs that are there."""
    privileged: bool = False
    """With every capability, for hooks that must mount."""


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """A finished build. ``iso`` is absolute; the stages are as scripts get them."""

    iso: Path
    sha256: str
    build_id: str
    profile: str
    seconds: float
    stages: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return the fields that `build.iso --json` promises."""
        return {**self.__dict__, "iso": str(self.iso)}


def build_iso(context: Context, options: Options) -> BuildResult:
    """Build a profile's ISO; raises a SynosError, and then earlier ISOs are untouched."""
    began = time.monotonic()
    profile = planning.read_profile(context.settings, options.profile)
    _refuse_impossible(context, options, profile)
    build = _Build(context, options, profile)
    done = build.already() or build.make()
    return BuildResult(
        iso=iso_path(options.output, profile, done["build_id"]),
        sha256=done["sha256"],
        build_id=done["build_id"],
        profile=profile.name,
        seconds=round(time.monotonic() - began, 3),
        stages=[{key: stage[key] for key in STAGE_FIELDS} for stage in done["stages"]],
    )


def limits_of(maint: MaintSettings) -> Limits | None:
    """Return what the project's store may keep after a build; None where nothing is to go."""
    if not maint.budget_seconds or not (maint.store_max_gb or maint.store_days):
        return None
    return Limits(
        max_bytes=maint.store_max_gb * 10**9 or None,
        max_age=maint.store_days * DAY or None,
        young=maint.young_minutes * 60,
        seconds=maint.budget_seconds,
    )


def _refuse_impossible(context: Context, options: Options, profile: Profile) -> None:
    """Raise before anything is done where options leave no way; SettingsError, LockDrift or HostUnfit."""
    if options.offline and not options.cached:
        raise errors.SettingsError(
            "--offline and --no-cache leave no packages to build from", hint="leave one of them out"
        )
    if (options.locked or options.offline) and locking.fitting(context.settings, profile) is None:
        locking.refuse_drift(context.settings, profile, "--locked" if options.locked else "--offline")
    for recipe in (BUILDER, *([TOOLCHAIN] if profile.components else [])):
        tag = recipe.tag(context.settings.project)
        if options.offline and context.docker.image_id(tag) is None:
            raise errors.HostUnfit(
                f"the {recipe.name} image is not there, and --offline fetches none",
                where=tag,
                hint="run the same command without --offline once",
            )


@dataclass
class _Build:
    """One build, from the question whether it is needed to its publication."""

    context: Context
    options: Options
    profile: Profile
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    compiled: dict[str, components.Compiled] = field(default_factory=dict)

    def already(self) -> dict[str, Any] | None:
        """Return the manifest of an ISO that is what would be built, when it is there and whole."""
        lock = locking.fitting(self.context.settings, self.profile)
        if lock is None or not self.options.cached:
            return None
        plan = self._plan(lock)
        found = published(self.options.output, plan)
        if found is None:
            return None
        point_to(iso_path(self.options.output, self.profile, plan.build_id), self.profile)
        self.context.say("nothing changed: the ISO is there, and its checksum is right")
        return {**found, "stages": [{**stage, "hit": True, "seconds": 0.0} for stage in found["stages"]]}

    def make(self) -> dict[str, Any]:
        """Build in a container; raises a SynosError."""
        if self.options.privileged:
            self.context.say(f"warning: {PRIVILEGED}")
        planning.preflight(self.context, self.options.output)
        sweep_staging(self.options.output)
        lock = locking.fitting(self.context.settings, self.profile) or self._renew()
        with self._store() as store:
            if not self.options.cached:
                self._compile(store)
            try:
                return self._run(lock, store)
            except errors.PackageVanished as error:
                if self.options.locked or self.options.offline:
                    raise
                self.context.say(f"warning: {error.what}; taking what is there now")
                return self._run(self._renew(), store)

    @contextmanager
    def _store(self) -> Iterator[str | None]:
        """Yield the store to build with: the project's, or with --no-cache one of this build's own.

        Only components need a volume for that: they are compiled in another container than the rest.
        """
        if self.options.cached:
            yield ""
        elif not self.profile.components:
            yield None
        else:
            with once_volume(self.context.settings, self.context.docker) as volume:
                yield volume

    def _renew(self) -> Lock:
        self.context.say(f"resolving the packages of {self.profile.name}")
        lock, changed = locking.renew(self.context, self.profile, update=False)
        name = locking.lock_path(self.context.settings, self.profile.name).name
        if len(changed) == len(lock.packages):
            self.context.say(f"{name}: {len(changed)} packages")
        else:
            lines = [f"{name}: {len(changed)} packages changed", *(change.line for change in changed)]
            self.context.say("\n".join(lines))
        return lock

    def _run(self, lock: Lock, store: str | None) -> dict[str, Any]:
        plan = self._plan(lock)
        if not self.compiled and not self._compiled_before(plan):
            self._compile(store, plan)
        try:
            return self._assemble(plan, store)
        except errors.ComponentMissing:
            self._compile(store, plan)
            return self._assemble(plan, store)

    def _compiled_before(self, plan: Plan) -> bool:
        """Return whether the last build had the same components: then the store has them, unless it was emptied."""
        last = last_plan(self.context.settings, self.profile.name)
        known = {stage.key for stage in last.components} if last else set()
        return all(stage.key in known for stage in plan.components)

    def _compile(self, store: str | None, plan: Plan | None = None) -> None:
        """Compile the profile's components that the store lacks; raise ComponentFailed where ``plan`` has others."""
        if not self.profile.components:
            return
        place = components.Place(store=store or "", offline=self.options.offline)
        with view_for([f"component-{name}" for name in self.profile.components], self._history()) as view:
            found = components.ensure_compiled(self.context, self.profile.components, place, view.handle)
        self.compiled = {f"component-{one.name}": one for one in found}
        for stage in plan.components if plan else ():
            made = self.compiled.get(stage.name)
            if made is None or made.key != stage.key:
                name = stage.name.removeprefix("component-")
                raise errors.ComponentFailed(
                    f"component {name} changed while the ISO was built",
                    where=f"docker/build/components/{name}.yaml",
                    hint="run the command again",
                )

    def _history(self) -> History:
        return History(self.context.settings, self.profile.name)

    def _assemble(self, plan: Plan, store: str | None) -> dict[str, Any]:
        context, options, history = self.context, self.options, self._history()
        self.stages = {}
        with staging(options.output) as folder, view_for(plan.stage_names, history) as view:
            spec = builder_spec(
                context.settings, context.info, context.image(BUILDER), output=folder, store=store,
                packages_bytes=sum(package.size for package in plan.lock.packages),
                network=not options.offline, privileged=options.privileged,
            )  # fmt: skip
            limits = limits_of(context.settings.maint) if store == "" else None
            request = protocol.Build(plan=plan, offline=options.offline, owner=owner(), limits=limits)

            def note(event: protocol.Event) -> None:
                view.handle(event)
                self._note(event)

            done = context.ask(spec, request, protocol.Delivered, note)
            publish(folder, plan, done.sha256)
        stages = [self.stages[name] for name in plan.stage_names]
        try:
            history.save(stages)
            remember(context.settings, plan)
        except OSError as error:
            context.say(f"warning: what this build took is not remembered: {error}")
        return {"build_id": plan.build_id, "sha256": done.sha256, "stages": stages}

    def _plan(self, lock: Lock) -> Plan:
        tools = planning.tools_for(self.context, self.profile)
        return planning.plan_build(
            self.context.settings, self.profile, lock, tools, release=self.options.release
        )

    def _note(self, event: protocol.Event) -> None:
        if isinstance(event, protocol.Done):
            stage = {key: getattr(event, key) for key in STAGE_FIELDS}
            if made := self.compiled.get(event.name):  # in another container, before
                stage |= {"hit": made.hit, "seconds": made.seconds}
            self.stages[event.name] = stage
        elif isinstance(event, protocol.Evicted) and event.count:
            gone, left = console.human_bytes(event.bytes), console.human_bytes(event.left_bytes)
            self.context.say(f"store: removed {gone} that no build has used for longest, {left} are left")
        elif isinstance(event, protocol.Evicted) and event.busy and event.skipped:
            self.context.say("store: nothing was removed, another build uses it; the next build sees to it")
