"""What every command of build works with: the engine, a host that is fit, a profile, its plan and its images."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import host, images
from synos_tasks.engine.failures import check_versions
from synos_tasks.engine.labels import LABEL_PROJECT, ONCE, labels, owner_is_alive
from synos_tasks.errors import DiskFull, HostUnfit, writing
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN
from synos_tasks.iso import plan as plans
from synos_tasks.iso import profile as profiles
from synos_tasks.iso.plan import Tools
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from synos_tasks.engine.client import SystemInfo
    from synos_tasks.images.catalog import Recipe
    from synos_tasks.iso.lock import Lock
    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings

TOOLS = "/etc/synos-builder"
LEAST_OUTPUT_BYTES = 600 * 10**6


@dataclass(frozen=True)
class Context(images.Context):
    """One running command, and what the engine says of itself to it."""

    dry: bool = False
    """Start nothing, and build no image."""

    @cached_property
    def info(self) -> SystemInfo:
        """What the engine says of itself; raises EngineUnavailable or EngineTooOld."""
        info = self.docker.info()
        check_versions(info)
        return info

    def image(self, recipe: Recipe) -> str:
        """Return the tag of an image, built where it is missing unless dry; raises as ensure_image() does."""
        if self.dry:
            return recipe.tag(self.settings.project)
        return ensure_image(self, recipe)


def preflight(context: Context, output: Path) -> None:
    """Check engine, host, output folder and space; remove what a killed engine left.

    Raises EngineUnavailable, EngineTooOld, HostUnfit, OutputNotWritable or DiskFull.
    """
    engine_root = Path(context.info.docker_root_dir or "/var/lib/docker")
    checked = host.check_machine(context.settings.project.root, [engine_root])
    if bad := [check for check in checked if check.status == "fail"]:
        raise HostUnfit(
            "this machine is not fit for a build",
            where=", ".join(check.name for check in bad),
            why="; ".join(check.detail for check in bad),
            hint="; ".join(check.hint for check in bad),
        )
    check_output(output)
    remove_leftovers(context)


def check_output(output: Path) -> None:
    """Make the output folder and try to write in it."""
    hint = "choose another with --output, or correct its permissions"
    with writing("the output folder cannot be written", output, hint):
        output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output).close()
    free = os.statvfs(output).f_bavail * os.statvfs(output).f_frsize
    if free < LEAST_OUTPUT_BYTES:
        raise DiskFull(
            "the output folder's disk is nearly full",
            where=str(output),
            why=f"{free // 10**6} MB free, {LEAST_OUTPUT_BYTES // 10**6} MB needed for an ISO",
            hint="free some space, or choose another folder with --output",
        )


def remove_leftovers(context: Context) -> None:
    """Remove builders that ended without being removed, because the engine died, and volumes of killed commands."""
    project, docker = context.settings.project.id, context.docker
    for container in docker.containers(labels(project, "build")):
        # a container that somebody starts from the image has its labels, but not such a name
        if container.name.startswith(f"{project}-") and container.state.status in {"exited", "dead"}:
            docker.remove_container(container.id)
    for volume in docker.volumes({LABEL_PROJECT: project}):
        if ONCE in volume.name and not owner_is_alive(volume.name):
            docker.remove_volume(volume.name)


def docker_build(settings: Settings) -> Path:
    """Return docker/build, where all is that ISOs are made from."""
    return settings.project.data / "build"


def profile_folder(settings: Settings) -> Path:
    """Return the folder of profiles and their locks."""
    return docker_build(settings) / "profiles"


def read_profile(settings: Settings, name: str) -> Profile:
    """Read a profile; raises ProfileError, ProfileNotFound or ComponentError."""
    profile = profiles.load(profile_folder(settings), name)
    return dataclasses.replace(profile, distribution=settings.project.name, title=settings.project.title)


def plan_build(context: Context, profile: Profile, lock: Lock, *, release: bool) -> Plan:
    """Plan a build; raises ProfileError or ComponentError where a file that the profile names is missing.

    The images with the tools are built where they are missing. Of a dry run keys are those of the build only where
    these were used before.
    """
    toolchain = tools_of(context, TOOLCHAIN) if profile.components else ""
    tools = Tools(builder=tools_of(context, BUILDER), toolchain=toolchain)
    return plans.plan_build(docker_build(context.settings), profile, lock, tools, release=release)


def tools_of(context: Context, recipe: Recipe) -> str:
    """Return the digest of an image's tools with their versions, asked once for each image; '' where a dry run must not."""
    image = context.image(recipe)
    ident = context.docker.image_id(image) or image
    path = context.settings.project.state_dir / "tools.json"
    try:
        known: dict[str, str] = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        known = {}
    if not known.get(ident) and not context.dry:
        known[ident] = Tools.digest_of(context.docker.output_of(ident, ["cat", TOOLS]))
        write_whole(path, json.dumps(known))
    return known.get(ident, "")
