"""What a person sees of a build: its plan compared with what is there, its container, and each stage as it runs."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from synos_tasks import builder, console
from synos_tasks.build import planning
from synos_tasks.build.containers import builder_spec
from synos_tasks.errors import MirrorUnreachable
from synos_tasks.iso import codec, protocol
from synos_tasks.iso import lock as locks
from synos_tasks.iso.lock import Lock
from synos_tasks.iso.plan import COMPONENT, Plan
from synos_tasks.iso.publish import published
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from rich.progress import Progress, Task, TaskID

    from synos_tasks.build.iso_build import Options
    from synos_tasks.build.planning import Context
    from synos_tasks.iso.plan import Stage
    from synos_tasks.settings import Settings

# made at each build: that takes less time than to keep them
NEVER_STORED = ("bootfiles", "iso")
GONE = "no longer in the store"
WORDS = {
    "code": "the code of this stage changed",
    "tools": "the tools of its image changed",
    "date": "the lock's date changed",
    "order": "other files",
    "said": "what the profile says of it changed",
    "build": "",
    "recipe": "its recipe changed",
    "source": "its source or a patch changed",
    "components": "other components",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of one stage. ``bytes`` and ``seconds`` are None where that is not known."""

    name: str
    key: str
    where: str
    """Which store has it: local or remote; make: none."""
    why: str
    bytes: int | None
    seconds: float | None
    download_bytes: int = 0
    """From the remote store, or else the packages that it needs; those in the pool are not fetched again."""

    @property
    def hit(self) -> bool:
        """Whether this machine has it."""
        return self.where == "local"

    @property
    def is_component(self) -> bool:
        """Tell whether it is compiled."""
        return self.name.startswith(f"{COMPONENT}-")


def plan_of(context: Context, options: Options, *, resolving: bool = False) -> tuple[Plan, str]:
    """Return the plan of a build, and the state of its lock: fits, stale or missing.

    A build renews a stale lock first, which keeps the packages that stay. Without one it resolves all. So does the
    plan of a build if ``resolving``, but writes no lock; where no mirror answers, that is said.
    """
    profile = planning.read_profile(context.settings, options.profile)
    request = locks.request_of(profile)
    lock, state = locks.load(planning.lock_path(context.settings, profile.name)), "stale"
    if lock:
        locks.refuse_new_keys(lock, profile)
    if lock is None:
        lock, state = Lock(request=request, epoch=0, packages=()), "missing"
    elif lock.request == request:
        state = "fits"
    if resolving and state != "fits":
        try:
            lock = planning.resolve(context, profile)[0]
            context.say(f"the lock is {state}: planned with what the mirrors have; a build writes it")
        except MirrorUnreachable as error:
            why = f"{error.what} ({error.where})"
            context.say(
                f"the lock is {state}: a build asks the mirrors first, which may add packages, but {why}"
            )
    return planning.plan_build(context, profile, lock, release=options.release), state


def view(context: Context, options: Options) -> tuple[list[Row], str]:
    """Compare a plan with what is there; return its stages, and the state of its lock as plan_of() does.

    Raises ProfileError, PackageNotFound, LockError, EngineUnavailable. Unless dry, the builder image is built where it
    is missing, resolves where the lock does not fit, and reads the store.
    """
    settings = context.settings
    plan, state = plan_of(context, options, resolving=not context.dry)
    there = published(options.output, plan) if state == "fits" else None
    sizes = {stage["name"]: int(stage["bytes"]) for stage in there["stages"]} if there else {}
    locked = bool(plan.lock.packages) or state == "fits"
    entries, remote = _entries(context, plan) if locked and not context.dry else ({}, {})
    last = last_plan(settings, plan.profile.name)
    expected = builder.expected_seconds(settings, plan.profile.name)
    rows = []
    for stage in plan.stages:
        hit = stage.key in entries or there is not None
        far = None if hit else remote.get(stage.key)
        why = "" if hit or far else reason(stage, plan, last) if locked else "no lock yet"
        found = entries.get(stage.key, far)
        packages = 0 if hit else sum(one.size for one in plan.lock.layer(stage.name))
        rows.append(
            Row(
                name=stage.name,
                key=stage.key,
                where="local" if hit else "remote" if far else "make",
                why="the store was not asked" if context.dry and why == GONE else why,
                bytes=found.bytes if found else sizes.get(stage.name),
                seconds=0.0 if hit or far else expected.get(stage.name),
                download_bytes=far.bytes if far else packages,
            )
        )
    return rows, state


def estimate(rows: Sequence[Row]) -> str:
    """Return what is known of the work that a plan means: how long it takes, and what is fetched."""
    waiting = [row for row in rows if not row.hit]
    if not waiting:
        return "nothing to do: the ISO is there"
    todo = [row for row in waiting if row.where == "make"]
    known = [row.seconds for row in todo if row.seconds is not None]
    text = f"about {sum(known):.0f} s of work"
    if len(known) < len(todo):
        unknown = f"{len(todo) - len(known)} stages were never timed here"
        text = (
            f"{text} in {len(known)} stages; {unknown}"
            if known
            else f"how long it takes is not known: {unknown}"
        )
    size = sum(row.download_bytes for row in todo)
    far = sum(row.download_bytes for row in waiting) - size
    text += f"; packages: at most {console.human_bytes(size)} to download" if size else ""
    return f"{text}; stages: {console.human_bytes(far)} from the remote store" if far else text


def reason(stage: Stage, plan: Plan, last: Plan | None) -> str:
    """Return why a stage is not there: which of its inputs changed since the last build of the profile."""
    if stage.kind in NEVER_STORED:
        return "made each time"
    if last is None:
        return "no earlier build known"
    before = next((one for one in last.stages if one.name == stage.name), None)
    if before is None:
        return f"packages: {_packages(stage.name, plan, last)}" if stage.kind == "packages" else "new"
    if before.key == stage.key:
        return GONE
    reasons, below = [], []
    for name in stage.why:
        if before.why.get(name) == stage.why[name]:
            continue
        if name.startswith("stage "):
            below.append(name.removeprefix("stage "))
        elif name == "packages":
            reasons.append(f"packages: {_packages(stage.name, plan, last)}")
        else:
            reasons.append(WORDS.get(name, f"{name.removeprefix('file ')} changed"))
    if below and not any(reasons):
        return f"follows {', '.join(below)}"
    return "; ".join(text for text in reasons if text) or "the build's number changed"


def _packages(layer: str, plan: Plan, last: Plan) -> str:
    """Return `+tmux -less`, or else which versions changed."""
    asked, before = (set(dict(p.profile.layers).get(layer, ())) for p in (plan, last))
    words = [f"+{name}" for name in sorted(asked - before)] + [f"-{name}" for name in sorted(before - asked)]
    if not words:
        old, new = ({p.name: (*p.ident, p.sha256) for p in one.lock.layer(layer)} for one in (last, plan))
        words = [
            f"{name} {new[name][1] if name in new else 'gone'}"
            for name in sorted(old | new)
            if old.get(name) != new.get(name)
        ]
    return " ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")


def last_plan(settings: Settings, profile: str) -> Plan | None:
    """Return the plan of the last build of a profile; None where there is none that can be read."""
    try:
        return codec.from_data(Plan, json.loads(_path(settings, profile).read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remember(settings: Settings, plan: Plan, stages: Iterable[protocol.Done]) -> None:
    """Store the plan of a build that was done, and the seconds of the stages that it made."""
    profile = plan.profile.name
    write_whole(_path(settings, profile), json.dumps(codec.to_data(plan)))
    made = {stage.name: stage.seconds for stage in stages if not stage.hit}
    builder.remember_seconds(settings, profile, made)


def _path(settings: Settings, profile: str) -> Path:
    return settings.project.state_dir / "plans" / f"{profile}.json"


def keys_of(plan: Plan) -> tuple[str, ...]:
    """Return all keys under which a store may have a plan's stages: which initramfs an ISO needs, its layers tell."""
    return (*(stage.key for stage in plan.stages), *_initramfs_keys(plan).values())


def _initramfs_keys(plan: Plan) -> dict[str, str]:
    layers = [layer.key for layer in plan.layers]
    return {layer: plan.initramfs_key(layers[: index + 1]) for index, layer in enumerate(layers) if index}


def _entries(context: Context, plan: Plan) -> tuple[dict[str, protocol.Present], dict[str, protocol.Present]]:
    """Ask the store of this machine, and the remote one for the rest, which keys they have."""
    keys, found, far = keys_of(plan), dict[str, protocol.Present](), dict[str, protocol.Present]()
    if context.docker.volume(context.settings.project.store_volume):
        spec = builder_spec(context, network=False)
        found |= builder.ask(context, spec, protocol.Inspect(keys=keys), protocol.Entries).entries
    if context.settings.build.store:
        far |= _remote_entries(context, set(keys) - found.keys())
    touching = [key for key, entry in {**far, **found}.items() if entry.initramfs]
    if needed := plan.initramfs_layers(touching):  # the base's own is not the one that the ISO needs
        stage, other = plan.stage("initramfs"), _initramfs_keys(plan)[needed[-1]]
        for entries in (found, far):
            entries.pop(stage.key, None)
            if other in entries:
                entries[stage.key] = entries[other]
    return found, far


def _remote_entries(context: Context, keys: Collection[str]) -> dict[str, protocol.Present]:
    from synos_tasks.build.remote import remote_of  # noqa: PLC0415  (most projects have none)

    remote = remote_of(context)
    described = remote.describe(keys) if remote else {}
    return {
        key: protocol.Present(bytes=one.bytes, initramfs=bool(one.facts.get("initramfs")))
        for key, one in described.items()
    }


def _found_in(event: protocol.Done) -> str:
    """Return where the result of a stage was found; '' where it was made."""
    return "fetched" if event.fetched else "in store" if event.hit else ""


class PlainView(AbstractContextManager["PlainView"]):
    """Print a line when a stage ends, for logs and pipes."""

    def __exit__(self, *exc: object) -> None:
        """Leave the screen as it is."""

    def handle(self, event: protocol.Event) -> None:
        """Show one event."""
        if isinstance(event, protocol.Start):
            console.say(f"{event.stage:<24} started")
        elif isinstance(event, protocol.Done):
            how = _found_in(event) or "done"
            size = console.human_bytes(event.bytes)
            console.say(f"{event.name:<24} {how:<8} {event.seconds:>6.1f} s  {size:>9}")


class LiveView(PlainView):
    """Draw a bar per stage: by the seconds of the last build, else the fraction that its tool reports.

    Both give percent, and the seconds that are left.
    """

    def __init__(self, stages: list[str], expected: Mapping[str, float]) -> None:
        """Prepare a bar for each stage, on standard error."""
        from rich.console import Console  # noqa: PLC0415  (heavy)
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        self._expected = expected
        self._progress: Progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[size]:>9}"),
            TextColumn("{task.fields[time]}"),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self._tasks: dict[str, TaskID] = {
            stage: self._progress.add_task(stage, total=None, start=False, size="", time="waiting")
            for stage in stages
        }

    def __enter__(self) -> Self:
        """Start to draw."""
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop drawing; what was drawn stays."""
        for task in self._running():
            self._set(task.description, time="stopped")
        self._progress.stop()

    def handle(self, event: protocol.Event) -> None:
        """Draw one event; any event moves the clocks of running stages."""
        if isinstance(event, protocol.Start) and event.stage in self._tasks:
            self._progress.start_task(self._tasks[event.stage])
        elif isinstance(event, protocol.Progress):
            self._set(event.stage, total=1.0, completed=min(0.99, event.fraction))
        elif isinstance(event, protocol.Done):
            took = _found_in(event) or f"{event.seconds:.1f} s"
            self._set(event.name, total=1.0, completed=1.0, size=console.human_bytes(event.bytes), time=took)
        for task in self._running():
            elapsed, expected = task.elapsed or 0.0, self._expected.get(task.description)
            if expected:
                self._set(task.description, total=1.0, completed=min(0.99, elapsed / expected))
            elif task.total and task.completed:
                expected = elapsed / task.completed
            self._set(task.description, time=progress_text(elapsed, expected))

    def _running(self) -> list[Task]:
        return [task for task in self._progress.tasks if task.started and not task.finished]

    def _set(self, stage: str, **fields: Any) -> None:  # noqa: ANN401
        if stage in self._tasks:
            self._progress.update(self._tasks[stage], **fields)


def progress_text(elapsed: float, expected: float | None) -> str:
    """Return how far a stage is: the seconds so far, and where its whole time is ``expected``, percent and the time left."""
    if not expected:
        return f"{elapsed:.0f} s"
    if elapsed >= expected:
        return f"{elapsed:.0f} s, longer than the {expected:.0f} s expected"
    return f"{elapsed:.0f} s  {100 * elapsed / expected:>2.0f} %  about {expected - elapsed:.0f} s left"


def view_for(stages: list[str], expected: Mapping[str, float]) -> PlainView:
    """Return the view that fits the output; ``expected`` has the seconds of stages that are known."""
    return PlainView() if console.is_plain() else LiveView(stages, expected)
