"""`python3 -m synos_tasks.iso.boot`: one request line in, JSON lines out, standard input is a lease."""

from __future__ import annotations

import os
import signal
import sys

from synos_tasks.iso import codec, lease
from synos_tasks.iso.boot.attend import Keyboard, attend
from synos_tasks.iso.boot.qemu import Boot, Log, Run
from synos_tasks.iso.boot.watch import boot


def main() -> int:
    """Boot or run what standard input asks for; 0 whenever the answer could be sent."""
    line = lease.read_request()
    if not line:
        return 130
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, lambda *_: _stop())
    keyboard = Keyboard()
    lease.watch(_stop, keyboard.hear)
    request = codec.decode_request(line)
    if isinstance(request, Run):
        codec.write_event(attend(request, keyboard))
    elif isinstance(request, Boot):
        codec.write_event(boot(request, lambda text: codec.write_event(Log(stage="boot", line=text))))
    return 0


def _stop() -> None:
    """Kill QEMU, a child in this process group, and this process."""
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
