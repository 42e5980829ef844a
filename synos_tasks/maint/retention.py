"""What invoke.yaml keeps, applied after a build to logs, ISOs and images. The build itself sees to the store.

It must not delay a build: it stops when its time budget is used up, and the next build continues.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from synos_tasks.images import ledger
from synos_tasks.iso.scratch import entries, write_whole
from synos_tasks.maint import prune
from synos_tasks.maint.prune import Limits, Plan
from synos_tasks.maint.resources import Resource, isos

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synos_tasks.maint.resources import Context
    from synos_tasks.settings import Settings

SEEN = "policy-seen"
"""In .synos: the images that existed when the policy was last applied to them."""
DAY = 86400.0


def logs(settings: Settings) -> list[Resource]:
    """Return the logs, oldest first: regular files alone, no links."""
    paths = entries(settings.project.state_dir / "logs", "*.log")
    found = [(path, path.stat()) for path in paths if path.is_file() and not path.is_symlink()]
    every = [Resource("file", str(path), path.name, one.st_size, one.st_mtime) for path, one in found]
    return sorted(every, key=lambda log: (log.used, log.name))


def old_logs(settings: Settings, days: int, now: float) -> list[Resource]:
    """Return the logs last written more than ``days`` days ago, oldest first; 0 days: none."""
    return [log for log in logs(settings) if days and now - log.used >= days * DAY]


def apply_all(context: Context) -> tuple[list[str], bool]:
    """Apply the policy within ``synos.maint.budget_seconds``.

    Return a line for each kind that was removed, and whether the time was enough. Raises a SynosError where a step fails.
    """
    kept, now, lines = context.settings.maint, context.now(), list[str]()
    young, deadline = kept.young_minutes * 60, time.monotonic() + kept.budget_seconds
    limits = Limits(older_than=0.0, young=young, keep_last=kept.images_keep, keep_isos=kept.isos_keep)
    steps: tuple[tuple[str, Callable[[], Sequence[Resource]]], ...] = (
        (f"logs older than {kept.logs_days} days", lambda: old_logs(context.settings, kept.logs_days, now)),
        (
            f"ISOs beyond the newest {kept.isos_keep} of each profile",
            lambda: prune.decide(list(isos(context.settings.output_dir)), limits, now).removals,
        ),
        (f"images beyond the newest {kept.images_keep} of each kind", lambda: _images(context, limits)),
    )
    for what, expired in steps:
        if time.monotonic() >= deadline:
            return lines, False
        found = expired()
        if count := remove(context, found, deadline):
            lines.append(f"removed {count} {what}")
    if kept.images_keep and count == len(found):  # else the rest is tried again after the next build
        write_whole(context.settings.project.state_dir / SEEN, _built(context))
    return lines, time.monotonic() < deadline


def _images(context: Context, limits: Limits) -> Sequence[Resource]:
    """Return nothing unless an image was built: asking the engine takes longer than the rest."""
    seen = context.settings.project.state_dir / SEEN
    if not limits.keep_last or (seen.exists() and seen.read_text() == _built(context)):
        return ()
    return [one for one in prune.plan(context, limits).removals if one.kind == "image"]


def _built(context: Context) -> str:
    return " ".join(sorted(ledger.read(context.settings.project.state_dir).images))


def remove(context: Context, found: Sequence[Resource], deadline: float = math.inf) -> int:
    """Remove one resource after another until the deadline, or until another command builds an image."""
    count = 0
    with suppress(BlockingIOError):
        for one in prune.apply(context, Plan(removals=tuple(found)), _do_not_wait):
            count += not one.reason
            if time.monotonic() >= deadline:
                break
    return count


def _do_not_wait() -> None:
    raise BlockingIOError
