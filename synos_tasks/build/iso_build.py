"""`inv build.iso`: profile and lock become a plan; what it describes is there already, or a container makes it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks import console, errors
from synos_tasks.build import components, locking, planning, preflight
from synos_tasks.build.builder import PRIVILEGED, ask, builder_spec, once_volume, owner
from synos_tasks.build.plan_view import last_plan, remember
from synos_tasks.build.progress import History, View, view_for
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN
from synos_tasks.images.recipe import tag_of
from synos_tasks.iso.publish import iso_path, point_to, publish, published, staging, sweep_staging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from synos_tasks.engine.client import Docker, SystemInfo
    from synos_tasks.iso.lock import Lock
    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import MaintSettings, Settings

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
        """Give the fields that `build.iso --json` promises."""
        return {**self.__dict__, "iso": str(self.iso)}


def build_iso(
    settings: Settings, docker: Docker, options: Options, say: Callable[[str], None]
) -> BuildResult:
    """Build a profile's ISO; raises a SynosError, and then earlier ISOs are untouched."""
    began = time.monotonic()
    profile = planning.read_profile(settings, options.profile)
    _refuse_impossible(settings, docker, options, profile)
    build = _Build(settings, docker, options, profile, say)
    done = build.already() or build.make()
    return BuildResult(
        iso=iso_path(options.output, profile.name, done["build_id"]),
        sha256=done["sha256"],
        build_id=done["build_id"],
        profile=profile.name,
        seconds=round(time.monotonic() - began, 3),
        stages=[{key: stage[key] for key in STAGE_FIELDS} for stage in done["stages"]],
    )


def keep_of(maint: MaintSettings) -> dict[str, int | None] | None:
    """Give what the project's store may keep after a build, as the container is told; None where nothing is to go.

    Sizes in bytes, times in seconds.
    """
    if not maint.budget_seconds or not (maint.store_max_gb or maint.store_days):
        return None
    return {
        "max_bytes": maint.store_max_gb * 10**9 or None,
        "max_age": maint.store_days * DAY or None,
        "young": maint.young_minutes * 60,
        "seconds": maint.budget_seconds,
    }


def _refuse_impossible(settings: Settings, docker: Docker, options: Options, profile: Profile) -> None:
    """Raise before anything is done where options leave no way; SettingsError, LockDrift or HostUnfit."""
    if options.offline and not options.cached:
        raise errors.SettingsError(
            "--offline and --no-cache leave no packages to build from", hint="leave one of them out"
        )
    if (options.locked or options.offline) and locking.fitting(settings, profile) is None:
        locking.refuse_drift(settings, profile, "--locked" if options.locked else "--offline")
    for recipe in (BUILDER, *([TOOLCHAIN] if profile.components else [])):
        tag = tag_of(settings.project, recipe)
        if options.offline and docker.image_id(tag) is None:
            raise errors.HostUnfit(
                f"the {recipe.name} image is not there, and --offline fetches none",
                where=tag,
                hint="run the same command without --offline once",
            )


@dataclass
class _Build:
    """One build, from the question whether it is needed to its publication."""

    settings: Settings
    docker: Docker
    options: Options
    profile: Profile
    say: Callable[[str], None]
    stages: list[dict[str, Any]] = field(default_factory=list)
    compiled: dict[str, components.Compiled] = field(default_factory=dict)
    sha256: str = ""

    def already(self) -> dict[str, Any] | None:
        """Give the manifest of an ISO that is what would be built, when it is there and whole."""
        lock = locking.fitting(self.settings, self.profile)
        if lock is None or not self.options.cached:
            return None
        plan = self._plan(lock)
        found = published(self.options.output, plan)
        if found is None:
            return None
        point_to(iso_path(self.options.output, self.profile.name, plan.build_id), self.profile.name)
        self.say("nothing changed: the ISO is there, and its checksum is right")
        return {**found, "stages": [{**stage, "hit": True, "seconds": 0.0} for stage in found["stages"]]}

    def make(self) -> dict[str, Any]:
        """Build in a container; raises a SynosError."""
        if self.options.privileged:
            self.say(f"warning: {PRIVILEGED}")
        info = preflight.check(self.settings, self.docker, self.options.output)
        sweep_staging(self.options.output)
        image = ensure_image(self.settings, self.docker, BUILDER, self.say)
        lock = locking.fitting(self.settings, self.profile) or self._renew(info, image)
        with self._store() as store:
            if not self.options.cached:
                self._compile(info, store)
            try:
                return self._run(info, image, lock, store)
            except errors.PackageVanished as error:
                if self.options.locked or self.options.offline:
                    raise
                self.say(f"warning: {error.what}; taking what is there now")
                return self._run(info, image, self._renew(info, image), store)

    @contextmanager
    def _store(self) -> Iterator[str | None]:
        """Give the store to build with: the project's, or with --no-cache one of this build's own.

        Only components need a volume for that: they are compiled in another container than the rest.
        """
        if self.options.cached:
            yield ""
        elif not self.profile.components:
            yield None
        else:
            with once_volume(self.settings, self.docker) as volume:
                yield volume

    def _renew(self, info: SystemInfo, image: str) -> Lock:
        self.say(f"resolving the packages of {self.profile.name}")
        lock, changed = locking.renew(
            self.settings, self.docker, info, image, self.profile, update=False, on_event=self._warn
        )
        name = locking.lock_path(self.settings, self.profile.name).name
        if len(changed) == len(lock.packages):
            self.say(f"{name}: {len(changed)} packages")
        else:
            self.say("\n".join([f"{name}: {len(changed)} packages changed", *locking.lines_of(changed)]))
        return lock

    def _run(self, info: SystemInfo, image: str, lock: Lock, store: str | None) -> dict[str, Any]:
        plan = self._plan(lock)
        if not self.compiled and not self._compiled_before(plan):
            self._compile(info, store)
            self._refuse_others(plan)
        try:
            return self._assemble(info, image, plan, store)
        except errors.ComponentMissing:
            self._compile(info, store)
            self._refuse_others(plan)
            return self._assemble(info, image, plan, store)

    def _refuse_others(self, plan: Plan) -> None:
        """Raise ComponentFailed where other components were compiled than the plan has."""
        for stage in plan.components:
            made = self.compiled.get(stage.name)
            if made and made.key != stage.key:
                raise errors.ComponentFailed(
                    f"component {made.name} changed while the ISO was built",
                    where=f"docker/build/components/{made.name}.yaml",
                    hint="run the command again",
                )

    def _compiled_before(self, plan: Plan) -> bool:
        """Tell whether the last build had the same components: then the store has them, unless it was emptied."""
        last = last_plan(self.settings, self.profile.name)
        known = {stage.key for stage in last.components} if last else set()
        return all(stage.key in known for stage in plan.components)

    def _compile(self, info: SystemInfo, store: str | None) -> None:
        """Have the profile's components in the store."""
        if not self.profile.components:
            return
        place = components.Place(store=store or "", offline=self.options.offline)
        with view_for([f"component-{name}" for name in self.profile.components], self._history()) as view:
            made = components.have(
                self.settings, self.docker, info, self.profile.components, self.say, place, view.handle
            )
        self.compiled = {f"component-{one.name}": one for one in made}

    def _history(self) -> History:
        return History(self.settings.state_dir / "history.json", self.profile.name)

    def _assemble(self, info: SystemInfo, image: str, plan: Plan, store: str | None) -> dict[str, Any]:
        options, history = self.options, self._history()
        self.stages = []
        with staging(options.output) as folder:
            spec = builder_spec(
                self.settings, info, image, output=folder, store=store, network=not options.offline,
                packages_bytes=sum(package.size for package in plan.lock.packages), privileged=options.privileged,
            )  # fmt: skip
            request = {"do": "build", "plan": plan.to_json(), "offline": options.offline, "owner": owner()}
            if store == "" and (keep := keep_of(self.settings.maint)):
                request["keep"] = keep
            with view_for(plan.stage_names, history) as view:
                ask(self.settings, self.docker, spec, request, lambda event: self._note(event, view))
            publish(folder, self.profile.name, plan.build_id, self.sha256)
        self.stages.sort(key=lambda stage: plan.stage_names.index(stage["name"]))
        try:
            history.save(self.stages)
            remember(self.settings, plan)
        except OSError as error:
            self.say(f"warning: what this build took is not remembered: {error}")
        return {"build_id": plan.build_id, "sha256": self.sha256, "stages": self.stages}

    def _plan(self, lock: Lock) -> Plan:
        tools = planning.tools_for(self.settings, self.docker, self.profile, self.say)
        return planning.plan_build(self.settings, self.profile, lock, tools, release=self.options.release)

    def _note(self, event: dict[str, Any], view: View) -> None:
        view.handle(event)
        if event["event"] == "done":
            others = [stage for stage in self.stages if stage["name"] != event["name"]]
            self.stages = [*others, self._told(event)]
        elif event["event"] == "delivered":
            self.sha256 = str(event["sha256"])
        elif event["event"] == "evicted" and event["count"]:
            gone, left = (console.human_bytes(event[name]) for name in ("bytes", "left_bytes"))
            self.say(f"store: {gone} of what no build has used for longest is gone, {left} are left")
        self._warn(event)

    def _told(self, event: dict[str, Any]) -> dict[str, Any]:
        """Give a stage as it went in this build: a component was compiled in another container before."""
        stage = {key: event[key] for key in STAGE_FIELDS}
        made = self.compiled.get(event["name"])
        return {**stage, "hit": made.hit, "seconds": made.seconds} if made else stage

    def _warn(self, event: dict[str, Any]) -> None:
        if event["event"] == "warning":
            self.say(f"warning: {event['text']}")
