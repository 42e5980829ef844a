"""`inv maint.disk`: what this clone takes, what of it can be freed, and what it would cost to make again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from synos_tasks.maint import ownership, prune
from synos_tasks.maint.prune import Limits
from synos_tasks.maint.resources import NAMES, device_of
from synos_tasks.maint.store import histories

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from synos_tasks.maint.ownership import Clone, Inventory
    from synos_tasks.maint.resources import Context, Resource

DAY = 86400.0
EVERYTHING = Limits(older_than=0.0, young=0.0, keep_last=1, include_rebuildable=True)
REBUILT = (NAMES["image"], NAMES["cache"])
"""Without the build cache, each image is built from nothing."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of resource. Sizes in bytes; ``seconds`` is what all of it took to make, None if unknown."""

    name: str
    count: int
    bytes: int
    free_bytes: int = 0
    """What the verb ``how`` can free."""
    seconds: float | None = None
    how: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the store has of one stage. ``days`` since the last use: of the newest, and of the oldest."""

    name: str
    count: int
    bytes: int
    days: tuple[float, float]
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """All of it. ``others_bytes`` is what the engine has besides."""

    rows: tuple[Row, ...]
    stages: tuple[Stage, ...]
    others_bytes: int

    @property
    def bytes(self) -> int:
        """What this clone takes."""
        return sum(row.bytes for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the fields of --json."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "store": [asdict(stage) for stage in self.stages],
            "bytes": self.bytes,
            "free_bytes": sum(row.free_bytes for row in self.rows),
            "others_bytes": self.others_bytes,
        }


def usage(context: Context) -> Usage:
    """Look at the engine, the store, and this clone's folders; raises EngineUnavailable or HostUnfit."""
    clone, inventory = context.clone(), context.inventory()
    planned = prune.plan(context, EVERYTHING, inventory)
    freeable = {one.id for one in planned.removals}
    by_kind: dict[str, list[Resource]] = defaultdict(list)
    for one in (*planned.removals, *(one for one, _ in planned.kept)):
        by_kind["cache mount" if one.name.startswith("cache mount ") else one.kind].append(one)
    in_store = sum(one.bytes for one in by_kind["store"])
    by_kind["cache volume"] = [
        replace(one, bytes=max(0, one.bytes - in_store)) if one.id == context.settings.store_volume else one
        for one in by_kind["cache volume"]
    ]
    kinds = [kind for kind in NAMES if by_kind[kind] and kind not in {"network", "iso"}]
    rows = [_row(kind, by_kind[kind], freeable) for kind in kinds]
    images = context.union_bytes([one.id for one in ownership.owned(inventory, clone).images])
    rows = [_row_of_images(row, images, clone) if row.name in REBUILT else row for row in rows]
    return Usage(
        rows=(*rows, *(row for row in _folders(context, by_kind["iso"]) if row.count)),
        stages=tuple(_stages(by_kind["store"], context.now())),
        others_bytes=max(0, _engine_bytes(inventory) - sum(row.bytes for row in rows)),
    )


def _row(kind: str, found: Sequence[Resource], freeable: set[str]) -> Row:
    known = [one.seconds for one in found if one.seconds is not None]
    return Row(
        name=NAMES[kind],
        count=len(found),
        bytes=sum(one.bytes for one in found),
        free_bytes=sum(one.bytes for one in found if one.id in freeable),
        seconds=round(sum(known), 1) if known else None,
        how="inv maint.prune --all",
    )


def _row_of_images(row: Row, size: int, clone: Clone) -> Row:
    """Count layers that images share once, and the longest that the ledger remembers for each kind of image."""
    kinds = {made.tag.partition(":")[0] for made in clone.ledger.images.values()}
    known = [took for kind in kinds if (took := clone.ledger.seconds_of(kind))]
    row = replace(row, seconds=round(sum(known), 1) if known else None)
    return (
        replace(row, bytes=size, free_bytes=min(size, row.free_bytes)) if row.name == NAMES["image"] else row
    )


def _engine_bytes(inventory: Inventory) -> int:
    used, aliases = inventory.usage, {one.name for one in inventory.volumes if device_of(one)}
    volumes = sum(size for name, size in used.volumes.items() if name not in aliases)
    records = sum(one.bytes for one in used.records if not one.shared)
    return used.layers + sum(used.containers.values()) + volumes + records


def _stages(entries: Iterable[Resource], now: float) -> Iterator[Stage]:
    by_name: dict[str, list[Resource]] = defaultdict(list)
    for entry in entries:
        by_name[entry.name.partition(" ")[0]].append(entry)
    for name, found in sorted(by_name.items(), key=lambda one: -sum(entry.bytes for entry in one[1])):
        ages = sorted((now - entry.used) / DAY for entry in found)
        yield Stage(
            name=name,
            count=len(found),
            bytes=sum(entry.bytes for entry in found),
            days=(round(ages[0], 2), round(ages[-1], 2)),
            seconds=found[0].seconds,
        )


def _folders(context: Context, isos: Sequence[Resource]) -> Iterator[Row]:
    """Return what lies in this clone's own folders."""
    settings, state = context.settings, context.settings.state_dir
    whole = {profile: sum(stages.values()) for profile, stages in histories(settings).items()}
    known = [whole[one.group] for one in isos if one.group in whole]
    yield Row(
        name="ISOs",
        count=len(isos),
        bytes=sum(one.bytes for one in isos),
        seconds=round(sum(known), 1) if known else None,
        how="inv maint.prune",
    )
    for name, folder, how in (
        ("logs", "logs", "inv maint.logs"),
        ("backups of services", "backups", ""),
        ("exported volumes", "volumes", ""),
    ):
        files = [path for path in (state / folder).rglob("*") if path.is_file() and not path.is_symlink()]
        size = sum(path.stat().st_blocks * 512 for path in files)
        yield Row(name=name, count=len(files), bytes=size, how=how)
