"""`python -m synos_tasks.iso`: takes a plan on standard input, builds, tells events on standard output.

Standard input is a lease: the plan, then a newline every two seconds. At its end, or when nothing comes
for SILENCE_SECONDS, whoever asked is gone, and everything here stops.
"""

from __future__ import annotations

import errno
import json
import os
import select
import sys
import threading
import traceback
from pathlib import Path

from synos_tasks.errors import StageFailed, SynosError
from synos_tasks.iso import guard, plan
from synos_tasks.iso.diagnose import disk_full
from synos_tasks.iso.events import Events
from synos_tasks.iso.publish import PARTIAL
from synos_tasks.iso.run import Runner
from synos_tasks.iso.tools import Workshop

WORK = Path("/work")
OUTPUT = Path("/output")
DOCKER_BUILD = Path("/project/docker/build")
SILENCE_SECONDS = 10.0


def main() -> int:
    """Run one build; returns the exit code."""
    try:
        guard.refuse_outside_container()
    except SynosError as error:
        for label, text in error.lines():
            print(f"{label}: {text}", file=sys.stderr)
        return error.exit_code
    wish = _read_plan()
    if not wish:
        return 130  # whoever asked was gone before the plan was written
    wanted = plan.from_json(json.loads(wish))
    events = Events(WORK / "build.log", os.dup(sys.stdout.fileno()))
    threading.Thread(target=_watch_lease, daemon=True).start()
    shop = Workshop(plan=wanted, work=WORK, docker_build=DOCKER_BUILD, output=OUTPUT, events=events)
    failure = _build(shop)
    if failure is None:
        return 0
    for leftover in OUTPUT.glob(f"{PARTIAL}*"):
        leftover.unlink(missing_ok=True)
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


def _hear() -> bytes:
    """Read what comes on standard input; nothing when it ended or was silent for too long.

    Silence counts because a killed engine ends nothing: the container's shim keeps its standard input open.
    """
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], SILENCE_SECONDS)
    return os.read(sys.stdin.fileno(), 65536) if ready else b""


def _read_plan() -> bytes:
    text = b""
    while b"\n" not in text:
        heard = _hear()
        if not heard:
            return b""
        text += heard
    return text


def _watch_lease() -> None:
    """Wait for the end of the lease, then stop everything in the container at once."""
    while _hear():
        pass
    # no word on standard output: with the engine dead its pipe is full, and that would wait for ever
    try:
        for leftover in OUTPUT.glob(f"{PARTIAL}*"):
            leftover.unlink(missing_ok=True)
    finally:
        # pid 1 is the container's init: when this process ends, the kernel ends all the rest
        os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
