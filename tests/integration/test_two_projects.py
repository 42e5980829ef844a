"""Two projects of one name on one engine: what is equal is shared, and nothing is overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from synos_tasks import settings
from synos_tasks.build.planning import Context
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import Recipe
from tests.build_helpers import docker
from tests.conftest import remove_labelled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from synos_tasks.engine.client import Docker
    from synos_tasks.settings import Settings

pytestmark = pytest.mark.integration
RECIPE = Recipe("twin", "Dockerfile")
DOCKERFILE = "ARG BASE=debian:bookworm-slim\nFROM ${BASE}\nRUN echo %s >/who\n"


@pytest.fixture
def twins(tmp_path: Path, builder_image: str) -> Iterator[list[Settings]]:
    made = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "Dockerfile").write_text(DOCKERFILE % "same")
        made.append(settings.load(tmp_path / folder, {"name": "twin-test"}))
    yield made
    for one in made:
        remove_labelled(one.project.id)


def test_two_projects_of_one_name_work_side_by_side(twins: list[Settings], engine: Docker) -> None:
    one, two = twins
    assert one.project.id != two.project.id
    shared = [ensure_image(Context(each, engine, print), RECIPE) for each in twins]
    assert len(set(shared)) == 1, "what is made of the same is made once"
    ident = engine.image_id(shared[0])
    (two.project.root / "Dockerfile").write_text(DOCKERFILE % "other")
    other = ensure_image(Context(two, engine, print), RECIPE)
    assert other != shared[0]
    assert engine.image_id(shared[0]) == ident, "the other project's image is as it was"
    said = [docker("run", "--rm", "--network=none", tag, "cat", "/who") for tag in (shared[0], other)]
    assert said == ["same", "other"]
