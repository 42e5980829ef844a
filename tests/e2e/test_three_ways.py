"""`inv`, compose, and plain docker build and run give the same bytes, components included."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import OWN_DEV, docker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.build_helpers import Answer, Clone

pytestmark = [pytest.mark.e2e, pytest.mark.long]  # one builds what the next uses
PROFILE = "greeting"
SCRIPT = "#!/bin/sh\nrm -rf /usr/share/man\n"


@pytest.fixture(scope="module")
def by_inv(warm: Clone, minimal: Answer) -> Iterator[Answer]:
    """A profile with a component and a hook that removes files, as the default of its clone."""
    assert minimal.json["sha256"]
    warm.add("docker/build/hooks/greeting.sh", SCRIPT)
    warm.add(
        f"docker/build/profiles/{PROFILE}.yaml",
        "inherits: minimal\ncomponents: [synos-welcome]\nhooks: [hooks/greeting.sh]\n",
    )
    settings = warm.root / "invoke.yaml"
    kept = settings.read_text()
    settings.write_text(kept.replace("profile: standard", f"profile: {PROFILE}"))
    yield warm.inv("build.iso")
    settings.write_text(kept)


@pytest.fixture(scope="module")
def compose(warm: Clone) -> Iterator[dict[str, str]]:
    """An environment in which compose touches nothing but what this test makes."""
    project = f"{warm.settings.project.id}-compose"
    names = {
        "COMPOSE_PROJECT_NAME": project,
        "SYNOS_IMAGE": f"{project}:builder",
        "SYNOS_TOOLCHAIN": f"{project}:toolchain",
    }
    environment = {**os.environ, **names}
    yield environment
    down = ["docker", "compose", "--profile", "*", "down", "--volumes", "--rmi", "all"]
    subprocess.run(down, cwd=warm.root / "docker/build", env=environment, check=True, capture_output=True)


def clear(clone: Clone) -> None:
    """Leave no ISO in dist: so that the next way must make one."""
    for path in clone.output.glob(f"synos-{PROFILE}*"):
        path.unlink()


def sha256_of(clone: Clone, name: str) -> str:
    path: Path = clone.output / name
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plain_image(clone: Clone) -> str:
    return f"{clone.settings.project.id}-plain"


def test_each_way_gives_the_same_bytes(warm: Clone, by_inv: Answer, compose: dict[str, str]) -> None:
    name = by_inv.json["iso"].rpartition("/")[2]
    clear(warm)
    up = subprocess.run(
        ["docker", "compose", "up", "--build", "--exit-code-from", "builder"],
        cwd=warm.root / "docker/build", env=compose, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-2000:]
    assert sha256_of(warm, name) == by_inv.json["sha256"]

    clear(warm)
    build = [
        "docker",
        "build",
        f"--label={warm.label}",
        "-t",
        plain_image(warm),
        "-f",
        "docker/build/Dockerfile",
        ".",
    ]
    subprocess.run(build, cwd=warm.root, check=True, capture_output=True)
    run = ["run", "--rm", f"--label={warm.label}", f"-v={warm.root}:/build", plain_image(warm)]
    assert docker(*run) == f"/build/dist/{name}"
    assert sha256_of(warm, name) == by_inv.json["sha256"]
    owner = warm.root.stat()
    made = [path.stat() for path in warm.output.glob(f"{name}*")]
    assert {(stat.st_uid, stat.st_gid) for stat in made} == {(owner.st_uid, owner.st_gid)}
    assert docker(*run) == f"/build/dist/{name}"


def test_an_image_older_than_a_component_says_so(warm: Clone, by_inv: Answer) -> None:
    source = warm.root / "docker/build/components/synos-welcome/src/main.c"
    kept = source.read_text()
    source.write_text(f"{kept}/* edited */\n")
    clear(warm)
    run = ["docker", "run", "--rm", f"--label={warm.label}", f"-v={warm.root}:/build", plain_image(warm)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    source.write_text(kept)
    assert done.returncode == 19
    assert "synos-welcome" in done.stderr
    assert "docker build" in done.stderr
    assert not list(warm.output.glob(f"synos-{PROFILE}*"))


def test_an_image_without_a_project_says_how(warm: Clone, by_inv: Answer) -> None:
    run = ["docker", "run", "--rm", f"--label={warm.label}", plain_image(warm)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 20
    assert "no SynOS project is mounted" in done.stderr
    assert "not for long-running services" in done.stderr


def test_composes_privileged_builder_has_a_dev_of_its_own(
    warm: Clone, by_inv: Answer, compose: dict[str, str]
) -> None:
    run = ["docker", "compose", "--profile", "privileged", "run", "--rm", "builder-privileged"]
    done = subprocess.run(
        [*run, "sh", "-c", "ls /dev; grep -c devtmpfs /proc/mounts"],
        cwd=warm.root / "docker/build", env=compose, capture_output=True, text=True, check=False,
    )  # fmt: skip
    *devices, mounts = done.stdout.split()
    assert mounts == "0"
    assert set(devices) == OWN_DEV
