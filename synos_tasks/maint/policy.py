"""What invoke.yaml keeps, applied after a build to images, ISOs and logs. The build itself sees to the store.

It must not delay a build: it stops when its time budget is used up, and the next build continues.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.images import ledger
from synos_tasks.iso.scratch import write_whole
from synos_tasks.maint import prune, retention
from synos_tasks.maint.prune import Limits, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from synos_tasks.maint.resources import Context, Resource

SEEN = "policy-seen"
"""In .synos: the images that existed when the policy was last applied to them."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """One line for each kind that was removed, and whether the budget was enough."""

    lines: tuple[str, ...]
    in_time: bool


class _Stop(Exception):
    """The budget is used up, or an image is being built."""


def apply_all(context: Context) -> Applied:
    """Apply the policy within ``synos.maint.budget_seconds``; raises a SynosError where that fails."""
    deadline = time.monotonic() + context.settings.maint.budget_seconds

    def is_late() -> bool:
        return time.monotonic() >= deadline

    lines: list[str] = []
    for work in (_logs, _isos, _images):
        if is_late():
            return Applied(lines=tuple(lines), in_time=False)
        lines += work(context, is_late)
    return Applied(lines=tuple(lines), in_time=not is_late())


def _logs(context: Context, _is_late: Callable[[], bool]) -> Iterator[str]:
    days = context.settings.maint.logs_days
    old = retention.old_logs(context.settings, days, context.now())
    retention.delete_logs(old)
    if old:
        yield f"removed {len(old)} logs older than {days} days"


def _isos(context: Context, is_late: Callable[[], bool]) -> Iterator[str]:
    keep, limits = context.settings.maint.isos_keep, _limits(context)
    planned = prune.decide(list(prune.isos(context, limits)), limits, context.now())
    gone = _removed(context, planned.removals, is_late)
    if gone:
        yield f"removed {len(gone)} ISOs beyond the newest {keep} of each profile"


def _images(context: Context, is_late: Callable[[], bool]) -> Iterator[str]:
    """Remove images only after one was built: asking the engine takes longer than the rest."""
    keep, state = context.settings.maint.images_keep, context.settings.state_dir
    seen, known = state / SEEN, " ".join(sorted(ledger.read(state).images))
    if not keep or (seen.exists() and seen.read_text() == known):
        return
    wanted = [one for one in prune.plan(context, _limits(context)).removals if one.kind == "image"]
    gone = _removed(context, wanted, is_late)
    if len(gone) == len(wanted):  # the rest is tried again after the next build
        write_whole(seen, " ".join(sorted(ledger.read(state).images)))
    if gone:
        yield f"removed {len(gone)} images beyond the newest {keep} of each kind"


def _limits(context: Context) -> Limits:
    kept = context.settings.maint
    young = kept.young_minutes * 60
    return Limits(older_than=0.0, young=young, keep_last=kept.images_keep, keep_isos=kept.isos_keep)


def _removed(context: Context, planned: Iterable[Resource], is_late: Callable[[], bool]) -> list[Resource]:
    """Remove one resource after another until it is late, or another command builds an image."""

    def stop() -> None:
        raise _Stop

    gone: list[Resource] = []
    for one in planned:
        if is_late():
            break
        try:
            gone += [it for it, trouble in prune.apply(context, Plan(removals=(one,)), stop) if not trouble]
        except _Stop:
            break
    return gone
