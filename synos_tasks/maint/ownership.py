"""Which of all that the engine has is this clone's. Pure; where there is a doubt, it is not.

The labels alone do not tell. An image hands its own on to what is built on it and to each container of it, so one
of somebody else's can carry our project's label. Build cache carries none at all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.engine.spec import LABEL_BASE, LABEL_IMAGE, LABEL_PROJECT
from synos_tasks.images.base import BOOKWORM, TRIXIE
from synos_tasks.images.dockerfile import step_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from synos_tasks.engine.inventory import Container, Image, Inventory, Network, Record, Volume
    from synos_tasks.images.ledger import Ledger

LABEL_FOLDER = "devcontainer.local_folder"
"""What VS Code, the official CLI and we mark a development container with: see https://containers.dev."""
CACHE_MOUNT = "exec.cachemount"
"""BuildKit's type for what `RUN --mount=type=cache` leaves."""
LOCAL, PULLED = "from local", "pulled from"
"""How BuildKit tells of the image that a Dockerfile begins with."""
BASES = (BOOKWORM.tag, TRIXIE.tag)
_WORKDIR = "] WORKDIR "


@dataclass(frozen=True, kw_only=True)
class Clone:
    """Whom to look for: a clone's project id, its folder, the steps of its Dockerfiles, and what it remembers."""

    project: str
    root: Path
    ledger: Ledger
    steps: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Owned:
    """What is the clone's."""

    images: tuple[Image, ...]
    bases: tuple[Image, ...]
    """Base images that were bootstrapped here."""
    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...]
    networks: tuple[Network, ...]
    records: tuple[Record, ...]


def concerns(clone: Clone, labels: Mapping[str, str]) -> bool:
    """Tell whether labels may be this clone's."""
    return clone.project in {labels.get(LABEL_PROJECT), labels.get(LABEL_BASE)}


def owned(inventory: Inventory, clone: Clone) -> Owned:
    """Pick out what is the clone's."""
    bases = tuple(image for image in inventory.images if _is_base(image, clone))
    known = {image.id: image for image in inventory.images}
    return Owned(
        images=tuple(_images(inventory, clone)),
        bases=bases,
        containers=tuple(one for one in inventory.containers if _is_container(one, known, clone)),
        volumes=tuple(one for one in inventory.volumes if one.labels.get(LABEL_PROJECT) == clone.project),
        networks=tuple(one for one in inventory.networks if one.labels.get(LABEL_PROJECT) == clone.project),
        records=tuple(_records(inventory.records, clone)),
    )


def our_names(image: Image, clone: Clone) -> tuple[str, ...]:
    """Give the names of an image that are ours to take: somebody may have given it one of his own."""
    made = clone.ledger.images.get(image.id)
    ours = {image.labels.get(LABEL_IMAGE, ""), made.tag if made else ""}
    return tuple(tag for tag in image.tags if {tag, _latest(tag)} & ours or _of_folder(tag, clone))


def stands_on(image: Image, other: Image) -> bool:
    """Tell whether an image is built on another."""
    count = len(other.layers)
    return 0 < count < len(image.layers) and image.layers[:count] == other.layers


def _is_base(image: Image, clone: Clone) -> bool:
    named = set(BASES) & set(image.tags)
    # what is built on one has its label, but not its name, and more layers than the one
    return concerns(clone, image.labels) and len(image.layers) == 1 and bool(named)


def _images(inventory: Inventory, clone: Clone) -> Iterable[Image]:
    for image in inventory.images:
        official = any(_of_folder(tag, clone) for tag in image.tags)
        known = official or _is_named_here(image, clone) or _is_remembered(image, clone)
        if known and not _is_base(image, clone):
            yield image


def _is_named_here(image: Image, clone: Clone) -> bool:
    """Tell whether an image has our labels of its own: what was built on it has them too, but not the name in them.

    A label of the project alone can be inherited from an image that is gone by now.
    """
    mark = image.labels.get(LABEL_IMAGE)
    ours = mark and image.labels.get(LABEL_PROJECT) == clone.project
    return bool(ours) and any(mark in {tag, _latest(tag)} for tag in image.tags)


def _is_remembered(image: Image, clone: Clone) -> bool:
    """Tell whether this clone had an image built. The ledger alone does not tell: a folder may be copied with it."""
    made = clone.ledger.images.get(image.id)
    if made is None:
        return False
    labelled = image.labels.get(LABEL_PROJECT) == clone.project
    return labelled or _of_folder(made.tag, clone) or made.tag.startswith(f"{clone.project}-")


def _latest(tag: str) -> str:
    return tag.removesuffix(":latest")


def _of_folder(tag: str, clone: Clone) -> bool:
    """Tell whether the official CLI gave this name for this folder: it holds the SHA-256 of the folder's path."""
    digest = hashlib.sha256(str(clone.root).encode()).hexdigest()
    return tag.startswith("vsc-") and digest in _latest(tag).split("-")


def _is_container(container: Container, images: Mapping[str, Image], clone: Clone) -> bool:
    image = images.get(container.image)
    folder = str(clone.root)
    if container.labels.get(LABEL_FOLDER) == folder:
        # `docker commit` lays the container's labels into an image
        return image is None or image.labels.get(LABEL_FOLDER) != folder
    if container.labels.get(LABEL_PROJECT) != clone.project:
        return False
    inherited = image is None or image.labels.get(LABEL_PROJECT) == clone.project
    ours = (container.name, container.compose_project)
    return not inherited or any(name.startswith(f"{clone.project}-") for name in ours)


def _records(records: Iterable[Record], clone: Clone) -> list[Record]:
    """Give the records of our steps: with all that they are built on, so that a like step of others' is none."""
    known = {record.id: record for record in records}
    steps = clone.steps | clone.ledger.steps
    verdicts: dict[str, bool] = {}

    def is_ours(record: Record) -> bool:  # as deep as an image has layers, which are 127 at most
        if record.id not in verdicts:
            step = step_of(record.description)
            verdicts[record.id] = step in steps and (record.type == CACHE_MOUNT or is_on_ours(record, step))
        return verdicts[record.id]

    def is_on_ours(record: Record, step: str) -> bool:
        below = [known.get(ident) for ident in record.parents]
        if not below or (_WORKDIR in step and all(map(_is_base_of_ours, below))):
            return False  # that step is in every Dockerfile
        return all(one is not None and (_is_base_of_ours(one) or is_ours(one)) for one in below)

    return [record for record in known.values() if is_ours(record)]


def _is_base_of_ours(record: Record | None) -> bool:
    """Tell whether a record is an image that our Dockerfiles begin with; of a local one the name is not told."""
    if record is None:
        return False
    pulled = record.description.startswith(PULLED) and any(f"/{tag}" in record.description for tag in BASES)
    return pulled or record.description.startswith(LOCAL)
