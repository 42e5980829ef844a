"""`python -m synos_tasks.iso`: reads one request of the host from standard input, and writes events."""

from __future__ import annotations

import json
import os
import sys

from synos_tasks.errors import SynosError
from synos_tasks.iso import codec, guard, lease, protocol
from synos_tasks.iso.remote import FOLDER, Remote
from synos_tasks.iso.stage_containers import StageContainers
from synos_tasks.iso.tools import BuildContext
from synos_tasks.iso.work import NO_PROFILE, attempt


def main() -> int:
    """Do one request; returns the exit code."""
    try:
        guard.refuse_outside_container()
    except SynosError as error:
        for label, text in error.lines():
            print(f"{label}: {text}", file=sys.stderr)
        return error.exit_code
    lease.continue_in_child()
    line = lease.read_request()
    if not line:
        return 130
    request = codec.decode_request(line)
    events = protocol.Events(BuildContext.work / "build.log", codec.write_event, request.proxies.masked)
    containers = StageContainers(lambda **fields: events.send(protocol.RunApart(**fields)))
    remote = Remote(lambda keys: events.send(protocol.Fetch(keys=keys)))

    def on_reply(line: bytes) -> None:
        reply = json.loads(line)
        if "fetched" in reply:
            remote.on_reply(reply["fetched"], found=reply["found"])
        else:
            containers.on_reply(reply)

    lease.watch(lambda: os._exit(130), on_reply)
    if isinstance(request, protocol.Build):
        os.umask(request.umask)
    apart = isinstance(request, protocol.Build) and request.apart
    context = BuildContext(
        profile=NO_PROFILE,
        events=events,
        containers=containers if apart else None,
        proxies=request.proxies,
        remote=remote if FOLDER.is_dir() else None,
    )
    failure = attempt(request, context)
    if failure is None:
        return 0
    events.send(protocol.Failure(kind=type(failure).__name__, **dict(failure.lines())))
    return failure.exit_code


if __name__ == "__main__":
    sys.exit(main())
