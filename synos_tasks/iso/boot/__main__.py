"""`python3 -m synos_tasks.iso.boot`: one request line in, JSON lines out, standard input is a lease."""

from __future__ import annotations

import json
import os
import signal
import sys

from synos_tasks.iso import codec, lease
from synos_tasks.iso.boot.request import Boot, Log
from synos_tasks.iso.boot.watch import boot


def main() -> int:
    """Boot what standard input asks for; 0 whenever the ``booted`` event could be sent."""
    line = lease.read_request()
    if not line:
        return 130
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, lambda *_: _stop())
    lease.watch(_stop)
    fields = json.loads(line)
    del fields["request"]
    _send(boot(codec.from_data(Boot, fields), lambda text: _send(Log(stage="boot", line=text))))
    return 0


def _send(event: codec.Event) -> None:
    print(json.dumps({"event": event.sent_as, **codec.to_data(event)}), flush=True)


def _stop() -> None:
    """Kill QEMU, a child in this process group, and this process."""
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
