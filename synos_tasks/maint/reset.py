"""`inv maint.reset`: remove everything that this clone made, and name it before."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import console
from synos_tasks.engine.client import LIVE
from synos_tasks.engine.labels import LABEL_ROLE
from synos_tasks.errors import OutputNotWritable, SettingsError
from synos_tasks.iso.scratch import remove
from synos_tasks.maint import ownership, prune
from synos_tasks.maint.prune import Limits, Plan
from synos_tasks.maint.resources import NAMES
from synos_tasks.project import ID_FILE, SETUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from synos_tasks.engine.client import Container
    from synos_tasks.maint.resources import Context

LIMITS = Limits(older_than=0.0, young=0.0, keep_last=0, cache=True, volumes=True, factory_reset=True)
STAYS = (ID_FILE, SETUP, "backups", "volumes")
"""In .synos: the project's id, what inv itself runs with, backups, and exported volumes."""
SECRETS = "services"
"""In .synos: passwords, without which the data of a volume cannot be reached."""
RUNNING = "services and development containers that run"
FILES = "files of this clone"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One kind of resource that is removed."""

    name: str
    count: int
    bytes: int
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Reset:
    """The plan for the engine and the ISOs, the files, and all of it as steps for people."""

    planned: Plan
    files: tuple[Path, ...]
    steps: tuple[Step, ...]


def plan(context: Context, *, keep_isos: bool, without_backup: bool) -> Reset:
    """Return what would be removed; changes nothing.

    Raises SettingsError while a build runs, and where a volume's data is in no fresh backup unless ``without_backup``.
    """
    inventory = context.inventory()
    ours = ownership.owned(inventory, context.clone()).containers
    _refuse_builds(ours)
    planned = prune.plan(context, LIMITS, inventory)
    removals = tuple(one for one in planned.removals if not (keep_isos and one.kind == "iso"))
    lost = [one.name for one in removals if one.kind == "data volume" and not one.backup]
    if lost and not without_backup:
        raise SettingsError(
            "data would be lost: there is no fresh backup of it",
            where=", ".join(lost),
            hint="inv services.backup, or inv maint.volumes --export NAME; --without-backup gives it up",
        )
    running = frozenset(one.id for one in ours if one.state.status in LIVE)
    planned = replace(planned, removals=removals, stop=running)
    files = tuple(_files(context, planned))
    return Reset(planned=planned, files=files, steps=tuple(_steps(planned, files)))


def carry_out(context: Context, reset: Reset) -> Iterator[str]:
    """Do it, and yield a line for each step that is done or failed. Can be run again.

    Raises OutputNotWritable where files belong to somebody else.
    """
    disks = [Path(reset.planned.root_dir), context.settings.root, context.settings.output_dir]
    before = prune.free_bytes(disks)
    pruned = prune.carry_out(context, reset.planned)
    for step in _steps(replace(reset.planned, removals=pruned.removed), ()):
        yield f"removed: {step.count} {step.name}"
    for one, trouble in pruned.stayed:
        yield f"stays: {one.kind} {one.name}: {trouble}"
    data_stays = any(one.kind == "data volume" for one, _ in pruned.stayed)
    for path in reset.files:
        if data_stays and path.name == SECRETS:
            yield f"stays: {path.name}: a volume that stays needs its passwords"
            continue
        remove(path)
        if path.exists():
            raise OutputNotWritable(
                "some files cannot be removed",
                where=str(path),
                why="they belong to another user: services keep their passwords as their own",
                hint=f"sudo rm -r {path}, then run this again",
            )
        yield f"removed: {path.name}"
    freed = prune.freed(disks, before, sum(step.bytes for step in reset.steps))
    yield f"freed {console.human_bytes(max(0, freed))}"


def _refuse_builds(containers: Iterable[Container]) -> None:
    """Raise SettingsError where a build runs, or is about to."""
    for one in containers:
        if ownership.labels_of(one).get(LABEL_ROLE) == "build" and one.state.status in {*LIVE, "created"}:
            raise SettingsError(
                "a build, or another command that works in a container, is running",
                where=one.name,
                hint="wait until it is done, or end it with Ctrl-C",
            )


def _files(context: Context, planned: Plan) -> Iterator[Path]:
    state, output = context.settings.state_dir, context.settings.output_dir
    if state.is_dir():
        # a lock file that is removed no longer excludes those who wait for it
        kept = {*STAYS, *(path.name for path in state.glob("*.lock"))}
        yield from sorted(path for path in state.iterdir() if path.name not in kept)
    isos = {one.name for one in planned.removals if one.kind == "iso"}
    links = (path for path in output.glob("*.iso") if path.is_symlink())
    yield from (path for path in links if path.readlink().name in isos)


def _steps(planned: Plan, files: Iterable[Path]) -> Iterator[Step]:
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for one in planned.removals:
        groups[RUNNING if one.id in planned.stop else NAMES[one.kind]].append((one.name, one.bytes))
    for path in files:
        size = sum(each.lstat().st_blocks * 512 for each in (path, *path.rglob("*")))
        groups[FILES].append((path.name, size))
    for name, found in groups.items():
        names = tuple(sorted(one for one, _ in found))
        yield Step(name=name, count=len(found), bytes=sum(size for _, size in found), names=names)
