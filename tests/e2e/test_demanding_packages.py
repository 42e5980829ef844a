"""Packages and hooks that need /proc, /dev/fd and a root of their own build in the default, unprivileged mode, and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.e2e
PROFILE = """\
inherits: minimal
packages:
  - openjdk-21-jre-headless
  - ca-certificates-java
  - linux-headers-amd64
  - acpi-call-dkms
hooks:
  - hooks/demanding.sh
"""
HOOK = """\
#!/bin/bash
set -eu
diff <(java -version 2>&1 | head -1) <(java -version 2>&1 | head -1)
systemctl daemon-reload
modinfo -k "$(ls /lib/modules)" acpi_call | grep -q ^vermagic
keytool -list -cacerts -storepass changeit >/dev/null
echo 'echo "java $(java -version 2>&1 | head -1)"' >/etc/profile.d/java.sh
"""


@pytest.mark.long
def test_openjdk_and_a_dkms_module_install_and_the_system_boots(warm: Clone) -> None:
    warm.add("docker/build/hooks/demanding.sh", HOOK)
    warm.add("docker/build/profiles/demanding.yaml", PROFILE)
    built = warm.inv("build.iso", "--profile", "demanding").json
    booted = warm.inv("build.boot", "--iso", built["iso"]).json
    assert booted["report"]["build_id"] == built["build_id"]
