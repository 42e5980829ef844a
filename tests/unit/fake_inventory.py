"""What an engine has, made up: a clone's things, and those of others that look like them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from synos_tasks.engine.inventory import Container, Image, Network, Record, Volume
from synos_tasks.engine.spec import LABEL_BASE, LABEL_PROJECT, LABEL_ROLE, image_labels, labels
from synos_tasks.images.base import BOOKWORM
from synos_tasks.images.ledger import Ledger
from synos_tasks.maint.ownership import Clone
from synos_tasks.maint.things import Thing

OURS = "synos-0123456789"
THEIRS = "synos-9876543210"
ROOT = Path("/home/me/synos")
NOW = 1_700_000_000.0
DAY = 86400.0
OLD = NOW - 100 * DAY
BUILDER = "synos-builder:aaaaaaaaaaaa"
IMAGE_LABELS = image_labels(OURS, "build", BUILDER)
LAYERS = ("base", "one", "two")
"""Of our image."""


def ident(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def clone(**given: Any) -> Clone:  # noqa: ANN401
    return Clone(**{"project": OURS, "root": ROOT, "ledger": Ledger(), "steps": frozenset(), **given})


def image(name: str, *tags: str, **given: Any) -> Image:  # noqa: ANN401
    """Give an image without labels."""
    told = {"labels": {}, "bytes": 100, "own_bytes": 40, "created": OLD, "layers": (name,), **given}
    return Image(id=ident(name), tags=tags, **told)


def our_image(name: str = "ours", *tags: str, **given: Any) -> Image:  # noqa: ANN401
    """Give an image as the clone builds it."""
    return image(name, *(tags or (BUILDER,)), **{"labels": IMAGE_LABELS, "layers": LAYERS, **given})


def our_base(*tags: str, **given: Any) -> Image:  # noqa: ANN401
    """Give a base image that was bootstrapped by the clone."""
    return image(
        "base", *(tags or (BOOKWORM.tag,)), **{"labels": {LABEL_BASE: OURS}, "layers": LAYERS[:1], **given}
    )


def container(name: str, of: Image | str = "sha256:gone", **given: Any) -> Container:  # noqa: ANN401
    """Give a container that ended; it has the labels of its image, as the engine hands them on."""
    inherited = of.labels if isinstance(of, Image) else {}
    told = {"state": "exited", "bytes": 10, "created": OLD, **given}
    told["labels"] = {**inherited, **told.get("labels", {})}
    return Container(
        id=ident(name).removeprefix("sha256:"),
        name=name,
        image=of.id if isinstance(of, Image) else of,
        **told,
    )


def volume(name: str, project: str = OURS, role: str = "services", **given: Any) -> Volume:  # noqa: ANN401
    told = {
        "labels": {LABEL_PROJECT: project, LABEL_ROLE: role},
        "bytes": 1000,
        "created": OLD,
        "place": f"/docker/{name}/_data",
        **given,
    }
    return Volume(name=name, **told)


def network(name: str, project: str = OURS, **given: Any) -> Network:  # noqa: ANN401
    told = {"labels": labels(project, "services"), "created": OLD, **given}
    return Network(id=ident(name).removeprefix("sha256:"), name=name, **told)


def record(name: str, description: str, *parents: str, **given: Any) -> Record:  # noqa: ANN401
    told = {"type": "regular", "in_use": False, "shared": False, "bytes": 5, "used": OLD, **given}
    return Record(id=name, parents=parents, description=description, **told)


def thing(name: str, **given: Any) -> Thing:  # noqa: ANN401
    """Give an image of ours that nothing speaks for."""
    return Thing(**{"kind": "image", "id": name, "name": name, "bytes": 1, "used": OLD, **given})
