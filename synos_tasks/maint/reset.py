"""`inv maint.reset`: a clone as it was when it was new, with each step named before it is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.engine.spec import LABEL_ROLE
from synos_tasks.engine.volumes import LIVE
from synos_tasks.errors import OutputNotWritable, SettingsError
from synos_tasks.iso.scratch import remove
from synos_tasks.maint import isos, measure, ownership, prune
from synos_tasks.maint.plan import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from synos_tasks.engine.inventory import Container
    from synos_tasks.maint.prune import Planned
    from synos_tasks.maint.session import Session
    from synos_tasks.maint.things import Thing

WHOLE = Limits(older_than=0.0, young=0.0, keep_last=0, cache=True, volumes=True, everything=False, whole=True)
STAYS = ("setup", "backups", "volumes")
"""In .synos: what inv itself runs with, and what was put aside."""
SECRETS = "services"
"""In .synos: passwords, without which the data of a volume cannot be reached."""
RUNNING = "services and development containers that run"
NAMES = {
    "container": "containers that ended",
    "dev container": "development containers",
    "build container": "builders that were left",
    "network": "networks",
    "scratch volume": "volumes that were left",
    "cache volume": "the store of stages, and compilers' and other caches",
    "data volume": "volumes with data",
    "image": "images",
    "base image": "base images",
    "cache": "build cache of our images' steps",
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One kind of thing that goes."""

    name: str
    count: int
    bytes: int
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Reset:
    """What runs, which goes first, the plan for the rest of the engine, and all steps."""

    running: tuple[Container, ...]
    planned: Planned
    steps: tuple[Step, ...]
    keep_isos: bool


def plan(session: Session, *, keep_isos: bool, without_backup: bool) -> Reset:
    """Say what goes; changes nothing.

    Raises SettingsError while a build runs, and where a volume's data is in no fresh backup unless ``without_backup``.
    """
    inventory = session.inventory()
    ours = ownership.owned(inventory, session.clone()).containers
    running = tuple(one for one in ours if one.state in LIVE)
    _refuse_builds(ours)
    # planned as if what runs were gone already: so all that is shown goes, and nothing else
    left = tuple(one for one in inventory.containers if one not in running)
    planned = prune.plan(session, WHOLE, replace(inventory, containers=left))
    if not without_backup:
        _refuse_loss(planned.plan.gone)
    steps = tuple(_steps(running, planned.plan.gone, list(_files(session, keep_isos=keep_isos))))
    return Reset(running=running, planned=planned, steps=steps, keep_isos=keep_isos)


def carry_out(session: Session, reset: Reset) -> Iterator[str]:
    """Do it, and say each step as it is done; what could not be removed is said too. Can be run again.

    The last line tells what became free. Raises OutputNotWritable where files belong to somebody else.
    """
    disks = [Path(reset.planned.root_dir), session.settings.root]
    before = measure.free(disks)
    for container in reset.running:
        trouble = session.removal.container(container.id, running=True)
        yield f"{'stays: ' + trouble if trouble else 'removed'}: container {container.name}"
    pruned = prune.carry_out(session, reset.planned)
    for kind, name in NAMES.items():
        gone = [thing for thing in pruned.removed if thing.kind == kind]
        if gone:
            yield f"removed: {len(gone)} {name}"
    for thing, trouble in pruned.stayed:
        yield f"stays: {thing.kind} {thing.name}: {trouble}"
    kept = any(thing.kind == "data volume" for thing, _ in pruned.stayed)
    for path in list(_files(session, keep_isos=reset.keep_isos)):
        if kept and path.name == SECRETS:
            yield f"stays: {path.name}: a volume that needs its passwords is there still"
            continue
        _remove(path)
        yield f"removed: {path.name}"
    freed = measure.freed(disks, before, sum(step.bytes for step in reset.steps))
    yield f"{max(0, freed) / 1e6:.1f} MB more are free on the disk"


def _refuse_builds(containers: Iterable[Container]) -> None:
    """Raise SettingsError where a build runs, or is about to."""
    at_work = {*LIVE, "created"}
    builds = [one for one in containers if one.labels.get(LABEL_ROLE) == "build" and one.state in at_work]
    if builds:
        raise SettingsError(
            "a build, or another command that works in a container, is running",
            where=builds[0].name,
            hint="wait until it is done, or end it with Ctrl-C",
        )


def _refuse_loss(things: Iterable[Thing]) -> None:
    lost = [thing.name for thing in things if thing.kind == "data volume" and not thing.backup]
    if lost:
        raise SettingsError(
            "data would be lost: there is no fresh backup of it",
            where=", ".join(lost),
            hint="inv services.backup, or inv maint.volumes --export NAME; --without-backup gives it up",
        )


def _files(session: Session, *, keep_isos: bool) -> Iterator[Path]:
    state, output = session.settings.state_dir, session.settings.output_dir
    if state.is_dir():
        # a lock that is removed is held by nobody, though somebody waits for it
        kept = {*STAYS, *(path.name for path in state.glob("*.lock"))}
        yield from sorted(path for path in state.iterdir() if path.name not in kept)
    if keep_isos:
        return
    found, _ = isos.builds(output)
    ours = {one.iso.name for one in found}
    links = [
        path for path in output.glob("synos-*.iso") if path.is_symlink() and path.readlink().name in ours
    ]
    yield from (path for one in found for path in one.files)
    yield from links


def _steps(running: Iterable[Container], things: Iterable[Thing], paths: Sequence[Path]) -> Iterator[Step]:
    every = list(things)
    started = [one.name for one in running]
    if started:
        yield Step(name=RUNNING, count=len(started), bytes=0, names=tuple(sorted(started)))
    for kind, name in NAMES.items():
        found = [thing for thing in every if thing.kind == kind]
        if found:
            names = tuple(sorted(thing.name for thing in found))
            yield Step(name=name, count=len(found), bytes=sum(one.bytes for one in found), names=names)
    if paths:
        size = sum(each.lstat().st_blocks * 512 for path in paths for each in (path, *path.rglob("*")))
        yield Step(
            name="files of this clone", count=len(paths), bytes=size, names=tuple(path.name for path in paths)
        )


def _remove(path: Path) -> None:
    remove(path)
    if path.exists():
        raise OutputNotWritable(
            "not all of it can be removed",
            where=str(path),
            why="some of it belongs to another user: services keep their passwords as their own",
            hint=f"sudo rm -r {path}, then run this again",
        )
