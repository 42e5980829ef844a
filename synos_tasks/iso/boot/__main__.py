"""`python3 -m synos_tasks.iso.boot`: one request line in, JSON lines out, standard input is a lease."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from synos_tasks.errors import SettingsError
from synos_tasks.iso import lease
from synos_tasks.iso.boot.request import parse_request
from synos_tasks.iso.boot.watch import Outcome, boot


def _emit(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Boot what standard input asks for; 0 whenever the ``booted`` event could be told."""
    line = lease.read_request()
    if not line:
        return 130
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, lambda *_: _stop())
    lease.watch(_stop)
    try:
        outcome = boot(parse_request(line.decode()), lambda text: _emit({"event": "log", "line": text}))
    except SettingsError as error:
        outcome = Outcome(accelerator="tcg", why=f"{error.what}: {error.why or error.hint}")
    _emit(outcome.event())
    return 0


def _stop() -> None:
    """Kill QEMU, a child in this process group, and this process."""
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
