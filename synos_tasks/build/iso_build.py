"""`inv build.iso`: profile and lock become a plan; what it describes is there already, or a container makes it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from synos_tasks import builder, console, errors
from synos_tasks.build import components, planning
from synos_tasks.build.containers import PRIVILEGED, builder_spec, delivered_files, stage_spec, store_volume
from synos_tasks.build.view import PlainView, last_plan, remember, view_for
from synos_tasks.images.catalog import BUILDER, TOOLCHAINS
from synos_tasks.iso import protocol
from synos_tasks.iso.eviction import Limits
from synos_tasks.iso.keys import users
from synos_tasks.iso.publish import STAGING_PREFIX, iso_path, point_to, publish, published, staging
from synos_tasks.iso.scratch import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from synos_tasks.build.planning import Context
    from synos_tasks.build.remote import RemoteStore
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.iso.lock import Lock
    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import MaintSettings

T = TypeVar("T")
DAY = 86400
COMPILERS_MB = 4096
"""Memory that compilers may need, in addition to what the builder may."""
STAGE_FIELDS = ("name", "key", "hit", "fetched", "seconds", "bytes")


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
    """A finished build, with the fields that `build.iso --json` promises. ``iso`` is absolute."""

    iso: Path
    sha256: str
    build_id: str
    profile: str
    seconds: float
    stages: list[dict[str, Any]]


def build_iso(context: Context, options: Options, profile: Profile) -> BuildResult:
    """Build the ISO of the profile that the options name; raises a SynosError, and then earlier ISOs are untouched."""
    build = begin(context, options, profile)
    return build.already() or build.make(build.assemble)


def begin(context: Context, options: Options, profile: Profile) -> Build:
    """Return a build that nothing speaks against, and warn of what a person may have forgotten; raises as build_iso() does."""
    _refuse_impossible(context, options, profile)
    if users.nobody_can_log_in(profile):
        context.say(
            "warning: nobody can log in: no user has a password, an SSH key or `autologin` (docs/profile.md)"
        )
    return Build(context, options, profile)


def container_of(
    context: Context, options: Options, plan: Plan, *, output: Path | None, store: str | None
) -> ContainerSpec:
    """Return the container of a build; it delivers nothing where there is no ``output``."""
    return builder_spec(
        context,
        more=delivered_files(output) if output else (),
        store=store,
        packages_bytes=sum(package.size for package in plan.lock.packages),
        network=not options.offline,
        privileged=options.privileged,
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
    """Raise before anything is done where options leave no way; WrongUse, LockDrift or HostUnfit."""
    if options.offline and not options.cached:
        raise errors.WrongUse(
            "--offline and --no-cache leave no packages to build from", hint="leave one of them out"
        )
    if options.locked or options.offline:
        planning.required_lock(context.settings, profile, "--locked" if options.locked else "--offline")
    for recipe in (BUILDER, *([TOOLCHAINS[profile.suite]] if profile.components else [])):
        tag = recipe.tag(context.settings.project)
        if options.offline and context.docker.image_id(tag) is None:
            raise errors.HostUnfit(
                f"the {recipe.name} image is not there, and --offline fetches none",
                where=tag,
                hint="run the same command without --offline once",
            )


@dataclass
class Build:
    """One build, from the question whether it is needed to its publication."""

    context: Context
    options: Options
    profile: Profile
    remote: RemoteStore | None = None
    stages: dict[str, protocol.Done | None] = field(default_factory=dict)
    compiled: dict[str, protocol.Done] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def already(self) -> BuildResult | None:
        """Return the ISO that would be built, when it is there and whole."""
        lock = planning.fitting_lock(self.context.settings, self.profile)
        if lock is None or not self.options.cached:
            return None
        plan = self._plan(lock)
        found = published(self.options.output, plan)
        if found is None:
            return None
        stages = [{**stage, "hit": True, "fetched": False, "seconds": 0.0} for stage in found["stages"]]
        result = self._result(plan, found["sha256"], stages)
        point_to(result.iso, self.profile)
        self.context.say("nothing changed: the ISO is there, and its checksum is right")
        return result

    def make(self, use: Callable[[Plan, str, bool], T]) -> T:
        """Lock and plan; return what ``use`` makes of the plan, the store's volume and whether components may be missing in it."""
        if self.options.privileged:
            self.context.say(f"warning: {PRIVILEGED}")
        planning.preflight(self.context, self.options.output)
        if self.options.cached and not self.options.offline and self.context.settings.build.store:
            from synos_tasks.build.remote import remote_of  # noqa: PLC0415  (most projects have none)

            self.remote = remote_of(self.context)
        sweep(self.options.output, STAGING_PREFIX)  # of killed builds, even where this one ends early
        lock = planning.fitting_lock(self.context.settings, self.profile) or self._new_lock()
        with store_volume(self.context, cached=self.options.cached) as store:
            try:
                return self._run(lock, store, use)
            except errors.PackageVanished as error:
                if self.options.locked or self.options.offline:
                    raise
                self.context.say(f"warning: {error.what}; taking what is there now")
                return self._run(self._new_lock(), store, use)

    def _run(self, lock: Lock, store: str, use: Callable[[Plan, str, bool], T]) -> T:
        plan = self._plan(lock)
        there = self.compiled or not plan.components or (self.options.cached and self._compiled_before(plan))
        missing = not there
        try:
            return use(plan, store, missing)
        except errors.ComponentMissing:
            missing = True
            return use(plan, store, missing)

    def _compiled_before(self, plan: Plan) -> bool:
        """Return whether the last build had the same components: then the store has them, unless it was emptied."""
        last = last_plan(self.context.settings, self.profile.name)
        known = {stage.key for stage in last.components} if last else set()
        return all(stage.key in known for stage in plan.components)

    @contextmanager
    def _compiling(self, store: str, plan: Plan, view: PlainView) -> Iterator[Future[None]]:
        """Compile what the store lacks meanwhile, until the end of the block; it must wait for the result."""
        over = threading.Event()

        def heard(event: protocol.Event) -> None:
            if over.is_set():
                raise errors.StageFailed("the build ended")
            view.handle(event)

        with ThreadPoolExecutor(1) as threads:
            job = threads.submit(self.compile, store, plan, heard)
            try:
                yield job
            except errors.PackageVanished:  # the next try has the same components
                job.result()
                raise
            finally:
                over.set()

    def compile(self, store: str, plan: Plan, on_event: Callable[[protocol.Event], object]) -> None:
        """Compile the components that the store lacks; raise ComponentFailed where the plan has others by now."""
        suite, offline = self.profile.suite, self.options.offline
        compiler = components.Compiler(
            self.context, suite, store, offline=offline, on_event=on_event, remote=self.remote
        )
        self.compiled = {stage.name: stage for stage in compiler.ensure(self.profile.components)}
        for stage in plan.components:
            made = self.compiled.get(stage.name)
            if made is None or made.key != stage.key:
                name = stage.name.removeprefix("component-")
                raise errors.ComponentFailed(
                    f"component {name} changed while the ISO was built",
                    where=f"docker/build/components/{name}.yaml",
                    hint="run the command again",
                )

    def _has_memory_for_both(self) -> bool:
        """Tell whether compilers may work at the same time as the builder."""
        needed = self.context.settings.build.memory_mb + COMPILERS_MB
        return (self.context.info.mem_total or 0) >= needed * 2**20

    def view(self, stages: list[str]) -> PlainView:
        """Return what shows these stages."""
        return view_for(stages, builder.expected_seconds(self.context.settings, self.profile.name))

    def assemble(self, plan: Plan, store: str, compiles: bool) -> BuildResult:
        """Build in a container, and publish; raises a SynosError."""
        with staging(self.options.output) as folder:
            stages = self.execute(protocol.Build, protocol.Delivered, plan, store, compiles, folder)
            seconds = self._seconds()
            sha256 = publish(folder, plan, builder.owner(), seconds)
        if self.remote and self.context.settings.build.store_push == "always":
            self._push([stage.key for stage in stages])
        try:
            remember(self.context.settings, plan, stages)
        except OSError as error:
            self.context.say(f"warning: the times of this build could not be stored: {error}")
        return self._result(plan, sha256, [vars(stage) for stage in stages], seconds)

    def execute(
        self,
        kind: type[protocol.Build],
        answer: type[protocol.Event],
        plan: Plan,
        store: str,
        compiles: bool,
        folder: Path | None = None,
    ) -> list[protocol.Done]:
        """Have a plan executed in a container, which delivers into ``folder``; return its stages. Raises a SynosError."""
        context, options = self.context, self.options
        self.stages = dict.fromkeys(plan.stage_names)
        with ExitStack() as stack:
            view = stack.enter_context(self.view(plan.stage_names))
            meanwhile = compiles and self._has_memory_for_both()
            job = stack.enter_context(self._compiling(store, plan, view)) if meanwhile else None
            if compiles and not meanwhile:
                self.compile(store, plan, view.handle)
            spec = container_of(context, options, plan, output=folder, store=store)
            request = kind(
                plan=plan,
                offline=options.offline,
                limits=limits_of(context.settings.maint) if options.cached else None,
                store_key=builder.store_key(context.settings),
                secrets=builder.secrets_of(context),
                apart=not options.privileged,  # hooks that mount do so for those that follow
                awaits=meanwhile,
            )

            def note(event: protocol.Event) -> None:
                if job and job.done():
                    job.result()  # where that failed, this ends too
                view.handle(event)
                self._note(event)

            builder.ask(context, spec, request, answer, note, stage_spec=stage_spec, remote=self.remote)
            if job:
                job.result()
        stages = [self.compiled.get(stage.name, stage) for stage in self.stages.values() if stage]
        if folder and len(stages) < len(self.stages):
            what = "the container reported an ISO, but not all of its stages"
            raise errors.StageFailed(what, where=spec.name, hint="nothing was published")
        return stages

    def _push(self, keys: list[str]) -> None:
        from synos_tasks.build.remote import push  # noqa: PLC0415

        try:
            pushed = push(self.context, keys)
            self.context.say(
                f"remote store: pushed {pushed.entries} entries, {console.human_bytes(pushed.bytes)}"
            )
        except errors.SynosError as error:  # the ISO is there all the same
            self.context.say(f"warning: {error.what}: {error.why or error.where}")

    def _seconds(self) -> float:
        return round(time.monotonic() - self.began, 3)

    def _result(
        self, plan: Plan, sha256: str, stages: list[dict[str, Any]], seconds: float | None = None
    ) -> BuildResult:
        return BuildResult(
            iso=iso_path(self.options.output, self.profile, plan.build_id),
            sha256=sha256,
            build_id=plan.build_id,
            profile=self.profile.name,
            seconds=self._seconds() if seconds is None else seconds,
            stages=[{key: stage[key] for key in STAGE_FIELDS} for stage in stages],
        )

    def _new_lock(self) -> Lock:
        return planning.renew_lock(self.context, self.profile, update=False)[0]

    def _plan(self, lock: Lock) -> Plan:
        return planning.plan_build(self.context, self.profile, lock, release=self.options.release)

    def _note(self, event: protocol.Event) -> None:
        if isinstance(event, protocol.Done) and event.name in self.stages:
            self.stages[event.name] = event
        elif isinstance(event, protocol.Evicted) and event.count:
            gone, left = console.human_bytes(event.bytes), console.human_bytes(event.left_bytes)
            self.context.say(f"store: removed {gone} that were unused for longest; {left} are left")
        elif isinstance(event, protocol.Evicted) and event.busy and event.skipped:
            self.context.say("store: another build uses it, so nothing was removed; the next build cleans up")
