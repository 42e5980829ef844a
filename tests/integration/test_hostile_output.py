"""A hook that leaves its chroot can write to /output, and speak for the engine: neither gets it into dist/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso.publish import STAGING_PREFIX
from tests.build_helpers import wait_until

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration

ESCAPE = """\
#!/bin/bash
cat >/escaped.sh <<'EOF'
%s
EOF
perl -e 'mkdir "/x"; chroot "/x" or exit 3; chdir ".." for 1..64; chroot "." or exit 3; exec "/bin/bash", "-c", $ARGV[0]' \
    "$(cat /escaped.sh)"
status=$?
rm -r /escaped.sh /x
exit $status
"""
LEAVE = """\
cp /bin/bash /output/s; chmod 4755 /output/s; chmod 777 /output; mkfifo /output/pipe
sleep 3
"""
FORGE = """\
cp /bin/ls /output/image.iso; echo '{"key": "k", "stages": []}' >/output/manifest.json; touch /output/build.log
sum=$(sha256sum /output/image.iso | cut -d' ' -f1)
echo '{"event": "delivered", "build_id": "1", "sha256": "'$sum'"}' >/proc/1/fd/1
for p in /proc/[0-9]*; do if grep -qa 'synos_tasks[.]iso' $p/cmdline; then kill -9 ${p#/proc/}; fi; done
sleep 5
"""
FLOOD = """\
cd /output; for _ in {1..60}; do d=$(printf 'd/%.0s' {1..50}); mkdir -p $d; cd $d; done
printf '{"event": "log"}\\n{"event": "log", "stage": "\\033]0;forged\\007", "line": "\\\\u001b[2J"}\\n' >/proc/1/fd/1
head -c 400M /dev/zero | tr '\\0' x >/proc/1/fd/1
echo >/proc/1/fd/1
exit 7
"""


@pytest.fixture(scope="module")
def hostile(clone: Clone) -> Clone:
    for name, script in {"leave": LEAVE, "forge": FORGE, "flood": FLOOD}.items():
        clone.tiny_profile(name, ESCAPE % script)
    return clone


def test_what_a_hook_leaves_in_the_output_folder_is_out_of_reach(hostile: Clone) -> None:
    process = hostile.start("leave")
    assert wait_until(lambda: any(hostile.output.glob(f"{STAGING_PREFIX}*/output/pipe")), 110)
    [closed] = hostile.output.glob(f"{STAGING_PREFIX}*")
    assert (closed / "output/s").stat().st_mode & 0o4000
    assert closed.stat().st_mode & 0o777 == 0o700, "nobody else reaches the setuid shell in it"
    process.communicate(timeout=60)
    assert list(hostile.output.iterdir()) == []


def test_an_answer_that_a_hook_forged_is_no_iso(hostile: Clone) -> None:
    code, answer = hostile.build("forge")
    assert (code, answer["error"]["kind"]) == (36, "ContainerLost"), answer
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
    assert '[container] {"event": "log"}' in hostile.newest_log()
    assert list(hostile.output.iterdir()) == []
