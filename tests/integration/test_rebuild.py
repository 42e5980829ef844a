"""What is built again after a change, and that it is the same as if all had been built from nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.build.containers import compiler_cache_volumes
from tests.build_helpers import docker, wait_until

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.integration
ALWAYS = ["bootfiles", "iso"]
OVERLAY = "overlays/child/etc/child"


def profile(warm: Clone, *packages: str) -> None:
    listed = "".join(f"  - {name}\n" for name in packages)
    warm.add(
        "docker/build/profiles/child.yaml",
        "inherits: minimal\noverlays: [overlays/child]\n" + (f"packages:\n{listed}" if packages else ""),
    )


@pytest.fixture(scope="module")
def child(warm: Clone, minimal: Answer) -> Answer:
    """A profile on top of `minimal`, with a folder of files and one package of its own."""
    assert minimal.json["sha256"]
    warm.add(f"docker/build/{OVERLAY}", "one\n")
    profile(warm, "netbase")
    return warm.inv("build.iso", "--profile", "child")


def test_nothing_changed_and_nothing_is_done(warm: Clone, minimal: Answer) -> None:
    logs = sorted((warm.root / ".synos/logs").iterdir())
    again = warm.inv("build.iso", "--profile", "minimal")
    assert again.made == []
    assert (again.json["iso"], again.json["sha256"]) == (minimal.json["iso"], minimal.json["sha256"])
    assert sorted((warm.root / ".synos/logs").iterdir()) == logs, "a container was started"


def test_a_profile_on_top_of_another_starts_from_its_layers(child: Answer) -> None:
    assert child.made == ["packages-child", "system", "overlay", "identity", *ALWAYS]


def test_a_changed_file_makes_two_small_layers_and_the_iso(warm: Clone, child: Answer) -> None:
    warm.add(f"docker/build/{OVERLAY}", "two\n")
    changed = warm.inv("build.iso", "--profile", "child")
    assert changed.made == ["overlay", "identity", *ALWAYS]
    found = warm.inv("build.diff", child.json["iso"], changed.json["iso"]).json
    assert found["packages"] == []
    assert (found["added"], found["removed"]) == ([], [])
    inside = {path for path, *_ in found["changed"] if path.startswith("/")}
    assert inside == {"/etc/child", "/usr/lib/os-release"}  # which has the build id
    medium = {path for path, *_ in found["changed"]} - inside
    assert medium == {"ISO:.disk/info", "ISO:boot/grub/grub.cfg"}
    warm.add(f"docker/build/{OVERLAY}", "one\n")
    back = warm.inv("build.iso", "--profile", "child")
    assert back.made == []
    assert back.json["sha256"] == child.json["sha256"]


def test_the_plan_says_why(warm: Clone, child: Answer) -> None:
    assert child.json["sha256"]
    profile(warm, "netbase", "tmux")
    warm.add(f"docker/build/{OVERLAY}", "three\n")
    seen = warm.inv("build.plan", "--profile", "child").json
    why = {stage["name"]: stage["why"] for stage in seen["stages"]}
    assert seen["lock"] == "stale"
    assert why["packages-child"] == "packages: +tmux"
    assert why["overlay"] == "overlays/child changed"
    assert why["identity"] == "follows overlay"
    hits = {stage["name"] for stage in seen["stages"] if stage["hit"]}
    assert hits == {"base", "packages-minimal", "initramfs"}
    assert next(stage for stage in seen["stages"] if stage["name"] == "base")["bytes"] > 10**8
    profile(warm, "netbase", "ngnix")
    unknown = warm.inv("build.plan", "--profile", "child", fails=True)
    assert unknown.code == 13
    assert unknown.json["error"]["hint"].startswith("did you mean 'nginx'?")


@pytest.mark.long
def test_one_package_more_and_the_same_bytes_as_from_nothing(warm: Clone, child: Answer) -> None:
    profile(warm, "netbase", "tmux")
    refused = warm.inv("build.iso", "--profile", "child", "--locked", fails=True)
    assert (refused.code, refused.json["error"]["kind"]) == (16, "LockDrift")
    more = warm.inv("build.iso", "--profile", "child")
    assert more.made == ["packages-child", "system", "overlay", "identity", *ALWAYS]
    packages = {
        change["name"]
        for change in warm.inv("build.diff", child.json["iso"], more.json["iso"]).json["packages"]
    }
    assert packages == {"tmux", "libevent-core-2.1-7", "libutempter0"}
    again = warm.inv(
        "build.iso", "--profile", "child", "--no-cache", "--locked", "--output", str(warm.root / "cold")
    )
    assert len(again.made) == len(again.json["stages"])
    assert again.json["sha256"] == more.json["sha256"]


def test_two_builds_at_once_make_each_stage_once(warm: Clone, child: Answer) -> None:
    assert child.json["sha256"]
    profile(warm, "netbase", "less")
    warm.inv("build.lock", "--profile", "child")
    running = [warm.start("child", output=str(warm.root / name)) for name in ("a", "b")]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    assert answers[0]["sha256"] == answers[1]["sha256"]
    made = [
        [stage["name"] for stage in answer["stages"] if not stage["hit"] and stage["name"] not in ALWAYS]
        for answer in answers
    ]
    assert sorted(made[0] + made[1]) == ["identity", "overlay", "packages-child", "system"]


def entry_of(answer: Answer, name: str) -> str:
    key = next(stage["key"] for stage in answer.json["stages"] if stage["name"] == name)
    return f"/cache/objects/{key}"


def without_iso(answer: Answer) -> None:
    Path(answer.json["iso"]).unlink()


MOTD = '''"""motd: a message of the day."""

from synos_tasks.iso.key import Key
from synos_tasks.iso.schema import text
from synos_tasks.iso.stagespec import StageSpec

STAGE = StageSpec(order=45, keys={"motd": Key(kind=text(r"[A-Za-z ]+", "a few words", "Message of the day."))})


def make_files(inputs, lower, target):
    lower.make_parents(target, "etc/motd")
    (target / "etc/motd").write_text(inputs.context.profile.values["motd"] + "\\n")
'''


def test_a_new_stage_is_one_file(warm: Clone, minimal: Answer) -> None:
    warm.add("synos_tasks/iso/stages/motd.py", MOTD)
    named = "docker/build/profiles/greeting.yaml"
    warm.add(named, "inherits: minimal\nmotd: [hello]\n")
    refused = warm.inv("build.iso", "--profile", "greeting", fails=True)
    assert refused.json["error"]["where"] == str(warm.root / f"{named}:2:7")
    warm.add(named, "inherits: minimal\nmotd: hello\n")
    built = warm.inv("build.iso", "--profile", "greeting")
    assert built.made == ["overlay", "motd", "identity", *ALWAYS]  # overlay: the profile has another name
    shown = warm.in_store(f"unsquashfs -cat {entry_of(built, 'motd')}/layer.squashfs etc/motd")
    assert shown.strip() == "hello"
    (warm.root / "synos_tasks/iso/stages/motd.py").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        "dd if=/dev/zero of={0}/layer.squashfs bs=1 seek=5000 count=1 conv=notrunc",
        "echo nonsense >{0}/entry.json",
    ],
    ids=["one byte", "no entry"],
)
def test_a_damaged_layer_is_made_anew(warm: Clone, minimal: Answer, damage: str) -> None:
    without_iso(minimal)
    warm.in_store(damage.format(entry_of(minimal, "packages-minimal")))
    mended = warm.inv("build.iso", "--profile", "minimal")
    assert "damaged in the store" in mended.err
    assert mended.made == ["packages-minimal", *ALWAYS]
    assert mended.json["sha256"] == minimal.json["sha256"]


def test_a_damaged_package_is_fetched_again_and_never_used(warm: Clone, child: Answer) -> None:
    profile(warm, "netbase")
    warm.add(f"docker/build/{OVERLAY}", "one\n")
    warm.inv("build.lock", "--profile", "child")
    warm.inv("build.iso", "--profile", "child")
    lines = (warm.root / "docker/build/profiles/child.lock.yaml").read_text().splitlines()
    sha256 = next(line for line in lines if "name: 'netbase'," in line).split("sha256: '")[1][:64]
    flip = f"printf X | dd of=/cache/pool/{sha256}.deb bs=1 seek=900 conv=notrunc; rm -r {entry_of(child, 'packages-child')}"
    without_iso(child)
    warm.in_store(flip)
    refused = warm.inv("build.iso", "--profile", "child", "--offline", fails=True)
    assert (refused.code, refused.json["error"]["kind"]) == (16, "LockDrift")
    assert "netbase" in refused.json["error"]["error"]
    again = warm.inv("build.iso", "--profile", "child")
    assert again.made == ["packages-child", *ALWAYS]
    assert again.json["sha256"] == child.json["sha256"]


def test_the_pool_alone_is_enough_offline(warm: Clone, child: Answer) -> None:
    profile(warm, "netbase")
    warm.add(f"docker/build/{OVERLAY}", "one\n")
    warm.inv("build.lock", "--profile", "child")
    Path(child.json["iso"]).unlink(missing_ok=True)
    warm.in_store(f"rm -rf {entry_of(child, 'packages-child')}")
    built = warm.inv("build.iso", "--profile", "child", "--offline", "--locked")
    assert built.made == ["packages-child", *ALWAYS]
    assert built.json["sha256"] == child.json["sha256"]


def test_a_killed_build_leaves_nothing_for_long(warm: Clone, minimal: Answer) -> None:
    without_iso(minimal)
    warm.in_store(f"rm -r {entry_of(minimal, 'packages-minimal')}")
    process = warm.start("minimal")
    assert process.stderr is not None
    assert any(line.startswith("packages-minimal") for line in process.stderr)
    process.kill()
    process.communicate(timeout=10)
    assert wait_until(lambda: not warm.running(), 15)
    built = warm.inv("build.iso", "--profile", "minimal")
    assert built.json["sha256"] == minimal.json["sha256"]
    assert warm.in_store("ls -A /cache/tmp /cache/locks").split() == ["/cache/locks:", "/cache/tmp:"]


def test_the_store_is_labelled_as_ours_and_so_are_the_compilers_caches(warm: Clone, minimal: Answer) -> None:
    assert minimal.json["sha256"]
    listed = docker(
        "volume", "ls", "--quiet", f"--filter=label={warm.label}", "--filter=label=io.synos.role=cache"
    )
    ours = (warm.settings.project.store_volume, *compiler_cache_volumes(warm.settings))
    assert ours[0] in listed.split()
    assert all(name.startswith(ours) for name in listed.split())
