"""What all tests share. A missing engine fails the tests that need one; it never skips them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from synos_tasks import settings
from synos_tasks.build.planning import Context
from synos_tasks.engine.client import Docker
from synos_tasks.engine.failures import check_versions
from synos_tasks.engine.labels import LABEL_PROJECT
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN
from synos_tasks.services.stack import open_stack
from tests.build_helpers import ROOT, copy_project
from tests.services_clones import SERVICES, services_clone, take_down

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.build_helpers import Answer, Clone


hypothesis.settings.register_profile("few", max_examples=25, deadline=None)
hypothesis.settings.register_profile("many", max_examples=2000, deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    """Try few examples of each property, but many with ``-m nightly``; let commands of tests end by each signal."""
    hypothesis.settings.load_profile("many" if "nightly" in config.option.markexpr else "few")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, commands of tests would ignore it too


class Files(LoadScopeScheduling):  # type: ignore[misc]
    """Keep the tests of a file in one process, and of all files that use the fixture `warm`: its store fills once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "warm" if re.search(r"\b(warm|minimal): ", (ROOT / file).read_text()) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Files:
    """Replace the scheduler; xdist's own groups do nothing in pytest 9.2, where a test's id cannot be changed."""
    return Files(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark property tests, so that ``-m nightly`` runs them alone."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("nightly")


@pytest.fixture(scope="session")
def engine() -> Docker:
    """The real engine, new enough; EngineUnavailable or EngineTooOld is an error of the test."""
    docker = Docker()
    check_versions(docker.info())
    return docker


@pytest.fixture(scope="session")
def own_label() -> Iterator[str]:
    """A project id that only this run of the tests has; all that carries it is removed at the end."""
    project = f"synos-test-{uuid.uuid4().hex[:10]}"
    yield project
    remove_labelled(project)


@pytest.fixture(scope="session")
def builder_image(engine: Docker) -> str:
    """The builder image, made once and labelled as the project's own: it outlives the tests."""
    return ensure_image(Context(settings.load(ROOT, {"name": "synos"}), Docker(), print), BUILDER)


@pytest.fixture(scope="session")
def toolchain_image(engine: Docker) -> str:
    """The image that compiles, made once and labelled as the project's own."""
    return ensure_image(Context(settings.load(ROOT, {"name": "synos"}), Docker(), print), TOOLCHAIN)


@pytest.fixture(scope="module")
def clone(builder_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A copy of the project with an id of its own."""
    copy = copy_project(tmp_path_factory.mktemp("clone"))
    copy.output.mkdir()
    yield copy
    remove_labelled(copy.settings.project.id)


@pytest.fixture(scope="session")
def warm(builder_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose store fills as the tests build: the longest stages run once for all of them."""
    copy = copy_project(tmp_path_factory.mktemp("warm"))
    # or a profile on top of it, whose lock is new, would not share its layers once the mirror has an update
    copy.inv("build.lock", "--profile", "minimal")
    yield copy
    remove_labelled(copy.settings.project.id)


@pytest.fixture(scope="session")
def minimal(warm: Clone) -> Answer:
    """Profile `minimal`, built by the public command; the first time from nothing."""
    return warm.inv("build.iso", "--profile", "minimal")


@pytest.fixture(scope="session")
def service_images(engine: Docker) -> None:
    """The images of the services, made once and labelled as the project's own: they outlive the tests."""
    open_stack(settings.load(ROOT, {"name": "synos"}), "unified", print).ensure_images(
        (*SERVICES, "nats-box")
    )


@pytest.fixture(scope="session")
def official_cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The official CLI of development containers on PATH, of one version, with its checksum."""
    folder = shutil.copytree(
        ROOT / "tests/integration/devcontainer-cli", tmp_path_factory.mktemp("cli") / "it"
    )
    argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder / "node_modules/.bin"), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def stack(service_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose services run. Tests leave them running, and healthy."""
    with running_services(tmp_path_factory.mktemp("stack")) as clone:
        yield clone


@contextmanager
def running_services(folder: Path) -> Iterator[Clone]:
    """Yield a clone whose services run; remove all of it afterwards."""
    clone = services_clone(folder)
    clone.inv("services.up")
    yield clone
    take_down(clone)
    remove_labelled(clone.settings.project.id)


def remove_labelled(project: str) -> None:
    """Remove all that carries a project's label, and nothing else."""
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
