"""Carries a plan out, one thing after another: whatever came into use meanwhile stays, and is told."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from synos_tasks.images import ledger
from synos_tasks.images.building import one_at_a_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from synos_tasks.maint.plan import Plan
    from synos_tasks.maint.session import Session
    from synos_tasks.maint.things import Thing

LOCKED = ("image", "cache", "base image")
"""What the build of an image may be about to use, so that it is waited for."""


def apply(
    session: Session, plan: Plan, waiting: Callable[[], object] | None = None
) -> Iterator[tuple[Thing, str]]:
    """Remove what a plan says, giving each thing with what kept it, or '' when it is gone; the store's come elsewhere.

    ``waiting`` is called before an image that is being built is waited for. Can be cut short at any moment: what
    is left is found again by the next plan.
    """
    tell = waiting or (lambda: session.say("waiting for an image that is being built"))
    for locked, group in itertools.groupby(plan.gone, key=lambda thing: thing.kind in LOCKED):
        if not locked:
            yield from _remove(session, group)
            continue
        with one_at_a_time(session.settings, tell):
            yield from _remove(session, group)


def _remove(session: Session, things: Iterable[Thing]) -> Iterator[tuple[Thing, str]]:
    for kind, group in itertools.groupby(things, key=lambda thing: thing.kind):
        if kind == "cache":
            yield from _records(session, list(group))
        else:
            yield from ((thing, _one(session, thing)) for thing in group if kind != "store")


def _records(session: Session, things: Sequence[Thing]) -> Iterator[tuple[Thing, str]]:
    gone = set(session.removal.records([thing.id for thing in things]))
    for thing in things:
        yield thing, "" if thing.id in gone else "a build is using it"


def _one(session: Session, thing: Thing) -> str:
    removal = session.removal
    if thing.kind in {"image", "base image"}:
        trouble = removal.image(thing.id, thing.names)
        if not trouble:
            ledger.forget(session.settings.state_dir, [thing.id])
        return trouble
    if thing.kind == "network":
        return removal.network(thing.id)
    if thing.kind in {"container", "build container", "dev container"}:
        # an anonymous volume of a service may hold data; the others' hold what was being worked on
        return removal.container(thing.id, volumes=thing.kind != "container")
    return removal.volume(thing.id, thing.used)
