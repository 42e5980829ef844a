"""The store lets go what no build uses, while builds run: none of them fails, and each ISO is what it was to be."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from synos_tasks.images.catalog import BUILDER
from tests.build_helpers import docker

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.integration

# Instead of packages: a shell for the hooks, and what the real stages above it look for.
BASE = '''"""A root of a few files."""

import shutil
from pathlib import Path

from synos_tasks.iso.stagespec import StageSpec

STAGE = StageSpec(order=0)


def make(inputs, root):
    for name in ("usr/bin", "usr/lib", "usr/lib64", "boot", "dev", "etc/apt", "etc/initramfs-tools", "tmp", "var"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "usr/lib/x86_64-linux-gnu").mkdir()
    for name in ("usr/bin/sh", "usr/bin/sleep", "lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6"):
        shutil.copyfile(Path("/", name).resolve(), root / name)
        (root / name).chmod(0o755)
    (root / "boot/vmlinuz-1").write_text("kernel")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\\nkim:x:1000:1001::/home/kim:/bin/sh\\n")
    (root / "etc/group").write_text("root:x:0:\\nkim:x:1001:\\nmail:x:8:\\n")
'''
INITRAMFS = """

def kernel_versions(root):
    return ["1"]


def make(context, copy, kernels, folder):
    (folder / "initrd.img").write_text("initramfs")
    shutil.copyfile(copy / "root/boot/vmlinuz-1", folder / "vmlinuz")
    return {"kernels": kernels}
"""
HOOK = "#!/bin/sh\necho {0} >/etc/hooked\nsleep 0.2\n"
EVICTOR = """
import pathlib, time
from synos_tasks.iso.eviction import Limits, evict
from synos_tasks.iso.store import Store
cache, gone = pathlib.Path("/cache"), 0
while not (cache / "enough").exists():
    gone += evict(Store(cache, print), Limits(max_age=-1.0, young=0.0)).count
    time.sleep(0.01)
print(gone)
"""
NOT_STORED = {"bootfiles", "iso"}
LARGE = "1100M"
"""More than the least that can be set as a limit, with next to nothing written."""


@pytest.fixture(scope="module")
def small(clone: Clone) -> Clone:
    """The clone, with stages that take no time; the store, and all that uses it, is the real one."""
    clone.add("synos_tasks/iso/stages/base.py", BASE)
    path = clone.root / "synos_tasks/iso/stages/initramfs.py"
    path.write_text(path.read_text() + INITRAMFS)
    for name in ("one", "two", "three"):
        profile(clone, name, name)
    return clone


def profile(clone: Clone, name: str, says: str) -> None:
    clone.tiny_profile(name, HOOK.format(says))
    clone.lock_nothing(name)


def keys_of(answer: Answer) -> dict[str, str]:
    return {stage["name"]: stage["key"] for stage in answer.json["stages"] if stage["name"] not in NOT_STORED}


def stored(clone: Clone) -> set[str]:
    return set(clone.in_store("ls /cache/objects").split())


def unused_since(clone: Clone, days: int, *keys: str) -> None:
    entries = " ".join(f"/cache/objects/{key}/entry.json" for key in keys)
    clone.in_store(f"touch -d '{days} days ago' {entries}")


def build(clone: Clone, name: str, output: str, *options: str, max_gb: int = 20) -> Answer:
    limit = {"INVOKE_SYNOS_MAINT_STORE_MAX_GB": str(max_gb)}
    words = ("--profile", name, "--output", str(clone.root / output), *options)
    return clone.inv("build.iso", *words, fails=False, **limit)


def test_a_build_lets_go_what_is_beyond_the_limits_and_all_is_made_again_when_it_is_wanted(
    small: Clone,
) -> None:
    first = build(small, "one", "a")
    assert set(keys_of(first).values()) == stored(small)
    assert "store:" not in first.err
    large = "f" * 64
    small.in_store(
        f"mkdir /cache/objects/{large}; fallocate -l {LARGE} /cache/objects/{large}/layer.squashfs"
    )
    small.in_store(f"echo '{{}}' >/cache/objects/{large}/entry.json")
    unused_since(small, 20, large)
    unused_since(small, 10, *keys_of(first).values())

    profile(small, "one", "another")
    second = build(small, "one", "a", max_gb=1)
    assert "store: removed 1.15 GB" in second.err
    assert stored(small) == {*keys_of(first).values(), *keys_of(second).values()}, "the oldest was enough"
    assert second.json["sha256"] == build(small, "one", "b", "--no-cache").json["sha256"]

    own = set(keys_of(first).values()) - set(keys_of(second).values())
    assert own
    unused_since(small, 40, *stored(small))
    profile(small, "one", "a third")
    third = build(small, "one", "a")
    assert "store: removed" in third.err
    assert stored(small) == set(keys_of(third).values()), "what it used is as young as it is old"

    profile(small, "one", "one")
    again = build(small, "one", "c")
    assert set(again.made) == {"hook-one.sh", "identity", *NOT_STORED}
    assert again.json["sha256"] == first.json["sha256"]
    assert small.in_store("ls -A /cache/tmp /cache/locks").split() == ["/cache/locks:", "/cache/tmp:"]


def start_evictor(clone: Clone) -> subprocess.Popen[str]:
    """Remove all while no build runs, again and again, until the store has a file that says enough."""
    argv = ["docker", "run", "--rm", f"--label={clone.label}", "--network=none", f"--volume={clone.root}:/project:ro",
            f"--volume={clone.settings.project.store_volume}:/cache", BUILDER.tag(clone.settings.project),
            "python3", "-c", EVICTOR]  # fmt: skip
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


@pytest.mark.long
def test_no_build_fails_while_evictions_are_tried_again_and_again(small: Clone) -> None:
    build(small, "two", "a")
    evictors = [start_evictor(small) for _ in range(2)]
    found: dict[str, set[str]] = {name: set() for name in ("one", "two", "three")}
    made = 0
    for turn in range(2):
        running = {name: small.start(name, output=str(small.root / f"{turn}-{name}")) for name in found}
        for name, process in running.items():
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            assert "warning" not in err
            answer = json.loads(out)
            found[name].add(answer["sha256"])
            made += sum(not stage["hit"] for stage in answer["stages"] if stage["name"] not in NOT_STORED)
    small.in_store("touch /cache/enough")
    gone = [int(evictor.communicate(timeout=20)[0]) for evictor in evictors]
    assert sum(gone) > 10, "nothing was at stake"
    assert made > 10
    # the same each time, whatever of it was made, found, or made by another build meanwhile
    assert {name: len(sums) for name, sums in found.items()} == dict.fromkeys(found, 1)
    assert next(small.root.glob("0-two/synos-two-*.iso")).stat().st_size > 10**6
    assert docker("ps", "--quiet", f"--filter=label={small.label}") == ""
