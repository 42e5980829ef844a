from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.unit.conftest import ProcessBlocked


@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run(["true"], check=False),
        lambda: subprocess.check_output(["true"]),
        lambda: os.system("true"),
        lambda: os.execvp("true", ["true"]),
        lambda: os.fork(),  # noqa: PLW0108  (looked up late, when it is blocked)
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: os.popen("true"),
        lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
    ],
)
def test_every_way_to_start_a_process_is_blocked(start: object) -> None:
    assert callable(start)
    with pytest.raises(ProcessBlocked):
        start()


@pytest.mark.allow_process(reason="this is what the marker is for")
def test_the_marker_allows_it() -> None:
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0
