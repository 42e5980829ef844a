"""`inv build.verify-reproducible`: builds under circumstances that differ in all, and compares bytes."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks import builder
from synos_tasks.build import components, planning
from synos_tasks.build.compare import files_of
from synos_tasks.build.containers import builder_spec, delivered_files, stage_spec, store_volume
from synos_tasks.errors import Irreproducible
from synos_tasks.iso import publish
from synos_tasks.iso.compare import OUTSIDE_FILES
from synos_tasks.iso.protocol import Build, Delivered
from synos_tasks.iso.scratch import scratch
from synos_tasks.iso.store import sha256
from synos_tasks.iso.work import ELSEWHERE

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.build.planning import Context
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile

DAY = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What must not matter. ``clock`` is in seconds ahead, ``cores`` as for --cpuset-cpus."""

    hostname: str
    umask: int
    timezone: str
    locale: str
    clock: int
    cores: str
    elsewhere: bool
    stored: bool
    """Start from the project's store; from an empty one otherwise."""

    def __str__(self) -> str:
        """Return all of them in one line."""
        return (
            f"host {self.hostname}, umask {self.umask:03o}, {self.timezone}, {self.locale}, "
            f"clock +{self.clock // DAY} days, cores {self.cores}, "
            f"{'another folder' if self.elsewhere else 'usual folder'}, {'warm' if self.stored else 'empty'} store"
        )

    def apply(self, spec: ContainerSpec) -> ContainerSpec:
        """Return the container of a build under these circumstances."""
        variables = {"TZ": self.timezone, "LANG": self.locale, "LC_ALL": self.locale}
        varied = dataclasses.replace(
            spec,
            hostname=self.hostname,
            cpuset=self.cores,
            environment={**spec.environment, **variables},
        )
        if not self.elsewhere:
            return varied
        return dataclasses.replace(
            varied, anonymous_volumes={str(ELSEWHERE): next(iter(spec.anonymous_volumes.values()))}
        )


def circumstances(cpus: int) -> list[Circumstances]:
    """Return two that differ in all, and a third with the project's store."""
    one = Circumstances(
        hostname="alpha", umask=0o022, timezone="Pacific/Kiritimati", locale="C.UTF-8", clock=0,
        cores=f"0-{cpus - 1}", elsewhere=False, stored=False,
    )  # fmt: skip
    two = Circumstances(
        hostname="omega-2", umask=0o077, timezone="America/St_Johns", locale="tr_TR.UTF-8",
        clock=400 * DAY + 12345, cores="0", elsewhere=True, stored=False,
    )  # fmt: skip
    return [one, two, dataclasses.replace(one, hostname="store", umask=0o002, stored=True)]


def verify(context: Context, profile: Profile, *, release: bool, rounds: int) -> str:
    """Build ``rounds`` times under each circumstance; return the digest that all builds have.

    Raises LockDrift, or Irreproducible, which names the first difference.
    """
    settings = context.settings
    lock = planning.required_lock(settings, profile, "build.verify-reproducible")
    plan = planning.plan_build(context, profile, lock, release=release)
    settings.project.state_dir.mkdir(parents=True, exist_ok=True)
    with scratch(settings.project.state_dir, "reproduce-") as folder:
        planning.preflight(context, folder)
        cases = circumstances(min(context.info.n_cpu or 1, os.cpu_count() or 1)) * rounds
        first: tuple[Path, str] | None = None
        for number, case in enumerate(cases):
            iso = folder / f"{number}.iso"
            digest = _build(context, plan, case, iso)
            context.say(f"{digest}  {case}")
            if first is None:
                first = (iso, digest)
            elif digest != first[1]:
                context.say("the bytes differ: looking for the first file that does")
                raise difference(files_of(context, first[0], iso))
            else:
                iso.unlink()
        return digest


def _build(context: Context, plan: Plan, case: Circumstances, iso: Path) -> str:
    """Build an ISO; return its SHA-256."""
    request = Build(
        plan=plan,
        umask=case.umask,
        clock=case.clock,
        elsewhere=case.elsewhere,
        apart=True,
        store_key=builder.store_key(context.settings),
    )
    size = sum(package.size for package in plan.lock.packages)
    quiet = dataclasses.replace(context, say=lambda _: None)
    with store_volume(context, cached=case.stored) as store, publish.staging(iso.parent) as output:
        if plan.profile.components:  # in the usual folder and at the right time
            change = dataclasses.replace(case, elsewhere=False).apply
            compiler = components.Compiler(quiet, plan.profile.suite, store, change=change)
            compiler.ensure(plan.profile.components)
        spec = builder_spec(context, more=delivered_files(output), store=store, packages_bytes=size)
        builder.ask(quiet, case.apply(spec), request, Delivered, stage_spec=stage_spec)
        (output / publish.ISO).replace(iso)
        return sha256(iso)


def difference(found: dict[str, Any]) -> Irreproducible:
    """Return the error that names the first file that differs; ``found`` is what files_of() found."""
    changed, only = found.get("changed", []), [*found.get("added", []), *found.get("removed", [])]
    first = [only[0][0], ["only in one of them"]] if only else found.get("first")
    return Irreproducible(
        "two builds of the same profile and lock differ",
        where=first[0] if first else OUTSIDE_FILES,
        why="\n".join(first[1]) if first else "",
        hint=f"{len(changed)} files differ, {len(only)} are in one of the two only",
    )
