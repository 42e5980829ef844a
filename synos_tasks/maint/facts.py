"""Makes things of what the engine has: each with its size, its age, and whether it is in use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synos_tasks.engine.once import ONCE, is_in_hand
from synos_tasks.engine.spec import LABEL_ROLE
from synos_tasks.engine.volumes import LIVE
from synos_tasks.images.dockerfile import cache_id
from synos_tasks.maint import ownership
from synos_tasks.maint.things import Thing
from synos_tasks.maint.unfinished import LABEL_MARK
from synos_tasks.settings import STORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from synos_tasks.engine.inventory import Container, Image, Inventory, Network, Record, Volume
    from synos_tasks.maint.ownership import Clone, Owned
    from synos_tasks.maint.things import Kind

ABOUT_TO_START = 600.0
"""Seconds for which a container that was only created is taken for one that a command is about to start."""
HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the engine does not know. Times in seconds since 1970."""

    current: frozenset[str]
    """Names of the images that the Dockerfiles of now give."""
    ended: Mapping[str, float] = field(default_factory=dict)
    """When containers ended, by id."""
    backups: Mapping[str, str] = field(default_factory=dict)
    """Fresh backups, by volume."""
    now: float = 0.0
    whole: bool = False
    """The store goes as the volume that it is."""


def things(inventory: Inventory, owned: Owned, clone: Clone, context: Context) -> list[Thing]:
    """Give all that is the clone's in the engine; what the store holds is not among it."""
    ours = {container.id for container in owned.containers}
    return [
        *(_container(one, context) for one in owned.containers),
        *(_network(one, inventory, ours) for one in owned.networks),
        *(_image(one, inventory, ours, clone, context) for one in owned.images),
        *(_base(one, inventory, owned) for one in owned.bases),
        *(_volume(one, inventory, ours, clone, context) for one in owned.volumes),
        *_records(inventory.records, owned.records),
    ]


def _users(users: Iterable[Container], ours: set[str]) -> tuple[str, tuple[str, ...]]:
    """Say by whom a thing is held; or else the ids of those that have to go before it does."""
    by_name = sorted(users, key=lambda one: one.name)
    for user in by_name:
        if user.state in LIVE or user.id not in ours:
            return f"in use by {user.name}", ()
    return "", tuple(user.id for user in by_name)


def _container(container: Container, context: Context) -> Thing:
    kinds: dict[str, Kind] = {"build": "build container", "dev": "dev container"}
    role = "dev" if ownership.LABEL_FOLDER in container.labels else container.labels.get(LABEL_ROLE, "")
    return Thing(
        kind=kinds.get(role, "container"),
        id=container.id,
        name=container.name,
        bytes=container.bytes,
        used=context.ended.get(container.id) or container.created,
        held=_alive(container, context.now),
    )


def _alive(container: Container, now: float) -> str:
    """Say why a container is in use; '' where it is not."""
    if container.state == "created" and now - container.created < ABOUT_TO_START:
        return "it is about to start"
    return f"it is {container.state}" if container.state in LIVE else ""


def _network(network: Network, inventory: Inventory, ours: set[str]) -> Thing:
    marks = {network.id, network.name}  # of a container that never ran the engine tells the name alone
    held, above = _users((one for one in inventory.containers if marks & set(one.networks)), ours)
    return Thing(
        kind="network",
        id=network.id,
        name=network.name,
        bytes=0,
        used=network.created,
        held=held,
        above=above,
    )


def _image(image: Image, inventory: Inventory, ours: set[str], clone: Clone, context: Context) -> Thing:
    names = ownership.our_names(image, clone)
    group = names[0].rpartition(":")[0] if names else ""
    others = set(image.tags) - set(names)
    held, above = _users((one for one in inventory.containers if one.image == image.id), ours)
    if not held and context.current & set(names):
        held = "what the Dockerfiles give now"
    if not held and others and not names:
        held = f"has only names of others, as {min(others)}"
    return Thing(
        kind="image",
        id=image.id,
        name=names[0] if names else f"nameless {image.id.removeprefix('sha256:')[:12]}",
        bytes=0 if others else image.own_bytes,
        used=max(image.tagged, image.created),
        held=held,
        above=above,
        group=group,
        seconds=clone.ledger.seconds_of(group) if group else None,
        names=names,
    )


def _base(image: Image, inventory: Inventory, owned: Owned) -> Thing:
    ours = {one.id for one in owned.images}
    above = [one for one in inventory.images if ownership.stands_on(one, image)]
    foreign = [one for one in above if one.id not in ours]
    names = tuple(tag for tag in image.tags if tag in ownership.BASES)
    users = (one for one in inventory.containers if one.image == image.id)
    held, ended = _users(users, {one.id for one in owned.containers})
    if not held and foreign:
        held = f"others' images are built on it, as {(foreign[0].tags or (foreign[0].id,))[0]}"
    return Thing(
        kind="base image",
        id=image.id,
        name=names[0],
        bytes=image.own_bytes if names == image.tags else 0,
        used=max(image.tagged, image.created),
        held=held,
        names=names,
        above=(*ended, *(one.id for one in above)),
    )


def _volume(volume: Volume, inventory: Inventory, ours: set[str], clone: Clone, context: Context) -> Thing:
    kind = kind_of_volume(volume, clone.project)
    others = [one for one in inventory.volumes if one.device and one.device == volume.place]
    names = {volume.name, *(one.name for one in others)}  # a second name in use is this one in use
    held, ended = _users((one for one in inventory.containers if names & set(one.volumes)), ours)
    if not held and kind == "scratch volume" and is_in_hand(volume.name):
        held = "a command is using it"
    if not held and volume.name == f"{clone.project}{STORE}" and not context.whole:
        held = "the store: what it holds goes with --store"
    return Thing(
        kind=kind,
        id=volume.name,
        name=volume.name,
        bytes=0 if volume.device else volume.bytes,
        used=volume.created,
        held=held,
        above=(*ended, *(one.name for one in others)),
        backup=context.backups.get(volume.name, ""),
    )


def kind_of_volume(volume: Volume, project: str) -> Kind:
    """Tell what a volume of ours holds: what one command left, what can be had again, or data."""
    copied = LABEL_MARK in volume.labels  # on purpose, of whatever
    if copied or volume.labels.get(LABEL_ROLE) not in {"cache", "build"}:
        return "data volume"
    anonymous = len(volume.name) == 64 and HEX.issuperset(volume.name)
    return "scratch volume" if anonymous or volume.name.startswith(f"{project}{ONCE}") else "cache volume"


def _records(every: Iterable[Record], ours: Iterable[Record]) -> Iterable[Thing]:
    above: dict[str, list[str]] = {}
    for record in every:
        for parent in record.parents:
            above.setdefault(parent, []).append(record.id)
    for record in ours:
        mount = cache_id(record.description) if record.type == ownership.CACHE_MOUNT else ""
        yield Thing(
            kind="cache",
            id=record.id,
            name=f"cache mount {mount}" if mount else record.description,
            bytes=0 if record.shared else record.bytes,
            used=record.used,
            held="a build is using it" if record.in_use else "",
            above=tuple(above.get(record.id, ())),
        )
