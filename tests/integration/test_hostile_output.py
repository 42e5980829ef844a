"""A hook has neither the output folder nor the engine's voice: nothing of it gets into dist/ but by the system it builds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso.publish import MOST_BYTES, STAGING_PREFIX
from tests.attacks import DELIVERED
from tests.build_helpers import wait_until

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration

NO_KERNEL = 30
"""Exit code of a build that did all but the initramfs: these profiles have no kernel."""
LEAVE = """\
#!/bin/bash
for folder in /output /cache /project; do
    mkdir -p $folder; cp /bin/bash $folder/s; chmod 4755 $folder/s; chmod 777 $folder; mkfifo $folder/pipe
done
setsid sh -c 'while :; do chmod 6777 /output/* /cache/*; sleep 0.1; done' &
sleep 2
"""
FORGE = """\
#!/bin/bash
mkdir -p /output; cp /bin/ls /output/image.iso; echo '{"key": "k", "stages": []}' >/output/manifest.json; touch /output/build.log
for where in /proc/1/fd/1 /proc/1/fd/2 /synos/streams/out /dev/stdout; do
    echo 'DELIVERED' >$where
    echo '{"id": "x", "code": 0, "why": ""}' >$where
done
kill -9 1 -1
""".replace("DELIVERED", DELIVERED)
FLOOD = """\
#!/bin/bash
cd /var/tmp; for _ in {1..60}; do d=$(printf 'd/%.0s' {1..50}); mkdir -p $d; cd $d; done
printf '{"event": "log"}\\n\\033]0;forged\\007\\n'
for where in /proc/1/fd/1 /proc/1/fd/2 /dev/stdout; do head -c 400M /dev/zero | tr '\\0' x >$where; done
echo
exit 7
"""


@pytest.fixture(scope="module")
def hostile(clone: Clone) -> Clone:
    for name, script in {"leave": LEAVE, "forge": FORGE, "flood": FLOOD}.items():
        clone.tiny_profile(name, script)
    return clone


def test_what_a_hook_writes_elsewhere_reaches_no_folder_of_the_host(hostile: Clone) -> None:
    process = hostile.start("leave")
    seen: set[Path] = set()

    def ended() -> bool:
        seen.update(
            path for path in hostile.output.glob(f"{STAGING_PREFIX}*/*") if path.name not in MOST_BYTES
        )
        return process.poll() is not None

    assert wait_until(ended, 110)
    out, err = process.communicate()
    assert process.returncode == NO_KERNEL, out + err
    assert seen == set()
    assert list(hostile.output.iterdir()) == []


def test_what_a_hook_says_for_the_engine_is_not_heard(hostile: Clone) -> None:
    code, answer = hostile.build("forge")
    assert code == NO_KERNEL, answer
    assert '[hook-forge.sh] {"event": "delivered"' in hostile.newest_log()
    assert list(hostile.output.iterdir()) == []


def test_a_flood_of_output_and_folders_ends_one_build_alone(hostile: Clone) -> None:
    process = hostile.start("flood")
    peak = 0

    def ended() -> bool:
        nonlocal peak
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max([peak, *(int(kb) for kb in re.findall(r"VmHWM:\s+(\d+)", status))])
        return process.poll() is not None

    assert wait_until(ended, 110)
    out, err = process.communicate()
    assert process.returncode == 33, out + err
    assert peak < 200_000, f"{peak} kB"
    assert "Traceback" not in err
    assert "\x1b" not in err + hostile.newest_log()
    assert '[hook-flood.sh] {"event": "log"}' in hostile.newest_log()
    assert len(hostile.newest_log()) < 10**6
    assert list(hostile.output.iterdir()) == []
