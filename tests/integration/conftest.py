"""A clone of the project for each module of build tests; all that carries its label goes at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from synos_tasks import settings
from synos_tasks.build.image import ensure_image
from tests.conftest import _remove_labelled
from tests.integration.build_helpers import ROOT, copy_project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synos_tasks.engine.gateway import DockerEngine
    from tests.integration.build_helpers import Clone


@pytest.fixture(scope="session")
def builder_image(engine: DockerEngine) -> str:
    """The builder image, made once and labelled as the project's own: it outlives the tests."""
    return ensure_image(settings.load(ROOT, {}), engine, "builder", print)


@pytest.fixture(scope="module")
def clone(builder_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A copy of the project with an id of its own."""
    copy = copy_project(tmp_path_factory.mktemp("clone"))
    copy.output.mkdir()
    yield copy
    _remove_labelled(copy.settings.project_id)
