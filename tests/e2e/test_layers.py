"""Stacked layers and a release of one file are the same system, with what upper layers took away gone, and owners and modes as said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.e2e
# base-files and ncurses-base brought them, in the lowest layer
HOOK = """#!/bin/sh
set -eu
rm /etc/motd
rm -r /usr/share/tabset
rm /usr/share/base-files/profile
mkdir /usr/share/base-files/profile
touch /usr/share/base-files/profile/inside
rm -r /usr/share/common-licenses
mkdir /usr/share/common-licenses
touch /usr/share/common-licenses/one
chmod 600 /usr/share/base-files/info.dir
"""
# a failed unit fails the boot
UNIT = """[Unit]
Description=See that what the hook took away is gone

[Service]
Type=oneshot
ExecStart=/bin/sh -euxc 'test ! -e /etc/motd; test ! -e /usr/share/tabset; \\
    test -f /usr/share/base-files/profile/inside; test "$(ls /usr/share/common-licenses)" = one; \\
    test "$(stat -c %%a /usr/share/base-files/info.dir)" = 600; \\
    test "$(stat -c %%U /home/kim/.hello /home/kim/new /home/kim/new/mine | uniq)" = kim; \\
    test "$(stat -c %%U /etc/skel/.hello)" = root'
"""
PROFILE = """inherits: minimal
users: [{name: kim}]
overlays: [overlays/holes]
files:
  - {path: /etc/holes/secret, content: "a\\nb", owner: kim, mode: "0600"}
  - {path: /usr/bin/holes, source: hooks/holes.sh, group: mail, mode: "2755"}
  - {path: /usr/bin/mount, mode: "0755"}
  - {path: /home/kim/new, owner: kim, group: users, mode: "0750"}
hooks: [{script: hooks/holes.sh, inputs: []}]
iso_files: [{path: /README, source: hooks/holes.sh}, {path: /docs/more, source: overlays/holes}]
"""
WANTS = "docker/build/overlays/holes/etc/systemd/system"


@pytest.fixture(scope="module")
def holes(warm: Clone) -> Clone:
    """The clone, with a profile that takes away and replaces what lower layers brought."""
    warm.add("docker/build/hooks/holes.sh", HOOK)
    warm.add(f"{WANTS}/holes.service", UNIT)
    (warm.root / WANTS / "multi-user.target.wants").mkdir()
    (warm.root / WANTS / "multi-user.target.wants/holes.service").symlink_to("../holes.service")
    for path in ("etc/skel/.hello", "home/kim/new/mine"):
        warm.add(f"docker/build/overlays/holes/{path}", "x\n")
        (warm.root / "docker/build/overlays/holes" / path).chmod(0o644)
    warm.add("docker/build/profiles/holes.yaml", PROFILE)
    return warm


def boot(clone: Clone, built: Answer) -> None:
    booted = clone.inv("build.boot", "--iso", built.json["iso"], "--firmware", "bios").json
    assert booted["report"]["failed"] == []
    assert booted["report"]["build_id"] == built.json["build_id"]


# live-boot of bookworm makes no loop devices, mount of trixie takes 256 bytes of the layers' paths
@pytest.mark.long
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_dozen_layers_boot(warm: Clone, suite: str) -> None:
    below = "minimal"
    for index, package in enumerate(("netbase", "less", "file", "tree", "bc", "nano", "tmux")):
        name = f"{suite}-{index}"
        text = f"inherits: {below}\nsuite: {suite}\npackages: [{package}]\n"
        warm.add(f"docker/build/profiles/{name}.yaml", text)
        below = name
    built = warm.inv("build.iso", "--profile", below)
    assert (
        sum(name.startswith("packages-") for name in (stage["name"] for stage in built.json["stages"])) == 8
    )
    boot(warm, built)


@pytest.mark.long
def test_a_kernel_that_a_hook_installs_boots(warm: Clone, minimal: Answer) -> None:
    assert minimal.json["sha256"]
    install = "apt-get install -qq --no-install-recommends linux-image-cloud-amd64"
    script = f"#!/bin/sh\napt-get update -qq && {install}\n"
    warm.add("docker/build/hooks/kernel.sh", script)
    profile = "inherits: minimal\npackages: [-linux-image-amd64]\nhooks: [hooks/kernel.sh]\n"
    warm.add("docker/build/profiles/hooked-kernel.yaml", profile)
    boot(warm, warm.inv("build.iso", "--profile", "hooked-kernel"))


@pytest.mark.long
def test_what_an_upper_layer_takes_away_is_gone(holes: Clone, minimal: Answer) -> None:
    assert minimal.json["sha256"]
    built = holes.inv("build.iso", "--profile", "holes")
    boot(holes, built)
    removed = {
        path for path, *_ in holes.inv("build.diff", minimal.json["iso"], built.json["iso"]).json["removed"]
    }
    assert {"/etc/motd", "/usr/share/tabset/std"} <= removed


@pytest.mark.long
def test_a_release_is_one_file_with_the_same_in_it(holes: Clone) -> None:
    layered = holes.inv("build.iso", "--profile", "holes")
    released = holes.inv("build.iso", "--profile", "holes", "--release")
    assert "squashfs" in released.made
    boot(holes, released)
    found = holes.inv("build.diff", layered.json["iso"], released.json["iso"]).json
    root = [
        path for kind in ("added", "removed", "changed") for path, *_ in found[kind] if path.startswith("/")
    ]
    assert root == ["/usr/lib/os-release"]  # the build id
    assert found["sizes"][1] < found["sizes"][0]
