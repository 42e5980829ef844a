"""Packages and hooks that expect much of a system under construction build in the default, unprivileged mode, and run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.images.catalog import BUILDER
from tests.build_helpers import docker

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = [pytest.mark.e2e, pytest.mark.long]
PROFILE = """\
inherits: minimal
mirrors: {components: [main, contrib, non-free-firmware]}
packages:
  - openjdk-21-jre-headless
  - ca-certificates-java
  - linux-headers-amd64
  - acpi-call-dkms
  - linux-image-rt-amd64
  - nginx-light
  - postgresql
  - mariadb-server
  - plymouth
  - plymouth-themes
  - intel-microcode
  - amd64-microcode
hooks:
  - hooks/demanding.sh
"""
# a failed unit fails the boot
HOOK = """\
#!/bin/bash
set -eu
diff <(java -version 2>&1 | head -1) <(java -version 2>&1 | head -1)
systemctl daemon-reload
modinfo -k "$(ls /lib/modules | grep -v rt)" acpi_call | grep -q ^vermagic
keytool -list -cacerts -storepass changeit >/dev/null
! invoke-rc.d nginx start 2>/dev/null
apt-get update -qq && apt-get install -qq netcat-openbsd >/dev/null
sleep 240 &
cat >/etc/systemd/system/databases.service <<'END'
[Unit]
After=postgresql.service mariadb.service nginx.service
Requires=postgresql.service mariadb.service nginx.service
[Service]
Type=oneshot
ExecStart=su postgres -c 'psql -c "select 1"'
ExecStart=mariadb -e 'select 1'
ExecStart=test -d /var/log/nginx
[Install]
WantedBy=multi-user.target
END
systemctl enable databases.service
"""
LOOK = """\
xorriso -osirrox on -indev /image.iso -extract /live/initrd.img /tmp/initrd -extract /boot/grub/grub.cfg /tmp/grub 2>/dev/null
grep -aob 'kernel/x86/microcode/[A-Za-z]*.bin' /tmp/initrd | sort -u -t: -k2
grep '^menuentry' /tmp/grub
"""


@pytest.fixture(scope="module")
def demanding(warm: Clone) -> Answer:
    warm.add("docker/build/hooks/demanding.sh", HOOK)
    warm.add("docker/build/profiles/demanding.yaml", PROFILE)
    return warm.inv("build.iso", "--profile", "demanding")


def test_java_a_dkms_module_databases_and_plymouth_install_and_the_system_boots(
    warm: Clone, demanding: Answer
) -> None:
    booted = warm.inv("build.boot", "--iso", demanding.json["iso"]).json
    assert booted["report"]["build_id"] == demanding.json["build_id"]


def test_what_a_hook_installed_is_in_the_manifest_and_a_warning_says_that_no_lock_has_it(
    demanding: Answer,
) -> None:
    packages = json.loads(Path(f"{demanding.json['iso']}.manifest.json").read_text())["packages"]
    layers = {package["name"]: package["layer"] for package in packages}
    assert layers["netcat-openbsd"] == "hook-demanding.sh"
    assert layers["nginx-light"] == "packages-demanding"
    assert "hooks installed netcat-openbsd" in demanding.err
    hooks = next(stage for stage in demanding.json["stages"] if stage["name"] == "hook-demanding.sh")
    assert hooks["seconds"] < 120, "nobody waits for what it leaves running"


def test_microcode_is_in_front_of_the_initramfs_and_each_kernel_has_an_entry(
    warm: Clone, demanding: Answer
) -> None:
    bind = f"--volume={warm.root / demanding.json['iso']}:/image.iso:ro"
    image = BUILDER.tag(warm.settings.project)
    run = ["run", "--rm", f"--label={warm.label}", "--network=none", bind, image, "sh", "-euc", LOOK]
    amd, intel, normal, safe, further = docker(*run).splitlines()
    assert amd.endswith("AuthenticAMD.bin")
    assert intel.endswith("GenuineIntel.bin")
    assert "fail-safe" in safe
    assert "Linux" not in normal
    assert "-rt-amd64" in further
