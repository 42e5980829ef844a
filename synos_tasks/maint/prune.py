"""`inv maint.prune`: facts, a plan, a question, and what was really freed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.engine.volumes import LIVE
from synos_tasks.errors import ContainerLost
from synos_tasks.iso import housekeeping
from synos_tasks.maint import apply, backing, facts, measure, ownership
from synos_tasks.maint import plan as plans
from synos_tasks.maint.store import store_of
from synos_tasks.maint.things import Thing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synos_tasks.engine.inventory import Inventory
    from synos_tasks.iso.housekeeping import Kept
    from synos_tasks.maint.plan import Limits, Plan
    from synos_tasks.maint.session import Session
    from synos_tasks.maint.store import StoreOf


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What a prune did. ``freed_bytes`` is measured on the disks, and so has what others wrote or removed meanwhile."""

    removed: tuple[Thing, ...]
    stayed: tuple[tuple[Thing, str], ...]
    """What was to go, and what kept it."""
    freed_bytes: int


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan, and the place of the engine's files."""

    plan: Plan
    root_dir: str
    store: StoreOf | None = None
    """Where something in the store goes."""


def plan(session: Session, limits: Limits, inventory: Inventory | None = None) -> Planned:
    """Look at all that is this clone's, and say what goes; changes nothing. ``inventory``: what was seen already.

    Raises EngineUnavailable, HostUnfit where the engine is not this machine's, or ContainerLost.
    """
    clone = session.clone()
    inventory = inventory or session.inventory()
    owned = ownership.owned(inventory, clone)
    context = facts.Context(
        now=session.now(),
        whole=limits.whole,
        current=frozenset() if limits.whole else session.current(),
        ended={one.id: session.ended(one) for one in owned.containers if one.state not in LIVE},
        backups=_backups(session, owned, limits),
    )
    things = facts.things(inventory, owned, clone, context)
    found = store_of(session.settings, session.engine) if limits.store or limits.everything else None
    if limits.store and found is None:
        session.say("there is no store, or no builder image to look into it with: inv build.image makes one")
    if found:
        seconds = session.history()
        things += [_stored(one, seconds) for one in found.listing()]
    return Planned(
        plan=plans.plan(things, limits, session.now()),
        root_dir=inventory.root_dir,
        store=found,
    )


def carry_out(session: Session, planned: Planned) -> Pruned:
    """Do what a plan says. Cut short at any moment, it can be planned and carried out again."""
    disks = [Path(planned.root_dir), session.settings.root]
    before = measure.free(disks)
    outcome = [*_evict(planned), *apply.apply(session, planned.plan)]
    return Pruned(
        removed=tuple(thing for thing, trouble in outcome if not trouble),
        stayed=tuple((thing, trouble) for thing, trouble in outcome if trouble),
        freed_bytes=measure.freed(disks, before, sum(one.bytes for one, trouble in outcome if not trouble)),
    )


def _backups(session: Session, owned: ownership.Owned, limits: Limits) -> dict[str, str]:
    """Read backups through only where they decide something."""
    if not (limits.volumes or limits.whole):
        return {}
    project = session.settings.project_id
    data = [one for one in owned.volumes if facts.kind_of_volume(one, project) == "data volume"]
    return backing.fresh_backups(session.settings, data, session.now())


def _stored(kept: Kept, seconds: dict[str, float]) -> Thing:
    name = f"{kept.stage} {kept.key[:12]}" if kept.stage else f"{kept.kind} {kept.key[:12]}"
    return Thing(
        kind="store",
        id=kept.key,
        name=name,
        bytes=kept.bytes,
        used=kept.last_used,
        held="a build is using it" if kept.in_use else "",
        seconds=seconds.get(kept.stage),
    )


def _evict(planned: Planned) -> Iterable[tuple[Thing, str]]:
    """Let the store remove what the plan has chosen of it, where no build has used it since."""
    chosen = [thing for thing in planned.plan.gone if thing.kind == "store"]
    if not chosen or planned.store is None:
        return []
    try:
        planned.store.evict(housekeeping.Limits(chosen={thing.id: thing.used for thing in chosen}))
        left = {kept.key for kept in planned.store.listing()}
    except ContainerLost as error:  # the rest can go all the same
        return [(thing, error.why) for thing in chosen]
    return [(thing, "a build is using it" if thing.id in left else "") for thing in chosen]
