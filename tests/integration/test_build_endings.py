"""However a build ends, nothing of it runs on, nothing half made has a final name, and the next one works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.iso import publish
from synos_tasks.iso.publish import STAGING_PREFIX
from tests.build_helpers import Clone, copy_project, docker, processes_of, wait_until
from tests.own_engine import OwnEngine
from tests.own_engine import own_engine as own_engines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

AS_EVER = (31, "MirrorUnreachable")
EARLIER = "synos-tiny-0123456789ab.iso"
# Instead of packages: a tool that talks without end, more than any pipe holds when nobody listens.
TALKATIVE = '''"""A stage that never ends."""

from synos_tasks.iso.stagespec import StageSpec

STAGE = StageSpec(order=0)


def make(inputs, root):
    inputs.context.run("base", ["sh", "-c", "while :; do seq 2000; sleep 0.2; done"])
'''


@pytest.fixture(scope="module")
def busy(clone: Clone) -> Clone:
    """The clone with a profile that is soon done, as its mirror refuses, and one to be interrupted."""
    refused = "mirrors:\n  main: http://127.0.0.1:9/debian\n  suites: [release]\n"
    clone.add("docker/build/profiles/tiny.yaml", f"description: A test\npackages: [bash]\n{refused}")
    clone.tiny_profile("slow", "#!/bin/sh\nsleep 60\n")
    (clone.output / EARLIER).write_text("an earlier ISO")
    assert outcome(clone) == AS_EVER
    return clone


def outcome(clone: Clone) -> tuple[int, str]:
    code, answer = clone.build("tiny")
    return code, answer["error"]["kind"]


def start_until_base(clone: Clone, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a build and wait until its container is in the first stage."""
    process = clone.start("slow", environment)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("base") and "started" in line:
            return process
    raise AssertionError(process.communicate())


def end_of(process: subprocess.Popen[str], seconds: float) -> tuple[int, dict[str, Any], str]:
    """Wait for the command's end: exit code, JSON object, standard error."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, json.loads(out) if out.strip() else {}, err


def assert_clean(clone: Clone) -> None:
    """Within 15 seconds nothing runs; the output folder shows the earlier ISO and no other."""
    assert wait_until(lambda: not clone.running(), 15), clone.running()
    # a staging folder begins with a dot: nothing in it has a final name
    assert [path.name for path in clone.output.glob("[!.]*")] == [EARLIER]
    assert (clone.output / EARLIER).read_text() == "an earlier ISO"


def put_partial(clone: Clone) -> Path:
    """Leave in the staging folder what the container would have half written."""
    (partial,) = clone.output.glob(f"{STAGING_PREFIX}*/{publish.ISO}")
    partial.write_text("half")
    return partial


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_ends_with_130_and_its_container_with_it(
    busy: Clone, number: signal.Signals
) -> None:
    process = start_until_base(busy)
    partial = put_partial(busy)
    process.send_signal(number)
    code, _, err = end_of(process, 10)
    assert code == 130
    assert "Traceback" not in err
    assert busy.running() == []
    assert not partial.exists()
    assert_clean(busy)
    assert outcome(busy) == AS_EVER


def test_an_impatient_second_interrupt_leaves_nothing_either(busy: Clone) -> None:
    process = start_until_base(busy)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: docker's clients get it too
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = end_of(process, 10)
    assert code == 130
    assert "Traceback" not in err
    assert_clean(busy)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_a_killed_command_takes_its_container_along(busy: Clone, number: signal.Signals) -> None:
    process = start_until_base(busy)
    partial = put_partial(busy)
    os.killpg(process.pid, number)
    process.communicate(timeout=10)
    assert_clean(busy)
    assert outcome(busy) == AS_EVER
    assert not partial.exists()  # the next build removed what nobody was left to remove


def test_a_killed_command_takes_its_container_along_though_all_in_it_is_stopped(busy: Clone) -> None:
    process = start_until_base(busy)
    docker("exec", "--user=0", *busy.running(), "sh", "-c", "kill -STOP -1; kill -STOP 1")
    process.kill()
    process.communicate(timeout=10)
    assert_clean(busy)


@pytest.mark.parametrize("kind", ["build", "stage"])
def test_what_a_killed_command_left_is_told_and_ended_by_the_next(busy: Clone, kind: str) -> None:
    """As a paused container does not see that its command is gone."""
    process = start_until_base(busy)

    def names() -> list[str]:
        return docker("ps", f"--filter=label={busy.label}", "--format={{.Names}}").split()

    def told(*words: str) -> str:
        return json.dumps(busy.inv(*words).json.get("planned") or busy.inv("doctor").json)

    assert wait_until(lambda: any(f"-{kind}-" in name for name in names()), 60)
    (left,) = (name for name in names() if f"-{kind}-" in name)
    docker("pause", left)
    assert left not in told("--dry", "maint.prune") + told("doctor"), "its command runs"
    process.kill()
    process.communicate(timeout=10)
    assert wait_until(lambda: names() == [left], 15), names()
    assert left in told("--dry", "maint.prune")
    assert left in told("doctor")
    assert outcome(busy) == AS_EVER
    assert_clean(busy)
    volumes = docker("volume", "ls", "--quiet", f"--filter=label={busy.label}")
    assert volumes == busy.settings.project.store_volume


def test_a_killed_container_is_an_error_with_a_name(busy: Clone) -> None:
    process = start_until_base(busy)
    partial = put_partial(busy)
    docker("kill", *busy.running())
    code, answer, err = end_of(process, 15)
    assert not partial.exists()
    assert (code, answer["error"]["kind"]) == (36, "ContainerLost")
    assert "Traceback" not in err
    assert_clean(busy)
    assert outcome(busy) == AS_EVER
    volumes = docker("volume", "ls", "--quiet", f"--filter=label={busy.label}")
    # it outlives containers; the work folder's volume does not
    assert volumes == busy.settings.project.store_volume


@pytest.fixture
def own_engine(builder_image: str) -> Iterator[OwnEngine]:
    """An engine with the builder image, apart from the machine's own. Needs root."""
    if os.geteuid() != 0:
        pytest.skip("an engine of one's own needs root")
    with own_engines(builder_image) as engine:
        yield engine


def test_when_the_engine_dies_the_container_ends_and_the_command_says_so(
    own_engine: OwnEngine, builder_image: str, tmp_path: Path
) -> None:
    clone = copy_project(tmp_path / "clone")
    clone.tiny_profile("slow", "#!/bin/sh\n")
    clone.lock_nothing("slow")  # that engine has no network
    clone.add("synos_tasks/iso/stages/base.py", TALKATIVE)
    process = start_until_base(clone, own_engine.environment)
    (container,) = clone.running(own_engine.environment)
    assert processes_of(container)
    own_engine.kill()
    code, answer, err = end_of(process, 15)
    assert (code, answer["error"]["kind"]) == (36, "ContainerLost"), err
    assert "Traceback" not in err
    assert wait_until(lambda: not processes_of(container), 15), processes_of(container)
    assert list(clone.output.glob("*")) == []


def test_an_interrupted_matrix_ends_with_all_its_containers(busy: Clone) -> None:
    busy.add("docker/build/profiles/slower.yaml", "inherits: slow\nhostname: slower\n")
    argv = [sys.executable, "-m", "synos_tasks", "build.matrix", "--profiles", "slow,slower", "--jobs", "2"]
    process = subprocess.Popen(
        argv, cwd=busy.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    # the bare root is common; then each has the hook that sleeps, in a container of its own
    assert wait_until(lambda: len(busy.running()) == 4, 120)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = end_of(process, 15)
    assert code == 130
    assert time.monotonic() - began < 10
    assert "Traceback" not in err
    assert busy.running() == []
    assert_clean(busy)
