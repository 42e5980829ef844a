"""The gateway against the real engine."""

from __future__ import annotations

import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine import spec
from synos_tasks.engine.gateway import DockerEngine, version_tuple
from synos_tasks.errors import ImageBuildFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def empty_image(engine: DockerEngine, own_label: str) -> Iterator[str]:
    """An image with nothing in it: enough to create containers, which are never started."""
    tag = f"{own_label}:empty"
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w").close()
    changes = [f"--change=LABEL {key}={value}" for key, value in spec.labels(own_label, "build").items()]
    subprocess.run(
        ["docker", "import", *changes, "-", tag], input=archive.getvalue(), check=True, capture_output=True
    )
    yield tag
    subprocess.run(["docker", "image", "rm", "--force", tag], check=False, capture_output=True)


def test_facts_say_what_there_is(engine: DockerEngine) -> None:
    facts = engine.facts()
    assert version_tuple(facts.version) >= (23, 0)
    assert version_tuple(facts.buildx)
    assert version_tuple(facts.compose)
    assert facts.cpus >= 1
    assert facts.memory_mb > 0
    assert facts.root_dir.startswith("/")


def test_containers_are_found_by_label_and_by_nothing_else(
    engine: DockerEngine, own_label: str, empty_image: str
) -> None:
    name = f"{own_label}-left"
    labels = [f"--label={key}={value}" for key, value in spec.labels(own_label, "build").items()]
    subprocess.run(
        ["docker", "create", "--name", name, *labels, empty_image, "/none"], check=True, capture_output=True
    )
    (found,) = engine.containers(own_label)
    assert (found.name, found.state, found.role) == (name, "created", "build")
    assert engine.containers(f"{own_label}x") == []
    engine.remove_container(found.id)
    engine.remove_container(found.id)
    assert engine.containers(own_label) == []


def test_an_image_is_known_by_its_tag(engine: DockerEngine, own_label: str, empty_image: str) -> None:
    ident = engine.image_id(empty_image)
    assert ident is not None
    assert ident.startswith("sha256:")
    assert engine.image_id(f"{own_label}:none") is None


def test_a_volume_is_made_once_with_labels(engine: DockerEngine, own_label: str) -> None:
    labels = spec.labels(own_label, "cache")
    engine.ensure_volume(f"{own_label}-store", labels)
    engine.ensure_volume(f"{own_label}-store", labels)
    listed = subprocess.run(
        ["docker", "volume", "ls", "--quiet", f"--filter=label={spec.LABEL_PROJECT}={own_label}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert listed.stdout.split() == [f"{own_label}-store"]


def test_a_build_that_fails_is_an_error_of_ours(engine: DockerEngine) -> None:
    with pytest.raises(ImageBuildFailed):
        engine.build(["--file=/nowhere/Dockerfile", "/nowhere"], lambda _: None)
