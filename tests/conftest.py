"""What all tests share. A missing engine fails the tests that need one; it never skips them."""

from __future__ import annotations

import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine.gateway import DockerEngine, check_versions
from synos_tasks.engine.spec import LABEL_PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def engine() -> DockerEngine:
    """The real engine, new enough; EngineUnavailable or EngineTooOld is an error of the test."""
    docker = DockerEngine()
    check_versions(docker.facts())
    return docker


@pytest.fixture(scope="session")
def own_label() -> Iterator[str]:
    """A project id that only this run of the tests has; all that carries it is removed at the end."""
    project = f"synos-test-{uuid.uuid4().hex[:10]}"
    yield project
    _remove_labelled(project)


def _remove_labelled(project: str) -> None:
    label = f"--filter=label={LABEL_PROJECT}={project}"
    for listing, removal in (
        (["ps", "--all", "--quiet"], ["rm", "--force", "--volumes"]),
        (["volume", "ls", "--quiet"], ["volume", "rm", "--force"]),
        (["network", "ls", "--quiet"], ["network", "rm"]),
        (["image", "ls", "--all", "--quiet"], ["image", "rm", "--force"]),
    ):
        if found := set(_docker(*listing, label).split()):
            _docker(*removal, *sorted(found))


def _docker(*arguments: str) -> str:
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""  # no test can have made anything
    return done.stdout
