"""Which resources of the engine belong to this clone. Pure; in doubt they do not.

Labels alone do not tell. Images built on an image inherit its labels, and so do its containers: a foreign one can
carry our project's label. Build cache carries no labels at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from synos_tasks.engine.labels import LABEL_IMAGE, LABEL_PROJECT, is_own_container
from synos_tasks.images.dockerfile import step_of
from synos_tasks.iso.suites import SUITES, base_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from synos_tasks.engine.cache import DiskUsage, Record
    from synos_tasks.engine.client import Container, Image, Network, Volume
    from synos_tasks.images.ledger import Ledger

CACHE_MOUNT = "exec.cachemount"
"""BuildKit's type of a `RUN --mount=type=cache`."""
LOCAL, PULLED = "from local", "pulled from"
"""How BuildKit describes the image that a Dockerfile begins with."""
BASES = tuple(map(base_image, SUITES))
_WORKDIR = "] WORKDIR "


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What the engine has: everything, of whatever project, or what belongs to one clone."""

    images: Sequence[Image] = ()
    containers: Sequence[Container] = ()
    volumes: Sequence[Volume] = ()
    networks: Sequence[Network] = ()
    usage: DiskUsage
    """Sizes by id or name, and the records of the build cache."""


@dataclass(frozen=True, kw_only=True)
class Clone:
    """How a clone is recognised: project id, the steps of its Dockerfiles, the images that it has built."""

    project: str
    ledger: Ledger
    steps: frozenset[str]


def owned(inventory: Inventory, clone: Clone) -> Inventory:
    """Return what belongs to the clone."""

    def is_labelled(one: Volume | Network) -> bool:
        return (one.labels or {}).get(LABEL_PROJECT) == clone.project

    return Inventory(
        images=[one for one in inventory.images if _is_image(one, clone)],
        containers=[one for one in inventory.containers if is_own_container(one, clone.project)],
        volumes=list(filter(is_labelled, inventory.volumes)),
        networks=list(filter(is_labelled, inventory.networks)),
        usage=replace(inventory.usage, records=tuple(_records(inventory.usage.records, clone))),
    )


def own_names(image: Image, clone: Clone) -> tuple[str, ...]:
    """Return the names of an image that this clone gave, and may remove: others may have given it more."""
    made = clone.ledger.images.get(image.id)
    ours = {labels_of(image).get(LABEL_IMAGE, ""), made.tag if made else ""}
    return tuple(tag for tag in tags_of(image) if {tag, tag.removesuffix(":latest")} & ours)


def labels_of(resource: Image | Container) -> Mapping[str, str]:
    """Return the labels of an image or a container."""
    return (resource.config.labels if resource.config else None) or {}


def tags_of(image: Image) -> tuple[str, ...]:
    """Return the names of an image."""
    return tuple(tag for tag in image.repo_tags or () if tag != "<none>:<none>")


def _is_image(image: Image, clone: Clone) -> bool:
    tags, labels, made = tags_of(image), labels_of(image), clone.ledger.images.get(image.id)
    labelled, mark = labels.get(LABEL_PROJECT) == clone.project, labels.get(LABEL_IMAGE)
    # images built on one inherit its labels, but have other names; the project's alone may come from one that is gone
    named = labelled and mark and any(mark in {tag, tag.removesuffix(":latest")} for tag in tags)
    # the ledger alone does not tell: it is copied with the folder
    remembered = made is not None and (labelled or made.tag.startswith(f"{clone.project}-"))
    return bool(named or remembered)


def _records(records: Iterable[Record], clone: Clone) -> list[Record]:
    """Return the records of this project's steps that are built on such steps only, down to its own base image."""
    known = {record.id: record for record in records}
    steps = clone.steps.union(clone.ledger.steps)
    verdicts: dict[str, bool] = {}

    def is_ours(record: Record) -> bool:  # as deep as an image has layers, which are 127 at most
        if record.id not in verdicts:
            step = step_of(record.description)
            verdicts[record.id] = step in steps and (record.type == CACHE_MOUNT or is_on_ours(record, step))
        return verdicts[record.id]

    def is_on_ours(record: Record, step: str) -> bool:
        below = [known[ident] for ident in record.parents if ident in known]
        if not below or len(below) < len(record.parents):
            return False
        if _WORKDIR in step and all(map(_is_own_base, below)):
            return False  # that step is in every Dockerfile
        return all(_is_own_base(one) or is_ours(one) for one in below)

    return [record for record in known.values() if is_ours(record)]


def _is_own_base(record: Record) -> bool:
    """Tell whether a record is a base image of this project's Dockerfiles. BuildKit does not say which a local one is."""
    pulled = record.description.startswith(PULLED) and any(f"/{tag}" in record.description for tag in BASES)
    return pulled or record.description.startswith(LOCAL)
