"""What invoke.yaml keeps, applied after a build to logs, ISOs and images. The build itself sees to the store.

It must not delay a build: it stops when its time budget is used up, and the next build continues.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from synos_tasks.images import ledger
from synos_tasks.iso.scratch import write_whole
from synos_tasks.maint import prune
from synos_tasks.maint.prune import Limits, Plan
from synos_tasks.maint.resources import Resource, isos

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.maint.resources import Context
    from synos_tasks.settings import Settings

SEEN = "policy-seen"
"""In .synos: the images that existed when the policy was last applied to them."""
DAY = 86400.0


class _ImageLocked(Exception):
    """Another command builds an image."""


def logs(settings: Settings) -> list[Resource]:
    """Return the logs, oldest first: regular files alone, no links."""
    folder = settings.project.state_dir / "logs"
    paths = [path for ending in ("log", "log.gz") for path in folder.glob(f"*.{ending}")]
    found = [(path, path.lstat()) for path in paths if path.is_file() and not path.is_symlink()]
    every = [Resource("file", str(path), path.name, one.st_size, one.st_mtime) for path, one in found]
    return sorted(every, key=lambda log: (log.used, log.name))


def old_logs(settings: Settings, days: int, now: float) -> list[Resource]:
    """Return the logs last written more than ``days`` days ago, oldest first; 0 days: none."""
    return [log for log in logs(settings) if days and now - log.used >= days * DAY]


def apply_all(context: Context) -> tuple[list[str], bool]:
    """Apply the policy within ``synos.maint.budget_seconds``.

    Return a line for each kind that was removed, and whether the time was enough. Raises a SynosError where a step fails.
    """
    kept, lines = context.settings.maint, list[str]()
    young, deadline = kept.young_minutes * 60, time.monotonic() + kept.budget_seconds
    limits = Limits(older_than=0.0, young=young, keep_last=kept.images_keep, keep_isos=kept.isos_keep)
    for step, what in (
        (_logs, f"logs older than {kept.logs_days} days"),
        (_isos, f"ISOs beyond the newest {kept.isos_keep} of each profile"),
        (_images, f"images beyond the newest {kept.images_keep} of each kind"),
    ):
        if time.monotonic() >= deadline:
            return lines, False
        if count := step(context, limits, deadline):
            lines.append(f"removed {count} {what}")
    return lines, time.monotonic() < deadline


def _logs(context: Context, _limits: Limits, deadline: float) -> int:
    old = old_logs(context.settings, context.settings.maint.logs_days, context.now())
    return remove(context, old, deadline)


def _isos(context: Context, limits: Limits, deadline: float) -> int:
    found = list(isos(context.settings.output_dir))
    return remove(context, prune.decide(found, limits, context.now()).removals, deadline)


def _images(context: Context, limits: Limits, deadline: float) -> int:
    """Remove images only after one was built: asking the engine takes longer than the rest."""
    state = context.settings.project.state_dir
    seen, known = state / SEEN, " ".join(sorted(ledger.read(state).images))
    if not context.settings.maint.images_keep or (seen.exists() and seen.read_text() == known):
        return 0
    wanted = [one for one in prune.plan(context, limits).removals if one.kind == "image"]
    count = remove(context, wanted, deadline)
    if count == len(wanted):  # the rest is tried again after the next build
        write_whole(seen, " ".join(sorted(ledger.read(state).images)))
    return count


def remove(context: Context, found: Sequence[Resource], deadline: float = math.inf) -> int:
    """Remove one resource after another until the deadline, or until another command builds an image."""

    def stop() -> None:
        raise _ImageLocked

    count = 0
    with suppress(_ImageLocked):
        for _, trouble in prune.apply(context, Plan(removals=tuple(found)), stop):
            count += not trouble
            if time.monotonic() >= deadline:
                break
    return count
