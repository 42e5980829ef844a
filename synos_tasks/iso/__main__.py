"""`python -m synos_tasks.iso`: takes a plan on standard input, builds, tells events on standard output."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from pathlib import Path

from synos_tasks.errors import StageFailed, SynosError
from synos_tasks.iso import guard, lease, plan
from synos_tasks.iso.diagnose import disk_full
from synos_tasks.iso.events import Events
from synos_tasks.iso.run import Runner
from synos_tasks.iso.tools import Workshop

WORK = Path("/work")
OUTPUT = Path("/output")
DOCKER_BUILD = Path("/project/docker/build")


def main() -> int:
    """Run one build; returns the exit code."""
    try:
        guard.refuse_outside_container()
    except SynosError as error:
        for label, text in error.lines():
            print(f"{label}: {text}", file=sys.stderr)
        return error.exit_code
    request = lease.read_request()
    if not request:
        return 130
    wanted = plan.from_json(json.loads(request))
    events = Events(WORK / "build.log", os.dup(sys.stdout.fileno()))
    # pid 1 is the container's init: when this process ends, the kernel ends all the rest
    lease.watch(lambda: os._exit(130))
    shop = Workshop(plan=wanted, work=WORK, docker_build=DOCKER_BUILD, output=OUTPUT, events=events)
    failure = _build(shop)
    if failure is None:
        return 0
    events.send("error", **failure.to_json())
    return failure.exit_code


def _build(shop: Workshop) -> SynosError | None:
    """Build; every failure comes back as an error of ours, its traceback in the log."""
    try:
        Runner(shop).run()
    except SynosError as error:
        return error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return disk_full(str(error.filename or WORK), why=str(error))
        shop.events.send("log", stage="engine", line=traceback.format_exc())
        return StageFailed("the engine met an error of the system", where=str(error.filename), why=str(error))
    except Exception as error:  # noqa: BLE001  (a bug: it must still arrive as an event)
        shop.events.send("log", stage="engine", line=traceback.format_exc())
        return StageFailed(
            "a bug in the ISO engine",
            why=f"{type(error).__name__}: {error}",
            hint="the log has the traceback",
        )
    return None


if __name__ == "__main__":
    sys.exit(main())
