"""What every command of build works with: the engine, a host that is fit, a profile, its lock, its plan, its images."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import builder, host, images
from synos_tasks.build.containers import builder_spec
from synos_tasks.engine.failures import check_versions
from synos_tasks.engine.labels import LABEL_PROJECT, is_temporary
from synos_tasks.errors import DiskFull, HostUnfit, LockError, writing
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import BUILDER, TOOLCHAINS
from synos_tasks.iso import lock as locks
from synos_tasks.iso import plan as plans
from synos_tasks.iso import profile as profiles
from synos_tasks.iso.plan import Tools
from synos_tasks.iso.protocol import Resolve, Resolved
from synos_tasks.iso.scratch import write_whole
from synos_tasks.locks import held

if TYPE_CHECKING:
    from synos_tasks.engine.client import SystemInfo
    from synos_tasks.images.catalog import Recipe
    from synos_tasks.iso.lock import Change, Lock
    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings

TOOLS = "/etc/synos-builder"
LEAST_OUTPUT_BYTES = 600 * 10**6


@dataclass(frozen=True)
class Context(images.Context):
    """One running command of `inv build.*`."""

    dry: bool = False
    """Start nothing, and build no image."""

    @cached_property
    def info(self) -> SystemInfo:
        """What `docker info` prints; raises EngineUnavailable or EngineTooOld."""
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
    if (free := host.free_disk_bytes(output)) < LEAST_OUTPUT_BYTES:
        raise DiskFull(
            "the output folder's disk is nearly full",
            where=str(output),
            why=f"{free // 10**6} MB free, {LEAST_OUTPUT_BYTES // 10**6} MB needed for an ISO",
            hint="free some space, or choose another folder with --output",
        )


def remove_leftovers(context: Context) -> None:
    """End and remove builders whose command is gone, whatever they do, and remove the volumes of killed commands."""
    project, docker = context.settings.project, context.docker
    for one in builder.leftovers(docker, project):
        context.say(f"removing container {one.name}: its command is gone")
        if trouble := docker.remove_container(one.id, force=True):
            context.say(f"warning: it could not be removed: {trouble}")
    volumes = docker.volumes({LABEL_PROJECT: project.id})
    leased = held(project.leases)
    for volume in volumes:
        if is_temporary(volume, project.id) and volume.name not in leased:
            docker.remove_volume(volume.name)  # the engine keeps one that a container has


def profile_folder(settings: Settings) -> Path:
    """Return the folder of profiles and their locks."""
    return settings.project.build_data / "profiles"


def read_profile(settings: Settings, name: str) -> Profile:
    """Read a profile; raises ProfileError, ProfileNotFound or ComponentError."""
    profile = profiles.load(profile_folder(settings), name)
    plans.find_files(settings.project.build_data, profile)
    return dataclasses.replace(profile, project=settings.project.name, title=settings.project.title)


def lock_path(settings: Settings, profile: str) -> Path:
    """Return where the lock of a profile is."""
    return locks.path_of(profile_folder(settings), profile)


def fitting_lock(settings: Settings, profile: Profile) -> Lock | None:
    """Return a profile's lock when it is for what the profile asks; raises LockError when it is damaged."""
    return locks.fitting(lock_path(settings, profile.name), profile)


def required_lock(settings: Settings, profile: Profile, option: str) -> Lock:
    """Return a profile's lock; raises LockDrift where it does not fit, as ``option`` does not let it be written."""
    hint = f"`inv build.lock --profile {profile.name}` writes it; {option} never does"
    return locks.required(lock_path(settings, profile.name), profile, hint)


def resolve(context: Context, profile: Profile, *, update: bool = False) -> tuple[Lock, Lock | None]:
    """Return the lock that renew_lock() would write, and the one that is there; write nothing. Raises as it does."""
    from synos_tasks.iso.releases import refuse_older  # noqa: PLC0415  (slow to import)

    spec = builder_spec(context)
    try:
        previous = locks.load(lock_path(context.settings, profile.name))
    except LockError as error:
        context.say(f"warning: {error.where}: {error.what}; it is written again")
        previous = None
    context.say(f"resolving the packages of {profile.name}")
    of_suite = previous and (not previous.releases or profile.suite in previous.releases)
    start = previous if of_suite else _inherited(context, profile)
    request = Resolve(profile=profile, previous=None if update else start)
    found = builder.ask(context, spec, request, Resolved).lock
    refuse_older(profile, start.releases if start else {}, found.releases)
    if start and (not update or start.packages == found.packages):
        # the date is part of every key: it moves only when somebody asks for what is new
        found = dataclasses.replace(found, epoch=start.epoch)
    if previous and previous.releases and previous.packages == found.packages:
        found = dataclasses.replace(found, releases=previous.releases)  # no new lock for newer dates alone
    return found, previous


def renew_lock(context: Context, profile: Profile, *, update: bool) -> tuple[Lock, list[Change]]:
    """Resolve a profile and write its lock, whether it fits or not; return it with what changed, which is said.

    Without ``update`` versions stay where the mirrors still have them, and so does the date. Raises
    EngineTooOld, PackageNotFound, MirrorUnreachable, BadSignature, OutputNotWritable.
    """
    path = lock_path(context.settings, profile.name)
    found, previous = resolve(context, profile, update=update)
    changed = locks.changes(previous, found)
    if found != previous:
        with writing("the lock cannot be written", path):
            write_whole(path, locks.dump(found, profile.name))
            os.chown(path, *builder.owner())
    if len(changed) < len(found.packages):
        context.say("\n".join(change.line for change in changed) or "nothing changed")
    for one, before in locks.new_keys(previous.repositories if previous else (), found.repositories):
        context.say(f"warning: another key for repository {one.name}: {before} -> {one.key}")
    security = sum(change.security for change in changed)
    news = f"{len(changed)} changed, {security} for security" if previous else "all new"
    context.say(f"{path}: {len(found.packages)} packages, {news}")
    return found, changed


def _inherited(context: Context, profile: Profile) -> Lock | None:
    """Return the lock of the nearest ancestor, in the same suite, so that a new profile shares layers with it."""
    for ancestor in profile.ancestors:
        same = read_profile(context.settings, ancestor).suite == profile.suite
        name = ancestor if same else f"{ancestor}-{profile.suite}"  # as ANCESTOR@SUITE is called
        if name == profile.name:
            continue
        try:
            found = locks.load(lock_path(context.settings, name))
        except LockError as error:
            context.say(f"warning: {error.where}: {error.what}; no layers are shared with {name}")
            continue
        if found and (same or not found.releases or profile.suite in found.releases):
            return found
    return None


def plan_build(context: Context, profile: Profile, lock: Lock, *, release: bool) -> Plan:
    """Plan a build; raises ProfileError or ComponentError where a file that the profile names is missing.

    The images with the tools are built where they are missing. Of a dry run keys are those of the build only where
    these were used before.
    """
    toolchain = tools_of(context, TOOLCHAINS[profile.suite]) if profile.components else ""
    tools = Tools(builder=tools_of(context, BUILDER), toolchain=toolchain)
    return plans.plan_build(context.settings.project.build_data, profile, lock, tools, release=release)


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
