"""Prune: read facts, make a plan, apply it one exact id at a time, measure what it freed."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import builder
from synos_tasks.errors import ContainerLost
from synos_tasks.images import ledger
from synos_tasks.images.building import one_at_a_time
from synos_tasks.images.catalog import BUILDER
from synos_tasks.images.recipe import tag_of
from synos_tasks.iso.eviction import Limits as StoreLimits
from synos_tasks.maint import ownership, retention
from synos_tasks.maint.fresh_backups import fresh_backups
from synos_tasks.maint.resources import (
    Facts,
    Resource,
    build_seconds,
    current_images,
    isos,
    kind_of_volume,
    resources,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from synos_tasks.maint.ownership import Inventory, Owned
    from synos_tasks.maint.resources import Context, Kind

ORDER: tuple[Kind, ...] = (
    "build container", "container", "dev container", "scratch volume", "network", "image", "cache", "base image", "store",
    "cache volume", "data volume", "iso",
)  # fmt: skip
"""Users of a resource are removed before it."""
AT_ANY_AGE = ("build container", "scratch volume", "network", "data volume")
"""Left by a kill, or recreated in no time, or asked for by name."""
LOCKED = ("image", "cache", "base image")
"""What a build of an image may be about to use: such a build is waited for."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What was asked for. ``older_than`` and ``young`` in seconds."""

    older_than: float
    young: float = 600.0
    """What was created or used since stays in any case: a command may be about to use it."""
    keep_last: int
    """Newest images of each name that stay."""
    keep_isos: int = 0
    """Newest ISOs of each profile that stay; 0: all."""
    cache: bool = False
    store: bool = False
    volumes: bool = False
    include_rebuildable: bool = False
    """Everything that can be rebuilt: not data."""
    factory_reset: bool = False
    """Everything that is not in use, data and the newest of each group too."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is removed, in that order, and what is kept, with the reason."""

    removals: tuple[Resource, ...] = ()
    kept: tuple[tuple[Resource, str], ...] = ()
    root_dir: str = ""
    """The engine's folder: free bytes are measured there."""
    stop: frozenset[str] = frozenset()
    """Ids of containers that are removed though they run."""
    store_image: str = ""
    """The image to evict the planned entries of the store with: the Dockerfile may change meanwhile."""

    @property
    def bytes(self) -> int:
        """What the removals free at most."""
        return sum(one.bytes for one in self.removals)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What a prune did. ``freed_bytes`` is measured on the disks, and includes what others wrote or removed meanwhile."""

    removed: tuple[Resource, ...]
    stayed: tuple[tuple[Resource, str], ...]
    """What was planned, with the reason why it was not removed."""
    freed_bytes: int


# ---- the plan


def plan(context: Context, limits: Limits, inventory: Inventory | None = None) -> Plan:
    """Look at everything that belongs to this clone and decide what is removed. Changes nothing.

    Raises EngineUnavailable, HostUnfit where the engine is not on this machine, or ContainerLost.
    """
    clone = context.clone()
    inventory = inventory or context.inventory()
    owned = ownership.owned(inventory, clone)
    facts = Facts(
        now=context.now(),
        factory_reset=limits.factory_reset,
        current=frozenset() if limits.factory_reset else current_images(context.settings),
        backups=_backups(context, owned, limits),
    )
    found = [
        *resources(inventory, owned, clone, facts),
        *isos(context.settings.output_dir, pin_linked=not limits.factory_reset),
    ]
    image = ""
    if limits.store or limits.include_rebuildable:
        has_store = context.docker.volume(context.settings.store_volume) is not None
        image = context.docker.image_id(tag_of(context.settings.project, BUILDER)) or "" if has_store else ""
        found += _stored(context, image) if image else []
    if limits.store and not image:
        context.say("there is no store, or no builder image to read it with: inv build.image makes one")
    return replace(decide(found, limits, facts.now), root_dir=inventory.root_dir, store_image=image)


def decide(found: Sequence[Resource], limits: Limits, now: float) -> Plan:
    """Decide about each resource. Pure; ``now`` in seconds since 1970."""
    reasons = {one.id: one.pinned for one in found}
    by_kind = sorted(found, key=lambda one: (ORDER.index(one.kind), one.name, one.id))
    if not limits.factory_reset:
        for kind, group in itertools.groupby(by_kind, key=lambda one: one.kind):
            reasons.update(_reasons(kind, list(group), limits, now))
    _keep_needed(found, reasons)
    removals = [one for one in found if not reasons[one.id]]
    return Plan(
        removals=tuple(sorted(removals, key=lambda one: (ORDER.index(one.kind), one.used, one.name))),
        kept=tuple((one, reasons[one.id]) for one in by_kind if reasons[one.id]),
    )


def _reasons(kind: Kind, found: Sequence[Resource], limits: Limits, now: float) -> Iterator[tuple[str, str]]:
    """Return why each resource of one kind is kept, by id; '' where it is removed."""
    judged = retention.verdicts(
        found,
        now=now,
        older_than=0.0 if kind in AT_ANY_AGE else limits.older_than,
        keep_last=limits.keep_isos if kind == "iso" else max(1, limits.keep_last),
        group=lambda one: one.group,
    )
    for one, expiry in judged:
        young = "created or used a moment ago" if now - one.used < limits.young else ""
        yield one.id, one.pinned or young or _not_asked_for(one, limits) or expiry


def _not_asked_for(one: Resource, limits: Limits) -> str:
    if one.kind == "iso":
        return "" if limits.keep_isos else "synos.maint.isos_keep is 0: all are kept"
    if one.kind == "data volume":
        if not limits.volumes:
            return "holds data: removed with --volumes only"
        return "" if one.backup else "holds data, and there is no fresh backup of it"
    asked: dict[Kind, bool] = {
        "cache": limits.cache,
        "store": limits.store,
        "base image": False,
        "cache volume": False,
        "dev container": False,  # something may have been installed in it
    }
    if asked.get(one.kind, True) or limits.include_rebuildable:
        return ""
    return f"removed with --{one.kind if one.kind in {'cache', 'store'} else 'all'} only"


def _keep_needed(found: Sequence[Resource], reasons: dict[str, str]) -> None:
    """Keep what a kept resource needs; one that is not in ``found`` is kept."""
    needs: dict[str, list[str]] = defaultdict(list)
    for one in found:
        for user in one.needed_by:
            needs[user].append(one.id)
    users = [user for user in needs if reasons.get(user, "foreign")]
    while users:
        for needed in needs[users.pop()]:
            if not reasons[needed]:
                reasons[needed] = "something that stays needs it"
                users.append(needed)


def _stored(context: Context, image: str) -> Iterator[Resource]:
    """Return the entries of the store as resources; raises ContainerLost, or the error that the container met."""
    took: dict[str, float] = {}  # the longest of all profiles
    for stages in build_seconds(context.settings).values():
        took |= {name: max(seconds, took.get(name, 0.0)) for name, seconds in stages.items()}
    for one in builder.list_store(context.settings, context.docker, image):
        name, pinned = f"{one.stage or one.kind} {one.key[:12]}", "a build is using it" if one.in_use else ""
        seconds = took.get(one.stage)
        yield Resource("store", one.key, name, one.bytes, one.last_used, pinned=pinned, seconds=seconds)


def _backups(context: Context, owned: Owned, limits: Limits) -> Mapping[str, str]:
    """Verify backups only where they decide something: every byte is read."""
    if not (limits.volumes or limits.factory_reset):
        return {}
    project = context.settings.project_id
    data = [one for one in owned.volumes if kind_of_volume(one, project) == "data volume"]
    return fresh_backups(context.settings, data, context.now())


# ---- applying it


def carry_out(context: Context, planned: Plan) -> Pruned:
    """Do what a plan says. It can be cut short at any moment: the next plan finds the rest."""
    disks = [Path(planned.root_dir), context.settings.root, context.settings.output_dir]
    before = free_bytes(disks)
    outcome = [*_evict(context, planned), *apply(context, planned)]
    removed = tuple(one for one, trouble in outcome if not trouble)
    return Pruned(
        removed=removed,
        stayed=tuple((one, trouble) for one, trouble in outcome if trouble),
        freed_bytes=freed(disks, before, sum(one.bytes for one in removed)),
    )


def apply(
    context: Context, planned: Plan, waiting: Callable[[], object] | None = None
) -> Iterator[tuple[Resource, str]]:
    """Remove what is planned outside the store; return each with '' or why it was not removed.

    ``waiting`` is called before an image that is being built is waited for.
    """
    say = waiting or (lambda: context.say("waiting for an image that is being built"))
    outside = (one for one in planned.removals if one.kind != "store")
    for locked, group in itertools.groupby(outside, key=lambda one: one.kind in LOCKED):
        if locked:
            with one_at_a_time(context.settings, say):
                yield from _remove(context, planned, group)
        else:
            yield from _remove(context, planned, group)


def _remove(context: Context, planned: Plan, group: Iterable[Resource]) -> Iterator[tuple[Resource, str]]:
    for kind, found in itertools.groupby(group, key=lambda one: one.kind):
        if kind != "cache":
            yield from ((one, _remove_one(context, one, stop=one.id in planned.stop)) for one in found)
            continue
        records = list(found)
        went = set(context.prune_records([one.id for one in records]))
        yield from ((one, "" if one.id in went else "a build is using it") for one in records)


def _remove_one(context: Context, one: Resource, *, stop: bool) -> str:
    docker = context.docker
    if one.kind in {"image", "base image"}:
        trouble = _remove_image(context, one)
        if not trouble:
            ledger.forget(context.settings.state_dir, [one.id])
        return trouble
    if one.kind == "network":
        return docker.remove_network(one.id)
    if one.kind in {"container", "build container", "dev container"}:
        # an anonymous volume of a service may hold data
        return docker.remove_container(one.id, force=stop, volumes=one.kind != "container")
    if one.kind == "iso":
        return _remove_iso(one)
    volume = docker.volume(one.id)
    if volume and volume.created_at.timestamp() != one.used:
        return "another volume has its name by now"
    return docker.remove_volume(one.id)


def _remove_image(context: Context, one: Resource) -> str:
    """Remove our names from an image, as far as they are still its names; it goes with the last."""
    image = context.docker.image(one.id)
    if image is None:
        return ""
    have = ownership.tags_of(image)
    if not one.names:
        return "it has a name by now" if have else context.docker.remove_image(one.id)
    still = [name for name in one.names if name in have]
    if not still:
        return "it lost its name by now"
    return "; ".join(filter(None, map(context.docker.remove_image, still)))


def _remove_iso(one: Resource) -> str:
    """Remove an ISO with its files, the manifest last, if it still is the one that was planned."""
    try:
        if Path(one.id).stat().st_mtime != one.used:
            return "it changed meanwhile"
        for path in one.names:
            Path(path).unlink(missing_ok=True)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _evict(context: Context, planned: Plan) -> list[tuple[Resource, str]]:
    """Let the store remove the planned entries that no build has used since."""
    chosen = [one for one in planned.removals if one.kind == "store"]
    if not chosen:
        return []
    store = (context.settings, context.docker, planned.store_image)
    try:
        builder.evict_store(*store, StoreLimits(chosen={one.id: one.used for one in chosen}))
        left = {entry.key for entry in builder.list_store(*store)}
    except ContainerLost as error:  # the rest can be removed all the same
        return [(one, error.why) for one in chosen]
    return [(one, "a build is using it" if one.id in left else "") for one in chosen]


# ---- measuring it


def free_bytes(folders: Iterable[Path]) -> dict[int, int]:
    """Return the free bytes of folders' file systems, by device; folders that cannot be seen are left out.

    Free for root: a user's quota does not change with what root frees.
    """
    found = {}
    for folder in folders:
        try:
            status = os.statvfs(folder)
            found[folder.stat().st_dev] = status.f_bfree * status.f_frsize
        except OSError:
            continue
    return found


def freed(folders: Sequence[Path], before: Mapping[int, int], expected: int) -> int:
    """Return the bytes that became free since ``before``; negative where others wrote more.

    Some file systems free removed files only once they are told to write: where much of ``expected`` is missing,
    they are, which takes its time.
    """

    def gained() -> int:
        return sum(free - before[disk] for disk, free in free_bytes(folders).items() if disk in before)

    if gained() < expected / 2:
        os.sync()
    return gained()
