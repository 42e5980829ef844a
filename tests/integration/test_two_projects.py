"""Two projects of one name on one engine, even at one path: what is equal is shared, and neither has what is the other's."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks import settings
from synos_tasks.build.planning import Context
from synos_tasks.engine.labels import LABEL_CONTAINER, LABEL_FILE, LABEL_FOLDER, labels
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import BOOKWORM, Recipe
from tests.build_helpers import ROOT, Clone, copy_project, docker
from tests.conftest import remove_labelled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from synos_tasks.engine.client import Docker
    from synos_tasks.settings import Settings

pytestmark = pytest.mark.integration
SHARED = {"files of this clone", "build cache", "build cache mounts"}
"""Not of the engine, or the same for all clones of one Dockerfile."""
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


@dataclass(frozen=True)
class Job:
    """A clone that sees itself at a path where another one sees itself too, as jobs of CI do that share an engine."""

    clone: Clone
    path: Path

    def inv(self, *words: str) -> dict[str, Any]:
        """Run a verb there, in a mount namespace of its own."""
        script = 'mount --bind "$1" "$2"; cd "$2"; shift 2; exec "$@"'
        folders = (str(self.clone.root), str(self.path))
        argv = [
            "unshare",
            "--mount",
            "sh",
            "-euc",
            script,
            "sh",
            *folders,
            sys.executable,
            "-m",
            "invoke",
            *words,
        ]
        done = subprocess.run([*argv, "--json"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @property
    def project(self) -> str:
        return (self.clone.root / ".synos/id").read_text().split()[0]

    @property
    def has(self) -> set[str]:
        return {f"{self.project}-{name}" for name in ("build-1", "dev-c-dev-1", "data", "net")}

    def fill(self) -> None:
        """Make one of each, as the library's own calls and the official CLI do."""
        project = self.project
        config = self.path / ".devcontainer/c/devcontainer.json"
        compose = {"com.docker.compose.project": f"{project}-dev-c", "com.docker.compose.service": "dev"}
        dev = {**compose, **labels(project, "dev"), LABEL_FOLDER: str(self.path), LABEL_FILE: str(config)}
        build = {**labels(project, "build"), LABEL_CONTAINER: f"{project}-build-1"}
        for name, marks in ((f"{project}-build-1", build), (f"{project}-dev-c-dev-1", dev)):
            docker("run", f"--name={name}", *flags(marks), "--network=none", BOOKWORM, "true")
        docker("volume", "create", *flags(labels(project, "services")), f"{project}-data")
        docker("network", "create", *flags(labels(project, "services")), f"{project}-net")

    def to_reset(self) -> set[str]:
        steps = self.inv("--dry", "maint.reset", "--without-backup")["steps"]
        return {name for step in steps if step["name"] not in SHARED for name in step["names"]}


def flags(marks: dict[str, str]) -> list[str]:
    return [f"--label={key}={value}" for key, value in marks.items()]


@pytest.fixture
def jobs(tmp_path: Path, builder_image: str) -> Iterator[list[Job]]:
    path, made = tmp_path / "project", []
    path.mkdir()
    for name in ("one", "two"):
        clone = copy_project(tmp_path / name)
        for file in ("docker/dev/docker-compose.yml", ".devcontainer/c/devcontainer.json"):
            clone.add(file, (ROOT / file).read_text())
        made.append(Job(clone, path))
        (tmp_path / name / ".synos/logs").mkdir(parents=True)  # as where CI restores a part of it
        assert made[-1].inv("maint.volumes")["volumes"] == []
    try:
        yield made
    finally:
        for job in made:
            remove_labelled(job.project)


def test_of_two_clones_at_one_path_no_verb_of_one_sees_what_is_the_others(jobs: list[Job]) -> None:
    one, two = jobs
    one.fill()
    assert two.to_reset() == set()
    two.fill()
    for job, other in (jobs, jobs[::-1]):
        assert job.to_reset() == job.has
        planned = job.inv("--dry", "maint.prune", "--all", "--older-than=0m")
        assert not other.has & {item["name"] for part in ("planned", "kept") for item in planned[part]}
        assert [item["name"] for item in job.inv("maint.volumes")["volumes"]] == [f"{job.project}-data"]
        [dev] = job.inv("dev.list")["containers"]
        assert dev["container"] == f"{job.project}-dev-c-dev-1"
        assert f"{other.project}-" not in json.dumps(job.inv("doctor"))


def test_a_container_of_an_image_committed_from_one_of_ours_is_not_ours(jobs: list[Job]) -> None:
    job, mark = jobs[0], uuid.uuid4().hex[:8]
    job.fill()
    theirs = [f"theirs-{mark}-{number}" for number in range(2)]
    try:
        for name, source in zip(theirs, ("build-1", "dev-c-dev-1"), strict=True):
            docker("commit", f"{job.project}-{source}", name)
            docker("run", f"--name={name}", "--network=none", name, "true")
            docker("image", "rm", "--force", name)
        assert job.to_reset() == job.has
    finally:
        subprocess.run(["docker", "rm", "--force", *theirs], check=False, capture_output=True)
