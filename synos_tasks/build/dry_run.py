"""`inv --dry build.iso`: the plan, what the container may do, and nothing done."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from synos_tasks.build import locking, planning
from synos_tasks.builder import builder_spec
from synos_tasks.images.catalog import BUILDER
from synos_tasks.images.recipe import tag_of
from synos_tasks.iso.lock import Lock, request_of

if TYPE_CHECKING:
    from synos_tasks.build.iso_build import Options
    from synos_tasks.engine.client import Docker
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.iso.plan import Plan
    from synos_tasks.settings import Settings


def dry_run(settings: Settings, docker: Docker, options: Options) -> tuple[Plan, ContainerSpec]:
    """Return the plan and the container of a build.

    Keys are those of the build only where the lock fits and the builder's image was used before.
    """
    profile = planning.read_profile(settings, options.profile)
    empty = Lock(request=request_of(profile), epoch=0, packages=())
    lock = locking.fitting(settings, profile) or empty
    tools = planning.known_tools_for(settings, docker, profile)
    plan = planning.plan_build(settings, profile, lock, tools, release=options.release)
    spec = builder_spec(
        settings,
        None,
        tag_of(settings.project, BUILDER),
        output=options.output,
        store="" if options.cached else None,
        privileged=options.privileged,
        network=not options.offline,
        packages_bytes=sum(package.size for package in lock.packages),
    )
    return plan, spec


def permissions(spec: ContainerSpec) -> dict[str, str]:
    """Return what a container may do and reach, in words, by subject."""
    if spec.privileged:
        rights = "privileged: every capability and device; NOT isolated from the host"
    else:
        more = "sudo works" if spec.new_privileges else "no new privileges"
        rights = f"{' '.join(spec.capabilities) or 'no capability'}; {more}"
    read_only = [f"{bind.source} at {bind.target}" for bind in spec.binds if not bind.writable]
    writable = [f"{bind.source} at {bind.target}" for bind in spec.binds if bind.writable]
    volumes = [f"volume {name} at {path}" for name, path in spec.volumes.items()]
    temporary = [
        *spec.anonymous_volumes,
        *(f"{path} in memory ({what})" for path, what in spec.tmpfs.items()),
    ]
    return {
        "image": spec.image,
        "command": shlex.join([spec.entrypoint, *spec.command] if spec.entrypoint else spec.command),
        "user": spec.user or "the image's own",
        "rights": rights,
        "read-only": ", ".join(read_only),
        "writable": ", ".join([*writable, *volumes]),
        "temporary": ", ".join(temporary),
        "devices": ", ".join(spec.devices) or "none of the host",
        "limits": f"{spec.cpus:g} CPUs, {spec.memory_mb} MB of memory, {spec.pids} processes",
        "network": spec.network or "yes",
    }
