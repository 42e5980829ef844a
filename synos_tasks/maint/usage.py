"""`inv maint.disk`: what this clone takes, what of it can be freed, and what that would cost to have again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from synos_tasks.engine import inventory as engine
from synos_tasks.maint import ownership, prune
from synos_tasks.maint.plan import Limits
from synos_tasks.settings import STORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.engine.inventory import Inventory
    from synos_tasks.maint.ownership import Clone
    from synos_tasks.maint.session import Session
    from synos_tasks.maint.things import Thing

DAY = 86400.0
EVERYTHING = Limits(older_than=0.0, young=0.0, keep_last=1, everything=True)
NAMES = {
    "image": "images",
    "base image": "base images",
    "container": "containers",
    "build container": "builders that were left",
    "dev container": "development containers",
    "data volume": "volumes with data",
    "cache volume": "compilers' and other caches",
    "scratch volume": "volumes that were left",
    "cache": "build cache",
    "cache mount": "build cache mounts",
    "store": "store of ISO stages",
}
"""What each kind of thing is called, in this order."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of thing. Sizes in bytes; ``seconds`` is what all of it took to make, None where that is not known."""

    name: str
    count: int
    bytes: int
    free_bytes: int
    """What could go, by the verb ``how``."""
    seconds: float | None = None
    how: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the store has of one stage. ``days``: since the last use of the newest and of the oldest."""

    name: str
    count: int
    bytes: int
    days: tuple[float, float]
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """All of it. ``others_bytes`` is the rest of what the engine has."""

    rows: tuple[Row, ...]
    stages: tuple[Stage, ...]
    others_bytes: int

    @property
    def bytes(self) -> int:
        """What all of this clone takes."""
        return sum(row.bytes for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Give the fields of --json."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "store": [asdict(stage) for stage in self.stages],
            "bytes": self.bytes,
            "free_bytes": sum(row.free_bytes for row in self.rows),
            "others_bytes": self.others_bytes,
        }


def usage(session: Session) -> Usage:
    """Look at the engine, the store, and the folders of this clone; raises EngineUnavailable or HostUnfit."""
    clone = session.clone()
    inventory = session.inventory()
    planned = prune.plan(session, EVERYTHING, inventory)
    gone = {thing.id for thing in planned.plan.gone}
    things = _once([*planned.plan.gone, *(thing for thing, _ in planned.plan.kept)], clone)
    rows = [_row(kind, [one for one in things if _kind(one) == kind], gone) for kind in NAMES]
    images = engine.union_bytes(ownership.owned(inventory, clone).images)
    seconds = _seconds_of_images(clone)
    rows = [_row_of_images(row, images) if row.name == NAMES["image"] else row for row in rows]
    remade = {NAMES["image"], NAMES["cache"]}  # without the cache, each image is made from nothing
    rows = [replace(row, seconds=seconds) if row.name in remade else row for row in rows]
    ours = sum(row.bytes for row in rows)
    return Usage(
        rows=tuple(row for row in (*rows, *_folders(session)) if row.count),
        stages=tuple(_stages([one for one in things if one.kind == "store"], session.now())),
        others_bytes=max(0, _engine_bytes(inventory) - ours),
    )


def _once(things: Sequence[Thing], clone: Clone) -> list[Thing]:
    """Leave to the store's volume only what is in none of the store's entries: they are counted too."""
    inside = sum(one.bytes for one in things if one.kind == "store")
    name = f"{clone.project}{STORE}"
    return [replace(one, bytes=max(0, one.bytes - inside)) if one.id == name else one for one in things]


def _kind(thing: Thing) -> str:
    return "cache mount" if thing.kind == "cache" and thing.name.startswith("cache mount ") else thing.kind


def _row(kind: str, things: Sequence[Thing], gone: set[str]) -> Row:
    known = [one.seconds for one in things if one.seconds is not None]
    return Row(
        name=NAMES[kind],
        count=len(things),
        bytes=sum(one.bytes for one in things),
        free_bytes=sum(one.bytes for one in things if one.id in gone),
        seconds=round(sum(known), 1) if known else None,
        how="inv maint.prune --all",
    )


def _row_of_images(row: Row, size: int) -> Row:
    """Count what images share once."""
    return replace(row, bytes=size, free_bytes=min(size, row.free_bytes))


def _seconds_of_images(clone: Clone) -> float | None:
    """Give what the images took to make: for each kind, the longest that is remembered."""
    kinds = {made.tag.partition(":")[0] for made in clone.ledger.images.values()}
    seconds = [took for kind in kinds if (took := clone.ledger.seconds_of(kind))]
    return round(sum(seconds), 1) if seconds else None


def _engine_bytes(inventory: Inventory) -> int:
    return (
        inventory.layers_bytes
        + sum(one.bytes for one in inventory.containers)
        + sum(one.bytes for one in inventory.volumes if not one.device)
        + sum(one.bytes for one in inventory.records if not one.shared)
    )


def _stages(entries: Iterable[Thing], now: float) -> Iterable[Stage]:
    by_name: dict[str, list[Thing]] = {}
    for entry in entries:
        by_name.setdefault(entry.name.partition(" ")[0], []).append(entry)
    for name, found in sorted(by_name.items(), key=lambda one: -sum(entry.bytes for entry in one[1])):
        ages = sorted((now - entry.used) / DAY for entry in found)
        yield Stage(
            name=name,
            count=len(found),
            bytes=sum(entry.bytes for entry in found),
            days=(round(ages[0], 2), round(ages[-1], 2)),
            seconds=found[0].seconds,
        )


def _folders(session: Session) -> Iterable[Row]:
    """Look at what lies in this clone's own folders."""
    settings, state = session.settings, session.settings.state_dir
    output = settings.output_dir
    isos = [path for path in output.glob("synos-*.iso*") if path.is_file() and not path.is_symlink()]
    yield Row(
        name="ISOs",
        count=sum(path.suffix == ".iso" for path in isos),
        bytes=_size(isos),
        free_bytes=0,
        seconds=_iso_seconds(session, isos),
        how="inv maint.prune",
    )
    for name, folder, how in (
        ("logs", state / "logs", "inv maint.logs"),
        ("backups of services", state / "backups", ""),
        ("exported volumes", state / "volumes", ""),
    ):
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        yield Row(name=name, count=len(files), bytes=_size(files), free_bytes=0, how=how)


def _iso_seconds(session: Session, isos: Iterable[Path]) -> float | None:
    """Give what the ISOs took to build from nothing."""
    whole: Mapping[str, float] = {name: sum(stages.values()) for name, stages in session.histories().items()}
    profiles = [path.name.removeprefix("synos-").rpartition("-")[0] for path in isos if path.suffix == ".iso"]
    known = [whole[profile] for profile in profiles if profile in whole]
    return round(sum(known), 1) if known else None


def _size(files: Iterable[Path]) -> int:
    return sum(path.stat().st_blocks * 512 for path in files)
