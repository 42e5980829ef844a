"""`python -m synos_tasks.iso`: takes a request on standard input, works, tells events on standard output."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import StageFailed, SynosError
from synos_tasks.iso import compare, guard, housekeeping, lease, plan, resolve
from synos_tasks.iso.components import build, recipe
from synos_tasks.iso.components.context import CompileContext
from synos_tasks.iso.diagnose import disk_full
from synos_tasks.iso.events import Events
from synos_tasks.iso.holds import touch
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.run import Runner
from synos_tasks.iso.store import Store
from synos_tasks.iso.tools import Workshop

if TYPE_CHECKING:
    from collections.abc import Mapping

WORK = Path("/work")
OUTPUT = Path("/output")
CACHE = Path("/cache")
DOCKER_BUILD = Path("/project/docker/build")


VARIED = Path("/varied")
"""Another folder to work in, where a request asks for one."""


def main() -> int:
    """Do one request; returns the exit code."""
    try:
        guard.refuse_outside_container()
    except SynosError as error:
        for label, text in error.lines():
            print(f"{label}: {text}", file=sys.stderr)
        return error.exit_code
    request = lease.read_request()
    if not request:
        return 130
    events = Events(WORK / "build.log", os.dup(sys.stdout.fileno()))
    # pid 1 is the container's init: when this process ends, the kernel ends all the rest
    lease.watch(lambda: os._exit(130))
    asked = json.loads(request)
    os.umask(asked.get("umask", 0o022))
    failure = _work(asked, events)
    if failure is None:
        return 0
    events.send("error", **failure.to_json())
    return failure.exit_code


def _work(request: dict[str, Any], events: Events) -> SynosError | None:
    """Do what is asked; every failure comes back as an error of ours, its traceback in the log."""
    try:
        ASKED[request["do"]](request, events)
    except SynosError as error:
        return error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return disk_full(str(error.filename or WORK), why=str(error))
        events.send("log", stage="engine", line=traceback.format_exc())
        return StageFailed("the engine met an error of the system", where=str(error.filename), why=str(error))
    except Exception as error:  # noqa: BLE001  (a bug: it must still arrive as an event)
        events.send("log", stage="engine", line=traceback.format_exc())
        return StageFailed(
            "a bug in the ISO engine",
            why=f"{type(error).__name__}: {error}",
            hint="the log has the traceback",
        )
    return None


def _build(request: dict[str, Any], events: Events) -> None:
    """Build an ISO; what of the store no build needs any more goes when the ISO is there."""
    wanted = plan.from_json(request["plan"])
    shop = _workshop(request, events, wanted.profile, wanted.lock.epoch)
    with _store(events) as store:
        Runner(shop, wanted, store, offline=request["offline"]).run()
        if keep := request.get("keep"):
            _tidy(store, keep, events)


def _tidy(store: Store, keep: Mapping[str, Any], events: Events) -> None:
    """Evict; whatever goes wrong, the build has succeeded."""
    try:
        _evict_from(store, keep, events)
    except Exception as error:  # noqa: BLE001  (a bug too)
        events.send("log", stage="engine", line=traceback.format_exc())
        events.send("warning", text=f"nothing could be removed from the store: {error}")


def _resolve(request: dict[str, Any], events: Events) -> None:
    """Send a profile's lock."""
    profile = plan.profile_from_json(request["profile"])
    previous = plan.lock_from_json(request["previous"]) if request["previous"] else None
    shop = _workshop(request, events, profile, 0)
    store = _store(events)
    with store.alone(housekeeping.lists_lock(profile.suite)):
        found = resolve.resolve(shop, profile, store.folder / "lists", previous)
        touch(store.folder / "lists" / profile.suite)
    events.send("lock", lock=dataclasses.asdict(found))


def _inspect(request: dict[str, Any], events: Events) -> None:
    """Tell which of some keys the store has."""
    store = _store(events)
    entries = {}
    for key in request["keys"]:
        with suppress(FileNotFoundError):  # nothing is held here: it may go while it is measured
            if entry := store.peek(key):
                entries[key] = {"bytes": entry.bytes, **entry.facts}
    events.send("entries", entries=entries)


def _list(_request: dict[str, Any], events: Events) -> None:
    """Tell all that the store holds."""
    with _store(events) as store:
        events.send("store", entries=[dataclasses.asdict(one) for one in housekeeping.listing(store)])


def _evict(request: dict[str, Any], events: Events) -> None:
    """Remove what is beyond the limits."""
    with _store(events) as store:
        _evict_from(store, request["limits"], events)


def _evict_from(store: Store, asked: Mapping[str, Any], events: Events) -> None:
    """Evict within ``seconds``, where these are given, and tell what went."""
    seconds = asked.get("seconds")
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    told = housekeeping.evict(store, housekeeping.limits_of(asked), deadline)
    events.send("evicted", **dataclasses.asdict(told))


def _compare(request: dict[str, Any], events: Events) -> None:
    """Tell how two ISOs differ."""
    shop = _workshop(request, events, Profile(name="none"), 0)
    events.send("compared", result=compare.compare(shop, Path(request["one"]), Path(request["two"])))


def _components(request: dict[str, Any], events: Events) -> None:
    """Have components in the store, laid into the output folder too where that is asked; one is compiled at most.

    What is installed for one must not be there for the next: whoever asks, asks again for the rest.
    """
    shop = _workshop(request, events, Profile(name="none"), 0)
    context = CompileContext(
        build=shop, recipes=recipe.folder_of(DOCKER_BUILD), offline=request["offline"], jobs=request["jobs"]
    )
    compiled = False
    with _store(events) as store:
        for asked in request["components"]:
            lacking = store.find(asked["key"]) is None
            if lacking and compiled:
                break
            compiled = compiled or lacking
            component = recipe.from_json(asked["component"])
            entry = build.find_or_compile(context, store, component, asked["key"], asked["source"])
            if request["deliver"]:
                build.deliver(context, entry)
    events.send("built")


ASKED = {
    "build": _build,
    "resolve": _resolve,
    "inspect": _inspect,
    "store": _list,
    "evict": _evict,
    "compare": _compare,
    "components": _components,
}


def _store(events: Events) -> Store:
    return Store(CACHE, lambda text: events.send("warning", text=text))


def _workshop(request: dict[str, Any], events: Events, profile: Profile, epoch: int) -> Workshop:
    owner = request.get("owner", (0, 0))
    os.umask(0o022)  # files' modes must not depend on what the process was started with
    return Workshop(
        profile=profile,
        epoch=epoch,
        clock=request.get("clock", 0),
        work=VARIED if request.get("elsewhere") else WORK,
        docker_build=DOCKER_BUILD,
        output=OUTPUT,
        owner=(owner[0], owner[1]),
        events=events,
    )


if __name__ == "__main__":
    sys.exit(main())
