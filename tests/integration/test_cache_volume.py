"""A cache volume that is full, or cannot be written: each is named, and no ISO comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine.labels import labels
from tests.build_helpers import docker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration


@pytest.fixture
def volume(clone: Clone) -> Iterator[Callable[[str], None]]:
    """Make the clone's cache volume a tmpfs, mounted by the engine with the options given."""
    name = clone.settings.project.store_volume

    def make(options: str) -> None:
        marks = [
            f"--label={key}={value}" for key, value in labels(clone.settings.project.id, "cache").items()
        ]
        docker(
            "volume", "create", *marks, "--opt=type=tmpfs", "--opt=device=tmpfs", f"--opt=o={options}", name
        )

    yield make
    docker("volume", "rm", "--force", name)


@pytest.mark.parametrize(
    "megabytes",
    [pytest.param(8, id="for packages"), pytest.param(140, id="for a layer", marks=pytest.mark.long)],
)
def test_a_full_cache_volume(clone: Clone, volume: Callable[[str], None], megabytes: int) -> None:
    volume(f"size={megabytes}m")
    answer = clone.inv("build.iso", "--profile", "minimal", fails=True)
    assert (answer.code, answer.json["error"]["kind"]) == (34, "DiskFull")
    assert "cache volume" in answer.json["error"]["error"], answer.err
    assert "inv maint.prune --store" in answer.json["error"]["hint"]
    assert list(clone.output.iterdir()) == []


def test_a_cache_volume_that_cannot_be_written(clone: Clone, volume: Callable[[str], None]) -> None:
    volume("ro,size=8m")
    answer = clone.inv("build.iso", "--profile", "minimal", fails=True)
    assert (answer.code, answer.json["error"]["kind"]) == (25, "CacheUnusable")
    assert "/cache" in answer.json["error"]["where"]
    assert list(clone.output.iterdir()) == []
