"""What invoke.yaml keeps, applied after a build to logs, ISOs and images. The build itself sees to the store.

It must not delay a build: it stops when its time budget is used up, and the next build continues.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from synos_tasks.images import ledger
from synos_tasks.iso.scratch import write_whole
from synos_tasks.maint import prune, retention
from synos_tasks.maint.prune import Limits, Plan
from synos_tasks.maint.resources import isos

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.maint.resources import Context, Resource

SEEN = "policy-seen"
"""In .synos: the images that existed when the policy was last applied to them."""


class _ImageLocked(Exception):
    """Another command builds an image."""


def apply_all(context: Context) -> tuple[list[str], bool]:
    """Apply the policy within ``synos.maint.budget_seconds``.

    Return a line for each kind that was removed, and whether the time was enough. Raises a SynosError where a step fails.
    """
    kept, lines = context.settings.maint, list[str]()
    deadline = time.monotonic() + kept.budget_seconds
    for remove, what in (
        (_logs, f"logs older than {kept.logs_days} days"),
        (_isos, f"ISOs beyond the newest {kept.isos_keep} of each profile"),
        (_images, f"images beyond the newest {kept.images_keep} of each kind"),
    ):
        if time.monotonic() >= deadline:
            return lines, False
        if count := remove(context, deadline):
            lines.append(f"removed {count} {what}")
    return lines, time.monotonic() < deadline


def _logs(context: Context, _deadline: float) -> int:
    old = retention.old_logs(context.settings, context.settings.maint.logs_days, context.now())
    retention.delete_logs(old)
    return len(old)


def _isos(context: Context, deadline: float) -> int:
    limits = _limits(context)
    planned = prune.decide(list(isos(context.settings.output_dir)), limits, context.now())
    return _remove(context, planned.removals, deadline)


def _images(context: Context, deadline: float) -> int:
    """Remove images only after one was built: asking the engine takes longer than the rest."""
    state = context.settings.state_dir
    seen, known = state / SEEN, " ".join(sorted(ledger.read(state).images))
    if not context.settings.maint.images_keep or (seen.exists() and seen.read_text() == known):
        return 0
    wanted = [one for one in prune.plan(context, _limits(context)).removals if one.kind == "image"]
    count = _remove(context, wanted, deadline)
    if count == len(wanted):  # the rest is tried again after the next build
        write_whole(seen, " ".join(sorted(ledger.read(state).images)))
    return count


def _limits(context: Context) -> Limits:
    kept = context.settings.maint
    young = kept.young_minutes * 60
    return Limits(older_than=0.0, young=young, keep_last=kept.images_keep, keep_isos=kept.isos_keep)


def _remove(context: Context, planned: Sequence[Resource], deadline: float) -> int:
    """Remove one resource after another until the deadline, or until another command builds an image."""

    def stop() -> None:
        raise _ImageLocked

    count = 0
    for one in planned:
        if time.monotonic() >= deadline:
            break
        try:
            count += sum(not trouble for _, trouble in prune.apply(context, Plan(removals=(one,)), stop))
        except _ImageLocked:
            break
    return count
