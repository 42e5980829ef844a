"""`inv build.lock`, and the lock that every build needs: resolved in a container, written on the host."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from synos_tasks import builder
from synos_tasks.build import planning
from synos_tasks.build.containers import builder_spec
from synos_tasks.errors import LockDrift, LockError, writing
from synos_tasks.iso import lock as locks
from synos_tasks.iso.protocol import Resolve, Resolved
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.build.planning import Context
    from synos_tasks.iso.lock import Change, Lock
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings


def lock_path(settings: Settings, profile: str) -> Path:
    """Return where the lock of a profile is."""
    return locks.path_of(planning.profile_folder(settings), profile)


def fitting(settings: Settings, profile: Profile) -> Lock | None:
    """Return a profile's lock when it is for what the profile asks; raises LockError when it is damaged."""
    found = locks.load(lock_path(settings, profile.name))
    return found if found and found.request == locks.request_of(profile) else None


def required(settings: Settings, profile: Profile, option: str) -> Lock:
    """Return a profile's lock; raises LockDrift where it does not fit, as ``option`` does not let it be written."""
    found = fitting(settings, profile)
    if found is None:
        path = lock_path(settings, profile.name)
        other = "the profile asks for other packages, suites or a bootstrapper"
        raise LockDrift(
            f"the lock of profile {profile.name} does not fit",
            where=str(path),
            why=other if path.exists() else "there is none",
            hint=f"`inv build.lock --profile {profile.name}` writes it; {option} never does",
        )
    return found


def renew(context: Context, profile: Profile, *, update: bool) -> tuple[Lock, list[Change]]:
    """Resolve a profile and write its lock, whether it fits or not; return it with what changed, which is said.

    Without ``update`` versions stay where the mirrors still have them, and so does the date. Raises
    EngineTooOld, PackageNotFound, MirrorUnreachable, BadSignature, OutputNotWritable.
    """
    path = lock_path(context.settings, profile.name)
    spec = builder_spec(context)
    try:
        previous = locks.load(path)
    except LockError as error:
        context.say(f"warning: {error.where}: {error.what}; it is written again")
        previous = None
    context.say(f"resolving the packages of {profile.name}")
    start = previous or _inherited(context.settings, profile)
    request = Resolve(profile=profile, previous=None if update else start)
    found = builder.ask(context, spec, request, Resolved).lock
    changed = locks.changes(previous, found)
    if start and (not update or start.packages == found.packages):
        # the date is part of every key: it moves only when somebody asks for what is new
        found = dataclasses.replace(found, epoch=start.epoch)
    if found != previous:
        with writing("the lock cannot be written", path):
            write_whole(path, locks.dump(found, profile.name))
            os.chown(path, *builder.owner())
    if len(changed) < len(found.packages):
        context.say("\n".join(change.line for change in changed) or "nothing changed")
    security = sum(change.security for change in changed)
    news = f"{len(changed)} changed, {security} for security" if previous else "all new"
    context.say(f"{path}: {len(found.packages)} packages, {news}")
    return found, changed


def _inherited(settings: Settings, profile: Profile) -> Lock | None:
    """Return the lock of the nearest ancestor of the same suite, so that a new profile shares layers with it."""
    for name in profile.ancestors:
        if planning.read_profile(settings, name).suite == profile.suite:
            try:
                found = locks.load(lock_path(settings, name))
            except LockError:
                continue
            if found:
                return found
    return None
