"""build.image and build.shell against the real engine."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from synos_tasks import settings
from synos_tasks.images.catalog import BUILDER
from tests.build_helpers import OWN_DEV, device_listing, docker

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration
NAME = "sizes"
LOOK = "ls -A /dev; echo --; grep -c devtmpfs /proc/mounts; id -un; touch /project/docker/build/x 2>&1; touch /output/made"


def test_images_keep_their_promised_sizes(clone: Clone, toolchain_image: str) -> None:
    # under another name: it makes the images again, and what this clone has made goes with it
    answer = clone.inv("build.image", INVOKE_SYNOS_NAME=NAME)
    project = settings.load(clone.root, {"name": NAME}).project
    sizes = {image["name"]: image["bytes"] for image in answer.json["images"]}
    assert sizes["builder"] <= 300e6
    assert answer.json["smaller_percent"] >= 60
    assert "[toolchain" in answer.err
    assert "cached" in answer.err
    listed = docker("run", "--rm", "--network=none", BUILDER.tag(project), "ls", "/usr/bin")
    assert not {"gcc", "cc", "cargo", "make"} & set(listed.split())


def shell(clone: Clone, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "invoke", "build.shell", *options]
    return subprocess.run(
        argv, cwd=clone.root, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


def test_the_shell_sees_the_project_and_no_device_of_the_host(clone: Clone, toolchain_image: str) -> None:
    done = shell(clone, "--command", LOOK)
    devices, _, rest = done.stdout.partition("--\n")
    mounts, user, *said = rest.splitlines()
    assert (mounts, user) == ("0", "root")
    assert any("Read-only file system" in line for line in said)
    assert (clone.output / "made").exists()
    assert not {"sda", "vda", "mem", "kmsg"} & set(devices.split())
    assert shell(clone, "--command", "exit 7").returncode == 7
    assert not clone.running()


def test_editors_are_for_development_containers(clone: Clone, toolchain_image: str) -> None:
    for options, tool, container in (([], "vim", "python"), (["--toolchain"], "rust-analyzer", "rust")):
        done = shell(clone, *options, "--command", f"{tool} file")
        assert done.returncode == 28
        assert f"./scripts/synos dev.up --name {container}" in done.stderr


def test_the_toolchains_shell_is_the_builders(clone: Clone, toolchain_image: str) -> None:
    done = shell(clone, "--toolchain", "--command", "id -un; sudo id -un")
    assert done.stdout.split() == ["builder", "root"]
    assert shell(clone, "--toolchain", "--privileged").returncode == 2


def test_the_privileged_shell_warns_and_has_a_dev_of_its_own(clone: Clone, toolchain_image: str) -> None:
    mount = "mkdir /tmp/m; mount -t tmpfs x /tmp/m && echo can mount"
    done = shell(clone, "--privileged", "--command", f"{LOOK}; {mount}")
    assert "NOT isolated" in done.stderr
    devices, _, rest = done.stdout.partition("--\n")
    assert rest.splitlines()[0] == "0"
    assert "can mount" in rest
    assert set(devices.split()) == OWN_DEV


def test_a_hook_that_mounts_needs_the_privileged_builder(clone: Clone, toolchain_image: str) -> None:
    """The hook ends with 32, as mount(8) does, or with 77 when it could mount; so both builds stop there."""
    clone.tiny_profile("mounts", "#!/bin/sh\nmount -t tmpfs x /mnt || exit 32\nls /dev\nexit 77\n")
    profile = clone.root / "docker/build/profiles/mounts.yaml"
    profile.write_text(profile.read_text().replace("[bash]", "[bash, mount]"))
    before = device_listing()
    for options, code in (((), 32), (("--privileged",), 77)):
        answer = clone.inv("build.iso", "--profile", "mounts", *options, fails=True)
        assert answer.json["error"]["error"] == f"hook hooks/mounts.sh ended with {code}"
        assert ("NOT isolated" in answer.err) == bool(options)
    assert device_listing() == before
