"""Which hooks run again after a change, what they must say of it, and what `files` and `iso_files` lay out. The system is a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.test_store_eviction import BASE, INITRAMFS, NOT_STORED

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.integration
SUITE = "suite: bookworm\npackages: [bash]\nmirrors: {suites: [release]}\n"
# one that reads nothing of the overlay, one that reads a file of it, one that changes what it names
PROFILE = f"""{SUITE}overlays: [overlays/quick]
hooks:
  - {{script: hooks/early, stage: after-packages}}
  - {{script: hooks/apart, inputs: []}}
  - {{script: hooks/reads, inputs: [overlays/quick/etc/read]}}
  - {{script: hooks/last, stage: before-squash, inputs: [overlays/quick/etc/changed, overlays/quick/etc/read]}}
files:
  - {{path: /etc/secret, content: "x", owner: kim, mode: "0640"}}
  - {{path: /usr/bin/tool, source: hooks/early, group: mail, mode: "2755"}}
  - {{path: /usr/bin/sleep, mode: "4711"}}
  - {{path: /etc/apt, owner: kim}}
iso_files: [{{path: /README, source: hooks/early}}, {{path: /docs, source: overlays/quick}}]
"""
HOOKS = {
    "early": "[ ! -e /etc/read ]; echo early >/etc/early",
    "apart": "echo $$ >/etc/apart; exec 3>/usr/lib/apart",
    "reads": "read text </etc/read; echo copy of $text >/etc/copied",
    "last": "read text </etc/copied; echo $text >>/etc/changed",
}


@pytest.fixture(scope="module")
def small(clone: Clone) -> Clone:
    clone.add("synos_tasks/iso/stages/base.py", BASE)
    path = clone.root / "synos_tasks/iso/stages/initramfs.py"
    path.write_text(path.read_text() + INITRAMFS)
    for name, script in HOOKS.items():
        clone.add(f"docker/build/hooks/{name}", f"#!/bin/sh\nset -e\n{script}\n")
    for name in ("read", "changed", "other"):
        clone.add(f"docker/build/overlays/quick/etc/{name}", f"{name}\n")
    return clone


def build(small: Clone, name: str, profile: str, *options: str, fails: bool = False) -> Answer:
    small.add(f"docker/build/profiles/{name}.yaml", profile)
    small.lock_nothing(name)
    return small.inv("build.iso", "--profile", name, *options, fails=fails)


def made(answer: Answer) -> list[str]:
    return [name for name in answer.made if name not in NOT_STORED]


def in_layer(small: Clone, answer: Answer, stage: str, command: str) -> str:
    key = next(one["key"] for one in answer.json["stages"] if one["name"] == stage)
    return small.in_store(command.format(f"/cache/objects/{key}/layer.squashfs"))


def test_a_changed_file_runs_those_hooks_alone_that_read_it(small: Clone) -> None:
    first = build(small, "quick", PROFILE)
    assert made(first)[2:] == [
        "hook-early", "system", "overlay", "hook-apart", "hook-reads", "hook-last", "identity", "initramfs"
    ]  # fmt: skip
    small.add("docker/build/overlays/quick/etc/other", "two\n")
    other = build(small, "quick", PROFILE)
    assert made(other) == ["overlay", "identity"]
    small.add("docker/build/overlays/quick/etc/read", "two\n")
    read = build(small, "quick", PROFILE)
    assert made(read) == ["overlay", "hook-reads", "hook-last", "identity"]
    changed = in_layer(small, read, "hook-last", "unsquashfs -cat {} etc/changed")
    assert changed == "changed\ncopy of two"
    differ = small.inv("build.diff", first.json["iso"], read.json["iso"]).json["changed"]
    inside = {path for path, *_ in differ if path.startswith("/etc")}
    assert inside == {"/etc/read", "/etc/copied", "/etc/changed", "/etc/other"}
    # as if all had been built from nothing, but for what a hook makes at random
    small.add("docker/build/hooks/apart", "#!/bin/sh\necho >/etc/apart\n")
    cached, cold = (build(small, "quick", PROFILE, *options, "--output", str(small.root / "cold"))
                    for options in ((), ("--no-cache",)))  # fmt: skip
    assert cached.json["sha256"] == cold.json["sha256"]


def test_files_have_owners_and_modes_and_lie_on_the_iso(small: Clone) -> None:
    built = build(small, "quick", PROFILE)
    lines = in_layer(small, built, "overlay", "unsquashfs -lln {}").splitlines()
    found = {line.partition("squashfs-root/")[2]: line.split()[:2] for line in lines}
    wanted = {"etc/secret": ["-rw-r-----", "1000/1001"], "usr/bin/tool": ["-rwxr-sr-x", "0/8"],
              "usr/bin/sleep": ["-rws--x--x", "0/0"], "etc/apt": ["drwxr-xr-x", "1000/1001"], "etc/read": ["-rwxr-xr-x", "0/0"]}  # fmt: skip
    assert {path: found[path] for path in wanted} == wanted
    plain = build(small, "plain", SUITE)
    added = small.inv("build.diff", plain.json["iso"], built.json["iso"]).json["added"]
    assert {"ISO:README", "ISO:docs/etc/read"} <= {path for path, *_ in added}


def test_a_hook_that_changes_what_it_does_not_read_is_refused(small: Clone) -> None:
    profile = f"{SUITE}overlays: [overlays/hidden]\nhooks:\n  - {{script: hooks/hides, inputs: []}}\n"
    small.add("docker/build/hooks/hides", "#!/bin/sh\nset -e\necho x >>/etc/hidden\necho >/made\n")
    small.add("docker/build/overlays/hidden/etc/other", "x\n")
    place = f"{small.root}/docker/build/profiles/hidden.yaml:6:14"
    assert "hook-hides" in made(build(small, "hidden", profile))
    for path, refused in (("etc/hidden", True), ("etc/more", False), ("made/more", True)):
        small.add(f"docker/build/overlays/hidden/{path}", "x\n")
        error = build(small, "hidden", profile, fails=refused).json.get("error", {})
        if refused:
            assert (error["kind"], error["where"]) == ("ProfileError", place)
            source = f"overlays/hidden/{path.removesuffix('/more')}"
            assert (error["why"], source in error["hint"]) == (f"{source} lays it down", True)
        (small.root / f"docker/build/overlays/hidden/{path}").unlink()
    (small.root / "docker/build/overlays/hidden/made").rmdir()
    small.add("docker/build/overlays/hidden/etc/hidden", "x\n")
    assert "hook-hides" in made(build(small, "hidden", profile.replace("[]", "[overlays/hidden/etc]")))


def test_what_is_missing_is_told_at_once_before_anything_is_fetched(small: Clone) -> None:
    small.add(
        "docker/build/profiles/missing.yaml",
        "hooks: [hooks/none, {script: overlays, inputs: [none]}]\nfiles: [{path: /a, source: gone}]\n",
    )
    error = small.inv("build.plan", "--profile", "missing", fails=True).json["error"]
    assert {one["where"].rpartition(".yaml:")[2] for one in (error, *error["others"])} == {
        "1:9",
        "1:30",
        "1:49",
        "2:28",
    }
    assert all(one["hint"] for one in (error, *error["others"]))
