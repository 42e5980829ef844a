"""Prune: read facts, make a plan, apply it one exact id at a time, measure what it freed."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import builder, locks
from synos_tasks.console import human_seconds
from synos_tasks.errors import ContainerLost, OutputNotWritable, SettingsError
from synos_tasks.images import catalog, ledger
from synos_tasks.images.building import one_at_a_time
from synos_tasks.iso import scratch
from synos_tasks.iso.eviction import Limits as StoreLimits
from synos_tasks.maint import ownership
from synos_tasks.maint.exports import fresh_backups
from synos_tasks.maint.resources import NAMES, Facts, Resource, isos, kind_of_volume, resources, stored
from synos_tasks.project import ID_FILE, LEASES, SETUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from synos_tasks.maint.ownership import Inventory
    from synos_tasks.maint.resources import Context

ORDER = tuple(NAMES)
AT_ANY_AGE = ("build container", "scratch volume", "network", "data volume")
"""Left by a killed command, or quickly created again, or asked for by an option of its own."""
LOCKED = ("image", "cache")
"""Kinds that the build of an image may be about to use. So they are removed under the lock of such builds."""
OPTIONS = {
    "cache": "cache",
    "store": "store",
    "cache volume": "all",
    "dev container": "all",  # something may have been installed in it
}
"""The option of `maint.prune` without which a kind stays; --all includes the others."""
NEEDED = "something that stays needs it"
STAYS = (ID_FILE, SETUP, LEASES, "backups", "volumes")
"""In .synos, after a reset: the project's id, what inv itself runs with, leases, backups, and exported volumes."""
SECRETS = "services"
"""In .synos: passwords, without which the data of a volume cannot be reached."""


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


RESET = Limits(older_than=0.0, young=0.0, keep_last=0, cache=True, volumes=True, factory_reset=True)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is removed, in that order, and what is kept, with its reason."""

    removals: tuple[Resource, ...] = ()
    kept: tuple[Resource, ...] = ()
    store_image: str = ""
    """The image to evict the planned entries of the store with: the Dockerfile may change meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What a prune did.

    ``freed_bytes`` is measured on the disks, and includes what others wrote or removed meanwhile. None where the engine's
    folder cannot be seen, as in a container that has only its socket.
    """

    removed: tuple[Resource, ...] = ()
    stayed: tuple[Resource, ...] = ()
    """What was planned, and was not removed for its reason."""
    freed_bytes: int | None = 0


def plan(context: Context, limits: Limits, inventory: Inventory | None = None) -> Plan:
    """Look at everything that belongs to this clone and decide what is removed. Changes nothing.

    Raises EngineUnavailable, HostUnfit where the engine is not on this machine, or ContainerLost.
    """
    clone, settings = context.clone(), context.settings
    inventory = inventory or context.inventory()
    owned = ownership.owned(inventory, clone)
    current = [] if limits.factory_reset else catalog.every(settings)
    # backups are read to the end, so only where they decide something
    volumes = owned.volumes if limits.volumes else ()
    data = [one for one in volumes if kind_of_volume(one, clone.project) == "data volume"]
    facts = Facts(
        inventory=inventory,
        clone=clone,
        owned=owned,
        now=context.now(),
        current=frozenset(one.tag(settings.project) for one in current),
        # after the inventory: a lease is older than what it is for
        leased=locks.held(settings.project.leases),
        backups=fresh_backups(settings, data, context.now()),
        factory_reset=limits.factory_reset,
    )
    found = [*resources(facts), *isos(settings.output_dir, pin_linked=not limits.factory_reset)]
    image = ""
    if limits.store or limits.include_rebuildable:
        has_store = context.docker.volume(settings.project.store_volume) is not None
        image = context.docker.image_id(catalog.BUILDER.tag(settings.project)) or "" if has_store else ""
        if image:
            found += stored(context, image)
        elif has_store:
            context.say(
                "the store was not read: there is no builder image to do it; inv build.image makes one"
            )
        elif limits.store:
            context.say("there is no store")
    return replace(decide(found, limits, facts.now), store_image=image)


def plan_reset(context: Context, *, keep_isos: bool, without_backup: bool) -> Plan:
    """Plan to remove everything that this clone made. Changes nothing.

    Raises SettingsError while a build runs, and where a volume's data is in no fresh backup unless ``without_backup``.
    """
    planned = plan(context, RESET)
    if builds := [one.name for one in planned.kept if one.kind == "build container"]:
        what = "a build, or another command that works in a container, is running"
        raise SettingsError(what, where=builds[0], hint="wait until it is done, or end it with Ctrl-C")
    removals = [one for one in planned.removals if not (keep_isos and one.kind == "iso")]
    lost = [one.name for one in removals if one.kind == "data volume" and not one.backup]
    if lost and not without_backup:
        what = "data would be lost: there is no fresh backup of it"
        hint = "inv services.backup, or inv maint.volumes --export NAME; --without-backup gives it up"
        raise SettingsError(what, where=", ".join(lost), hint=hint)
    return replace(planned, removals=(*removals, *files(context, removals)))


def files(context: Context, removals: Sequence[Resource]) -> Iterator[Resource]:
    """Return what a reset removes in .synos, and the links to ISOs that it removes."""
    state = context.settings.project.state_dir
    data = [one.id for one in removals if one.kind == "data volume"]
    # a lock file that is removed no longer excludes those who wait for it
    found = [path for path in scratch.entries(state) if path.name not in STAYS and path.suffix != ".lock"]
    isos = {one.name for one in removals if one.kind == "iso"}
    links = (path for path in scratch.entries(context.settings.output_dir, "*.iso") if path.is_symlink())
    found += [path for path in links if path.readlink().name in isos]
    for path in found:
        size = sum(each.lstat().st_blocks * 512 for each in (path, *path.rglob("*")))
        needed_by = tuple(data if path.name == SECRETS else ())
        yield Resource("file", str(path), path.name, size, path.lstat().st_mtime, needed_by=needed_by)


def decide(found: Sequence[Resource], limits: Limits, now: float) -> Plan:
    """Decide about each resource. Pure; ``now`` in seconds since 1970."""
    reasons = {one.id: one.pinned for one in found} if limits.factory_reset else _reasons(found, limits, now)

    def is_needed(one: Resource) -> bool:  # also by a resource of others, which stays
        return any(reasons.get(user, "foreign") for user in one.needed_by)

    while needed := [one.id for one in found if not reasons[one.id] and is_needed(one)]:
        reasons.update(dict.fromkeys(needed, NEEDED))
    decided = [replace(one, reason=reasons[one.id]) for one in found]
    decided.sort(key=lambda one: (ORDER.index(one.kind), one.used, one.name))
    return Plan(
        removals=tuple(one for one in decided if not one.reason),
        kept=tuple(one for one in decided if one.reason),
    )


def _reasons(found: Iterable[Resource], limits: Limits, now: float) -> dict[str, str]:
    """Return why each resource is kept, by id; '' where it is removed."""
    newer: Counter[tuple[str, str]] = Counter()
    reasons = {}
    for one in sorted(found, key=lambda one: (-one.used, one.name, one.id)):
        group = one.kind, one.group
        is_young = now - one.used < limits.young and one.kind != "build container"  # they have leases
        young = "created or used a moment ago" if is_young else ""
        recent = _recent(one, limits, now - one.used, newer[group])
        reasons[one.id] = one.pinned or young or _not_asked_for(one, limits) or recent
        newer[group] += 1
    return reasons


def _not_asked_for(one: Resource, limits: Limits) -> str:
    if one.kind == "iso":
        return "" if limits.keep_isos else "synos.maint.isos_keep is 0: all are kept"
    if one.kind == "data volume":
        if not limits.volumes:
            return "holds data: removed with --volumes only"
        return "" if one.backup else "holds data, and there is no fresh backup of it"
    option = OPTIONS.get(one.kind)
    asked = limits.include_rebuildable or {"cache": limits.cache, "store": limits.store}.get(option or "")
    return f"removed with --{option} only" if option and not asked else ""


def _recent(one: Resource, limits: Limits, age: float, newer: int) -> str:
    """Return whether a resource is one of the newest of its group, or was used recently; '' for neither."""
    keep_last = limits.keep_isos if one.kind == "iso" else max(1, limits.keep_last)
    if one.group and newer < keep_last:
        return f"one of the newest {keep_last}" if newer else "the newest"
    return f"only {human_seconds(age)} old" if age < limits.older_than and one.kind not in AT_ANY_AGE else ""


def carry_out(context: Context, planned: Plan) -> Pruned:
    """Do what a plan says. It can be cut short at any moment: the next plan finds the rest."""
    root = context.docker.info().docker_root_dir
    engine = [Path(root)] if root else []
    disks = [*engine, context.settings.project.root, context.settings.output_dir]
    before, sees_engine = free_bytes(disks), bool(free_bytes(engine))
    outcome = list(apply(context, planned))
    removed = tuple(one for one in outcome if not one.reason)
    return Pruned(
        removed=removed,
        stayed=tuple(one for one in outcome if one.reason),
        freed_bytes=freed(disks, before, sum(one.bytes for one in removed)) if sees_engine else None,
    )


def apply(context: Context, planned: Plan, waiting: Callable[[], object] | None = None) -> Iterator[Resource]:
    """Remove what is planned; return each, with the reason where it was not removed. Raises OutputNotWritable.

    ``waiting`` is called before an image that is being built is waited for.
    """
    say, stayed = waiting or (lambda: context.say("waiting for an image that is being built")), set[str]()
    for kind, alike in itertools.groupby(planned.removals, key=lambda one: one.kind):
        found = list(alike)
        with one_at_a_time(context.settings, say) if kind in LOCKED else nullcontext():
            reasons = _remove_together(context, planned, kind, found)
            for one in found:
                if one.id not in reasons:
                    is_needed = not stayed.isdisjoint(one.needed_by)
                    reasons[one.id] = NEEDED if is_needed else _remove_one(context, one)
                if reasons[one.id]:
                    stayed.add(one.id)
                yield replace(one, reason=reasons[one.id])


def _remove_together(context: Context, planned: Plan, kind: str, found: Sequence[Resource]) -> dict[str, str]:
    """Remove entries of the store, or records of the cache; return why each was not removed. {} for other kinds."""
    if kind == "cache":
        gone = set(context.prune_records([one.id for one in found]))
    elif kind == "store":
        image = planned.store_image
        try:
            builder.evict_store(context, image, StoreLimits(chosen={one.id: one.used for one in found}))
            gone = {one.id for one in found} - {entry.key for entry in builder.list_store(context, image)}
        except ContainerLost as error:  # the rest can be removed all the same
            return {one.id: error.why or error.what for one in found}
    else:
        return {}
    return {one.id: "" if one.id in gone else "a build is using it" for one in found}


def _remove_one(context: Context, one: Resource) -> str:
    docker = context.docker
    match one.kind:
        case "image":
            trouble = _remove_image(context, one)
            if not trouble:
                ledger.forget(context.settings.project.state_dir, [one.id])
        case "network":
            trouble = docker.remove_network(one.id)
        case "container" | "running container":  # an anonymous volume of a service may hold data
            trouble = docker.remove_container(one.id, force=one.kind == "running container", volumes=False)
        case "build container" | "dev container":
            trouble = docker.remove_container(one.id, force=one.kind == "build container")
        case "iso":
            trouble = _remove_iso(one)
        case "file":
            trouble = _remove_file(Path(one.id))
        case _:
            volume = docker.volume(one.id)
            if volume and volume.created_at.timestamp() != one.used:
                return "another volume has its name by now"
            trouble = docker.remove_volume(one.id)
    return trouble


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


def _remove_file(path: Path) -> str:
    """Remove a file or folder; raises OutputNotWritable."""
    why = "files in it belong to another user: services keep their passwords as their own"
    try:
        scratch.remove(path)
    except OSError as error:
        why = error.strerror or str(error)
    if os.path.lexists(path):
        hint = f"sudo rm -r {path}, then run this again"
        raise OutputNotWritable("some files cannot be removed", where=str(path), why=why, hint=hint)
    return ""


def free_bytes(folders: Iterable[Path]) -> dict[int, int]:
    """Return the free bytes of folders' file systems, by device; folders that cannot be seen are left out.

    Free for root: a user's quota does not change with what root frees.
    """
    found = {}
    for folder in folders:
        with suppress(OSError):
            status = os.statvfs(folder)
            found[folder.stat().st_dev] = status.f_bfree * status.f_frsize
    return found


def freed(folders: Sequence[Path], before: Mapping[int, int], expected: int) -> int:
    """Return the bytes that became free since ``before``; negative where others wrote more.

    Some file systems free removed files only once they are made to write: where much of ``expected`` is missing,
    they are, which takes its time.
    """
    for synced in (False, True):
        after = free_bytes(folders)
        gained = sum(free - before[disk] for disk, free in after.items() if disk in before)
        if synced or gained >= expected / 2:
            break
        os.sync()
    return gained
