"""What invoke.yaml says is kept, seen to after a build: images, ISOs and logs. The store sees to itself, in the build.

It must not cost a build anything that matters: it ends when its time is up, and the next one goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.images import ledger
from synos_tasks.iso.scratch import write_whole
from synos_tasks.maint import apply, isos, prune, retention
from synos_tasks.maint.plan import Limits, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from synos_tasks.maint.session import Session
    from synos_tasks.maint.things import Thing

SEEN = "policy-seen"
"""In .synos: which images were there when they were last seen to."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What went: a line for each kind, and whether time was up before all was seen to."""

    lines: tuple[str, ...]
    in_time: bool


def apply_all(session: Session) -> Applied:
    """See to all of it within ``synos.maint.budget_seconds``; raises a SynosError where one of them cannot be done."""
    deadline = time.monotonic() + session.settings.maint.budget_seconds
    lines: list[str] = []
    for work in (_logs, _isos, _images):
        if time.monotonic() >= deadline:
            return Applied(lines=tuple(lines), in_time=False)
        lines += work(session, lambda: time.monotonic() >= deadline)
    return Applied(lines=tuple(lines), in_time=time.monotonic() < deadline)


def _logs(session: Session, _late: Callable[[], bool]) -> Iterator[str]:
    days = session.settings.maint.logs_days
    old = retention.old_logs(session.settings, days, session.now())
    retention.delete_logs(old)
    if old:
        yield f"removed {len(old)} logs older than {days} days"


def _isos(session: Session, late: Callable[[], bool]) -> Iterator[str]:
    """Remove the oldest ISOs of each profile. What a link points to stays, and what is not whole is not touched."""
    keep, output = session.settings.maint.isos_keep, session.settings.output_dir
    if not keep:
        return
    found, _ = isos.builds(output)
    linked = isos.linked(output)
    old = retention.expired(found, now=session.now(), keep_last=keep, group=lambda one: one.profile)
    for one in old:
        if one.iso.name in linked:
            continue
        if late():
            return
        for path in one.files:  # the manifest last: without it the rest is not known as ours
            path.unlink(missing_ok=True)
        yield f"{one.iso.name} is gone: synos.maint.isos_keep is {keep}"


def _images(session: Session, late: Callable[[], bool]) -> Iterator[str]:
    """Remove images beyond the newest, where one was built since: to ask the engine takes longer than the rest."""
    keep, state = session.settings.maint.images_keep, session.settings.state_dir
    seen = state / SEEN
    if not keep or (seen.exists() and seen.read_text() == _known(session)):
        return
    limits = Limits(older_than=0.0, young=session.settings.maint.young_minutes * 60, keep_last=keep)
    wanted = [thing for thing in prune.plan(session, limits).plan.gone if thing.kind == "image"]
    gone = _removed(session, wanted, late)
    if len(gone) == len(wanted):  # what stayed is tried again after the next build
        write_whole(seen, _known(session))
    if gone:
        yield f"{len(gone)} images beyond the newest {keep} of each kind are gone"


def _removed(session: Session, things: Iterable[Thing], late: Callable[[], bool]) -> list[Thing]:
    """Remove images until it is late, or another command builds one."""
    gone: list[Thing] = []
    for thing in things:
        if late():
            break
        try:
            outcome = list(apply.apply(session, Plan(gone=(thing,), kept=()), _give_up))
        except _Busy:
            break
        gone += [one for one, trouble in outcome if not trouble]
    return gone


class _Busy(Exception):
    """An image is being built."""


def _give_up() -> None:
    raise _Busy


def _known(session: Session) -> str:
    return " ".join(sorted(ledger.read(session.settings.state_dir).images))
