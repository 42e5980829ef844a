"""`inv maint.prune` beside three projects that look like ours: theirs stays, byte for byte, and ours goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.engine import cache
from synos_tasks.engine.client import Docker
from synos_tasks.engine.labels import LABEL_CONTAINER, LABEL_PROJECT, LABEL_ROLE
from synos_tasks.images.catalog import BOOKWORM, BUILDER, TOOLCHAIN
from synos_tasks.maint.prune import free_bytes, freed
from tests import crowd as crowds
from tests.build_helpers import copy_project, docker, wait_until
from tests.conftest import remove_labelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.build_helpers import Answer, Clone
    from tests.crowd import Crowd

pytestmark = pytest.mark.integration

GONE = 4_194_305
"""No process has that number."""
WITHIN = 0.02


@dataclass(frozen=True)
class Ground:
    """A clone with things of its own among those of the others."""

    clone: Clone
    crowd: Crowd
    root_dir: Path
    before: dict[str, Any]
    old: tuple[str, ...]
    """Names of images that Dockerfiles of before gave."""
    current: tuple[str, ...]

    @property
    def project(self) -> str:
        return self.clone.settings.project.id

    def now(self, *words: str, fails: bool = False) -> Answer:
        """Run a verb to which nothing is too young."""
        return self.clone.inv(*words, fails=fails, INVOKE_SYNOS_MAINT_YOUNG_MINUTES="0")

    def prune(self, *options: str) -> Answer:
        answer = self.now("maint.prune", "--yes", "--older-than", "0m", "--keep-last", "1", *options)
        assert self.crowd.state() == self.before
        return answer

    def there(self, kind: str, name: str) -> bool:
        return not subprocess.run(
            ["docker", kind, "inspect", name], capture_output=True, check=False
        ).returncode

    def used_bytes(self) -> int:
        """Measure the clone's own files in the engine's folder: those in its volumes, and those with the mark."""
        volumes = self.root_dir.glob(f"volumes/{self.project}-*/_data/*")
        layers = self.root_dir.glob(f"overlay2/*/diff/{self.crowd.mark}-*")
        return sum(path.stat().st_blocks * 512 for path in (*volumes, *layers))

    def measured_prune(self, *options: str) -> tuple[Answer, int]:
        """Prune; return the bytes of the clone's own files that went, too.

        The verb measures on the disk: so it may say as much more or less as others have written or removed meanwhile.
        """
        disk, used = [self.root_dir], self.used_bytes()
        before = free_bytes(disk)
        answer = self.now("maint.prune", "--yes", "--older-than", "0m", "--keep-last", "1", *options)
        went = used - self.used_bytes()
        others = freed(disk, before, 0) - went
        assert self.crowd.state() == self.before
        assert answer.json["freed_bytes"] == pytest.approx(went, abs=WITHIN * went + 2 * abs(others))
        return answer, went


@pytest.fixture(scope="module")
def ground(engine: Docker, builder_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Build images three times, from another Dockerfile each time, and let the others gather around them."""
    clone, mark = copy_project(tmp_path_factory.mktemp("ground")), f"crowd-{uuid.uuid4().hex[:12]}"
    project, tags = clone.settings.project.id, []
    try:
        for version in range(3):
            crowds.small_images(clone, builder_image, mark, version)
            clone.inv("build.image")
            tags.append(tuple(recipe.tag(clone.settings.project) for recipe in (BUILDER, TOOLCHAIN)))
        context = tmp_path_factory.mktemp("context")
        crowd = crowds.gather(mark, project, tags[-1][0], BOOKWORM, context, old=tags[0][0])
        yield Ground(
            clone=clone,
            crowd=crowd,
            root_dir=Path(engine.info().docker_root_dir or ""),
            before=crowd.state(),
            old=(*tags[0], *tags[1]),
            current=tags[-1],
        )
    finally:
        crowds.disperse(mark)
        remove_labelled(project)


def labels(ground: Ground, role: str) -> list[str]:
    return [f"--label={LABEL_PROJECT}={ground.project}", f"--label={LABEL_ROLE}={role}"]


def volume(ground: Ground, name: str, role: str, megabytes: int) -> str:
    """Make a volume of ours that holds something."""
    docker("volume", "create", *labels(ground, role), name)
    fill = f"head -c {megabytes}000000 /dev/urandom >/v/data"
    docker("run", "--rm", *labels(ground, "test"), f"--volume={name}:/v", BOOKWORM, "sh", "-c", fill)
    return name


def ours(ground: Ground) -> list[set[str]]:
    """Give the ids of all that carries the clone's label, and of the cache of its steps."""
    label = f"--filter=label={LABEL_PROJECT}={ground.project}"
    listings = (("images", "--all"), ("ps", "--all"), ("network", "ls"), ("volume", "ls"))
    found = [set(docker(*listing, "--quiet", label).split()) for listing in listings]
    records = cache.disk_usage("build-cache").records
    return [*found, {one.id for one in records if ground.crowd.mark in one.description}]


def test_the_others_are_a_crowd(ground: Ground) -> None:
    assert len(ground.crowd.images) > crowds.IMAGES
    assert (len(ground.crowd.volumes), len(ground.crowd.containers)) == (crowds.VOLUMES, crowds.CONTAINERS)
    states = json.loads(docker("container", "inspect", *ground.crowd.containers))
    assert {state["State"]["Status"] for state in states} == {"running", "exited"}
    # some are of our image, and so have its labels: a build, which removes what its likes have left, must not see them
    inherited = [state for state in states if state["Config"]["Labels"].get(LABEL_PROJECT) == ground.project]
    assert inherited
    names = set(ground.crowd.containers)
    found = {one.name for one in Docker().containers({LABEL_PROJECT: ground.project})}
    assert not {name for name in found & names if name.startswith(f"{ground.project}-")}


def test_a_dry_run_tells_and_changes_nothing(ground: Ground) -> None:
    there = ours(ground)
    told = ground.now("--dry", "maint.prune", "--all")
    assert told.json["planned"]
    assert told.json["removed"] == []
    assert ours(ground) == there
    assert ground.crowd.state() == ground.before
    refused = ground.now("maint.prune", "--all", fails=True)
    assert "not confirmed" in refused.err
    assert ours(ground) == there


def test_what_was_made_a_moment_ago_stays(ground: Ground) -> None:
    told = ground.clone.inv("maint.prune", "--yes", "--all")
    assert told.json["planned"] == []


def test_what_is_left_and_what_is_old_goes(ground: Ground) -> None:
    once = volume(ground, f"{ground.project}-once-{GONE}-deadbeef", "cache", 150)
    left, network = f"{ground.project}-build-left", f"{ground.project}-unified_left"
    runs = f"{ground.project}-build-runs"
    write = f"head -c 15000000 /dev/urandom >/{ground.crowd.mark}-written"
    own = f"--label={LABEL_CONTAINER}={left}"
    docker(
        "run",
        "--name",
        left,
        *labels(ground, "build"),
        own,
        "--entrypoint=",
        ground.old[0],
        "sh",
        "-c",
        write,
    )
    docker(
        "run",
        "--detach",
        "--rm",
        "--name",
        runs,
        *labels(ground, "build"),
        "--entrypoint=",
        ground.old[2],
        "sleep",
        "300",
    )
    wanted, waits = f"{network}-wanted", f"{ground.crowd.mark}-waits"
    for name in (network, wanted):
        docker("network", "create", *labels(ground, "services"), name)
    theirs = f"--label={crowds.LABEL_CROWD}={ground.crowd.mark}"
    docker("create", theirs, "--name", waits, f"--network={wanted}", BOOKWORM, "true")
    told, went = ground.measured_prune()
    assert went > 164_000_000
    assert not ground.there("volume", once)
    assert not ground.there("container", left)
    assert not ground.there("network", network)
    assert ground.there("network", wanted), "somebody's container that never ran is to be on it"
    docker("rm", waits)
    assert [ground.there("image", tag) for tag in ground.old] == [False, False, True, False]
    assert all(ground.there("image", tag) for tag in ground.current)
    reasons = {thing["name"]: thing["reason"] for thing in told.json["kept"]}
    assert reasons[ground.old[2]] == f"in use by {runs}"
    docker("rm", "--force", runs)


def test_a_prune_that_is_killed_can_be_run_again(ground: Ground) -> None:
    names = [f"{ground.project}-once-{GONE}-{number:08x}" for number in range(40)]
    for name in names:
        docker("volume", "create", *labels(ground, "cache"), name)
    argv = [sys.executable, "-m", "invoke", "maint.prune", "--yes"]
    environment = {**os.environ, "INVOKE_SYNOS_MAINT_YOUNG_MINUTES": "0"}
    with subprocess.Popen(argv, cwd=ground.clone.root, env=environment, stderr=subprocess.DEVNULL) as process:
        assert wait_until(lambda: not ground.there("volume", names[0]), 20)
        process.kill()
    left = [name for name in names if ground.there("volume", name)]
    told = ground.prune()
    assert {thing["name"] for thing in told.json["removed"]} >= set(left)
    assert not [name for name in names if ground.there("volume", name)]


def test_our_cache_goes_and_theirs_stays(ground: Ground) -> None:
    told, went = ground.measured_prune("--cache")
    names = [thing["name"] for thing in told.json["removed"]]
    kept = [(one["name"], one["reason"]) for one in told.json["kept"] if "synos-tiny" in one["name"]]
    assert f"cache mount synos-tiny-{ground.crowd.mark}" in names, (kept, told.json["stayed"])
    # the mount, and two versions of two images, but for what somebody has built on; those of now keep their layers
    assert went > 50_000_000 + 20_000_000 + 70_000_000
    assert not [name for name in names if any(mount in name for mount in ground.crowd.mounts)]
    again = ground.prune("--cache")
    assert again.json["planned"] == []
    assert "nothing to prune" in again.err


def test_the_store_lets_go_what_no_build_has_used(ground: Ground) -> None:
    ground.clone.inv("build.plan", "--profile", "minimal")  # makes the store
    for key, age in (("a" * 64, "20 days ago"), ("b" * 64, "1 hour ago")):
        ground.clone.in_store(
            f"mkdir -p /cache/objects/{key}; head -c 12000000 /dev/urandom >/cache/objects/{key}/layer.squashfs;"
            f"echo '{{}}' >/cache/objects/{key}/entry.json; touch -d '{age}' /cache/objects/{key}/*"
        )
    told = ground.now("maint.prune", "--yes", "--store")
    assert ground.crowd.state() == ground.before
    assert [thing["id"] for thing in told.json["removed"] if thing["kind"] == "store"] == ["a" * 64]
    assert ground.clone.in_store("ls /cache/objects") == "b" * 64
    assert ground.there("volume", ground.clone.settings.project.store_volume)


def test_data_goes_only_when_it_is_elsewhere_too(ground: Ground) -> None:
    data = volume(ground, f"{ground.project}-unified_nats", "services", 5)
    refused = ground.prune("--volumes")
    assert {thing["name"]: thing["reason"] for thing in refused.json["kept"]}[data].endswith(
        "no fresh backup of it"
    )
    assert ground.there("volume", data)
    ground.clone.inv("maint.volumes", "--export", data)
    assert ground.there("volume", data)
    ground.prune()
    assert ground.there("volume", data)
    ground.prune("--volumes")
    assert not ground.there("volume", data)


def test_all_takes_what_can_be_made_again_and_no_more(ground: Ground) -> None:
    caches = volume(ground, f"{ground.project}-ccache", "cache", 5)
    data = volume(ground, f"{ground.project}-unified_redis", "services", 5)
    ground.prune("--all")
    assert not ground.there("volume", caches)
    assert ground.there("volume", data)
    assert all(ground.there("image", tag) for tag in ground.current)
    usage = ground.clone.inv("maint.disk").json
    assert usage["others_bytes"] > 0
    assert {row["name"] for row in usage["rows"]} >= {"images", "volumes with data"}
    assert ground.crowd.state() == ground.before


def test_a_build_keeps_the_newest_images_alone(ground: Ground) -> None:
    text = (ground.clone.root / "docker/build/Dockerfile").read_text()
    tags = []
    for number in range(3):
        ground.clone.add("docker/build/Dockerfile", f"{text}# {number}\n")
        told = ground.clone.inv(
            "build.image", INVOKE_SYNOS_MAINT_YOUNG_MINUTES="0", INVOKE_SYNOS_MAINT_IMAGES_KEEP="1"
        )
        tags.append(TOOLCHAIN.tag(ground.clone.settings.project))
    assert "images beyond the newest 1 of each kind" in told.err
    assert [ground.there("image", tag) for tag in tags] == [False, False, True]
    assert ground.crowd.state() == ground.before


def test_reset_leaves_a_fresh_clone_and_all_of_the_others(ground: Ground) -> None:
    running = f"{ground.project}-unified-runs"
    own = (*labels(ground, "services"), f"--label={LABEL_CONTAINER}={running}")
    docker("run", "--detach", "--name", running, *own, BOOKWORM, "sleep", "300")
    refused = ground.clone.inv("maint.reset", "--yes", fails=True)
    assert "unified_redis" in refused.err
    steps = ground.clone.inv("--dry", "maint.reset", "--without-backup").json["steps"]
    assert "services and development containers that run" in {step["name"] for step in steps}
    assert ground.there("container", running)
    told = ground.clone.inv("maint.reset", "--yes", "--without-backup")
    label = f"--filter=label={LABEL_PROJECT}={ground.project}"
    left = [docker(*words, "--quiet", label) for words in (("volume", "ls"), ("network", "ls"))]
    assert left == ["", ""]
    assert not ground.there("container", running)
    assert not ground.there("image", TOOLCHAIN.tag(ground.clone.settings.project))
    assert "removed: 1 services and development containers that run" in told.json["done"]
    state = (ground.clone.root / ".synos").iterdir()
    assert {path.name for path in state if path.suffix != ".lock"} <= {
        "id",
        "leases",
        "volumes",
        "backups",
        "setup",
    }
    assert ground.crowd.state() == ground.before
    again = ground.clone.inv("--dry", "maint.reset")
    assert {step["name"] for step in again.json["steps"]} <= {"images"}
