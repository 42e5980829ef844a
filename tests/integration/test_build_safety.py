"""Whatever a hook does, the host stays as it is. The attempts are such that even a success would do no harm."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.build.containers import builder_spec, delivered_files
from synos_tasks.build.planning import Context
from synos_tasks.engine.client import Docker
from synos_tasks.engine.labels import BUILDER_CAPABILITIES, labels
from synos_tasks.host import Mount, mount_table
from synos_tasks.images.uplink import certificates
from synos_tasks.iso import publish
from synos_tasks.settings import BuildSettings
from tests import attacks
from tests.attacks import CAPABILITY_BITS
from tests.build_helpers import ROOT, host_state

if TYPE_CHECKING:
    from synos_tasks.engine.client import Docker
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.settings import Settings
    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration

PROBE = """
import json, os
def read(*paths):
    return next((open(path).read() for path in paths if os.path.exists(path)), "")
def may_write(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    os.unlink(path)
    return "yes"
group = "/sys/fs/cgroup/"
print(json.dumps({
    "status": dict(line.split(":\\t", 1) for line in read("/proc/self/status").splitlines() if ":\\t" in line),
    "sockets": [path for path in ("/var/run/docker.sock", "/run/docker.sock") if os.path.exists(path)],
    "mountinfo": read("/proc/self/mountinfo"),
    "project": may_write("/project/docker/build/written"), "store": may_write("/cache/written"),
    "memory": read(group + "memory/memory.limit_in_bytes", group + "memory.max").strip(),
    "pids": read(group + "pids/pids.max", group + "pids.max").strip(),
    "cpu": read(group + "cpu/cpu.cfs_quota_us", group + "cpu.max").split()[0],
    "spaces": {name: os.readlink("/proc/self/ns/" + name) for name in ("pid", "net", "mnt", "ipc", "uts")},
}))
"""

# rm comes before any mount
HOSTILE = r"""#!/bin/bash
rm -rf /dev/* 2>/tmp/said
mknod -m 666 /dev/null c 1 3
cat >/tmp/attacks <<'ALL'
@ATTACKS@
ALL
bash /tmp/attacks hook
bomb() { timeout -s KILL 4 bash -c 'b() { b & b; }; b'; }
bomb >/tmp/said 2>&1
echo "BOMB ended"
grep -s '^max' /sys/fs/cgroup/pids/pids.events /sys/fs/cgroup/pids.events | sed 's/.*max/BOMB refused/'
exit 7
"""
OF_PLACE = {*attacks.REACH, *attacks.FIRST_PROCESS}
"""Attacks that say nothing in the builder itself, which has the store, and whose first process is then the script."""


@pytest.fixture(scope="module")
def hostile(clone: Clone) -> Clone:
    """The clone, with a profile whose hook tries everything, and room for few processes."""
    values = {name: f"{name} of the tests" for name in ("KEY", *attacks.MARKS)}
    script = attacks.script({**values, "ROOT": str(clone.root), "PORT": "9", "GATEWAY": "127.0.0.1"})
    clone.tiny_profile("hostile", HOSTILE.replace("@ATTACKS@", script))
    settings = (clone.root / "invoke.yaml").read_text()
    (clone.root / "invoke.yaml").write_text(re.sub(r"pids: \d+", "pids: 200", settings))
    return clone


def run(engine: Docker, spec: ContainerSpec) -> str:
    process = engine.attach(spec)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        engine.remove_container(spec.name, force=True)
        process.kill()
    return out.decode() + err.decode()


def spec_of(engine: Docker, clone: Clone, settings: Settings, image: str, *command: str) -> ContainerSpec:
    clone.output.mkdir(exist_ok=True)
    engine.create_volume(settings.project.store_volume, labels(settings.project.id, "cache"))
    for name in publish.MOST_BYTES:
        (clone.output / name).touch()
    spec = builder_spec(Context(settings, engine, print), more=delivered_files(clone.output))
    return dataclasses.replace(spec, image=image, command=tuple(command))


@pytest.fixture(scope="module")
def seen(engine: Docker, clone: Clone, builder_image: str) -> dict[str, Any]:
    """What a process sees inside the builder that a build would get."""
    return probe(engine, clone, clone.settings, builder_image)


def probe(engine: Docker, clone: Clone, settings: Settings, image: str) -> dict[str, Any]:
    clone.add("docker/build/probe.py", PROBE)
    facts: dict[str, Any] = json.loads(
        run(engine, spec_of(engine, clone, settings, image, "python3", "/project/docker/build/probe.py"))
    )
    return facts


def mounts(seen: dict[str, Any], tmp_path: Path) -> tuple[Mount, ...]:
    (tmp_path / "mountinfo").write_text(seen["mountinfo"])
    return mount_table(tmp_path / "mountinfo")


def test_the_builder_has_its_ten_capabilities_and_gains_no_more(seen: dict[str, Any]) -> None:
    assert set(CAPABILITY_BITS) == set(BUILDER_CAPABILITIES)
    wanted = sum(1 << bit for bit in CAPABILITY_BITS.values())
    masks = {name: int(seen["status"][name], 16) for name in ("CapPrm", "CapEff", "CapBnd")}
    assert masks == dict.fromkeys(masks, wanted)
    assert seen["status"]["NoNewPrivs"] == "1"


def test_the_builder_has_name_spaces_of_its_own_and_no_engine(seen: dict[str, Any]) -> None:
    assert seen["sockets"] == []
    for name, ident in seen["spaces"].items():
        assert ident != str(Path(f"/proc/self/ns/{name}").readlink())


def test_the_store_is_writable_and_the_project_is_not(seen: dict[str, Any]) -> None:
    assert seen["project"] == "Read-only file system"
    assert seen["store"] == "yes"


def test_nothing_else_of_the_host_is_mounted(seen: dict[str, Any], clone: Clone, tmp_path: Path) -> None:
    table = mounts(seen, tmp_path)
    virtual = {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay"}
    of_host = {mount.point: mount.root for mount in table if mount.kind not in virtual}
    # the engine's own init, read-only; where it is in the container depends on the engine's version
    of_host = {point: root for point, root in of_host.items() if not point.endswith("/docker-init")}
    named = {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/cache"}
    named |= {"/project/synos_tasks", "/project/docker/build"}
    named |= {bind.target for bind in certificates()}
    named |= {f"/output/{name}" for name in publish.MOST_BYTES}
    assert set(of_host) == named
    # bind mounts tell the folder as its file system sees it: the end of the path is the same
    assert str(clone.root / "docker/build").endswith(of_host["/project/docker/build"])
    assert str(clone.output / publish.ISO).endswith(of_host[f"/output/{publish.ISO}"])
    assert [mount.point for mount in table if mount.kind == "overlay"] == ["/"]


def test_dev_is_a_tmpfs_of_its_own(seen: dict[str, Any], tmp_path: Path) -> None:
    table = mounts(seen, tmp_path)
    assert [mount.kind for mount in table if mount.point == "/dev"] == ["tmpfs"]
    assert [mount for mount in table if mount.kind == "devtmpfs"] == []


@pytest.mark.parametrize(
    "build",
    [BuildSettings(), BuildSettings(cpus=1024, memory_mb=2**30, pids=99)],
    ids=["default", "too much"],
)
def test_limits_are_the_settings_or_what_the_machine_has(
    engine: Docker, clone: Clone, builder_image: str, build: BuildSettings
) -> None:
    info = engine.info()
    assert info.mem_total
    assert info.n_cpu
    seen = probe(engine, clone, dataclasses.replace(clone.settings, build=build), builder_image)
    assert int(seen["memory"]) == min(build.memory_mb, info.mem_total // 2**20) * 2**20
    assert int(seen["cpu"]) == min(build.cpus, info.n_cpu) * 100_000
    assert int(seen["pids"]) == build.pids


def assert_all_failed(text: str, without: set[str]) -> None:
    found = attacks.results(text)["hook"]
    assert found.pop("control"), text
    assert set(found) == set(attacks.ALL)
    assert {name for name, succeeded in found.items() if succeeded} - without == set(), text
    assert "BOMB ended" in text


def test_a_hostile_hook_changes_nothing_on_the_host(engine: Docker, hostile: Clone) -> None:
    root = str(engine.info().docker_root_dir)
    hostile.inv("build.lock", "--profile", "hostile")  # the one file of the project that a build may write
    before = host_state(hostile, root)
    code, answer = hostile.build("hostile")
    assert host_state(hostile, root) == before
    assert (code, answer["error"]["kind"]) == (33, "HookFailed"), answer
    assert_all_failed(hostile.newest_log(), set())
    assert hostile.running() == []


def test_hostile_commands_in_the_builder_itself_change_nothing(
    engine: Docker, hostile: Clone, builder_image: str
) -> None:
    root = str(engine.info().docker_root_dir)
    before = host_state(hostile, root)
    settings = dataclasses.replace(hostile.settings, build=BuildSettings(pids=200))
    script = "/project/docker/build/hooks/hostile.sh"
    text = run(engine, spec_of(engine, hostile, settings, builder_image, "bash", script))
    assert host_state(hostile, root) == before
    assert_all_failed(text, OF_PLACE)
    refused = re.search(r"BOMB refused (\d+)", text)
    assert refused, text
    assert int(refused[1]) > 0


def test_the_engine_refuses_to_run_on_the_host(engine: Docker, clone: Clone) -> None:
    before = host_state(clone, str(engine.info().docker_root_dir))
    done = subprocess.run(
        [sys.executable, "-m", "synos_tasks.iso"],
        cwd=ROOT, input="{}\n", capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 22
    assert done.stdout == ""
    assert "builder container only" in done.stderr
    assert "build.iso" in done.stderr
    assert "Traceback" not in done.stderr
    assert host_state(clone, str(engine.info().docker_root_dir)) == before
