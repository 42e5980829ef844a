"""`inv --dry build.iso`: the plan and the command, and nothing done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.build import locking, planning
from synos_tasks.build.builder import builder_spec
from synos_tasks.engine.spec import run_argv
from synos_tasks.images.catalog import BUILDER
from synos_tasks.images.recipe import tag_of
from synos_tasks.iso.lock import Lock, request_of

if TYPE_CHECKING:
    from synos_tasks.build.iso_build import Options
    from synos_tasks.engine.gateway import Engine
    from synos_tasks.iso.plan import Plan
    from synos_tasks.settings import Settings


def dry_run(settings: Settings, engine: Engine, options: Options) -> tuple[Plan, list[str]]:
    """Give the plan and the `docker run` command of a build.

    Keys are those of the build only where the lock fits and the builder's image was used before.
    """
    profile = planning.read_profile(settings, options.profile)
    empty = Lock(request=request_of(profile), epoch=0, packages=())
    lock = locking.fitting(settings, profile) or empty
    image = tag_of(settings.root, BUILDER)
    tools = planning.known_tools_for(settings, engine, profile)
    plan = planning.plan_build(settings, profile, lock, tools, release=options.release)
    spec = builder_spec(
        settings, None, image, output=options.output, store="" if options.cached else None, privileged=options.privileged, network=not options.offline,
        packages_bytes=sum(package.size for package in lock.packages),
    )  # fmt: skip
    return plan, run_argv(spec)
