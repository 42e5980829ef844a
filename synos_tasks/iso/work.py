"""Does a request of the host (__main__.py), or of the image by itself (standalone.py)."""

from __future__ import annotations

import errno
import os
import traceback
from contextlib import suppress
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import StageFailed, SynosError
from synos_tasks.iso import compare, eviction, protocol, resolve
from synos_tasks.iso.components import build, recipe
from synos_tasks.iso.components.context import CompileContext
from synos_tasks.iso.diagnose import disk_full
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.run import Runner
from synos_tasks.iso.store import Store, touch
from synos_tasks.iso.tools import BuildContext

if TYPE_CHECKING:
    from synos_tasks.iso.protocol import Events

NO_PROFILE = Profile(name="none")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the engine works, and whom it reports to."""

    events: Events
    work: Path = Path("/work")
    varied: Path = Path("/varied")
    """Another folder to work in, where a request asks for one."""
    output: Path = Path("/output")
    cache: Path = Path("/cache")
    docker_build: Path = Path("/project/docker/build")

    def store(self) -> Store:
        """Return the store, not yet open."""
        return Store(self.cache, self.events.warn)

    def context(
        self,
        profile: Profile = NO_PROFILE,
        epoch: int = 0,
        *,
        elsewhere: bool = False,
        **fields: Any,  # noqa: ANN401
    ) -> BuildContext:
        """Return what the stages of a build share."""
        os.umask(0o022)  # files' modes must not depend on what the process was started with
        return BuildContext(
            profile=profile,
            epoch=epoch,
            work=self.varied if elsewhere else self.work,
            docker_build=self.docker_build,
            output=self.output,
            events=self.events,
            **fields,
        )


def attempt(request: protocol.Request, place: Place) -> SynosError | None:
    """Do what is asked; return any failure as a SynosError, its traceback in the log."""
    try:
        do(request, place)
    except Exception as error:  # noqa: BLE001  (a bug: it must still arrive as an event)
        if not isinstance(error, SynosError):
            place.events.log("engine", traceback.format_exc())
        return explained(error)
    return None


def explained(error: Exception) -> SynosError:
    """Return a SynosError for any error."""
    if isinstance(error, SynosError):
        return error
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return disk_full(str(error.filename or "the work folder"), why=str(error))
    if isinstance(error, OSError):
        return StageFailed("the engine met an error of the system", where=str(error.filename), why=str(error))
    return StageFailed(
        "a bug in the ISO engine", why=f"{type(error).__name__}: {error}", hint="the log has the traceback"
    )


@singledispatch
def do(request: protocol.Request, place: Place) -> None:
    """Do one request, and send its answer."""
    raise TypeError(f"{type(request).__name__} is not for this container: {place.work}")


@do.register
def _build(request: protocol.Build, place: Place) -> None:
    plan = request.plan
    context = place.context(
        plan.profile, plan.lock.epoch, elsewhere=request.elsewhere, owner=request.owner, clock=request.clock
    )
    with place.store() as store:
        Runner(context, plan, store, offline=request.offline).run()
    if request.limits:
        try:
            do(protocol.Evict(limits=request.limits), place)
        except Exception as error:  # noqa: BLE001  (a bug too: the build has succeeded)
            place.events.log("engine", traceback.format_exc())
            place.events.warn(f"nothing could be removed from the store: {error}")


@do.register
def _resolve(request: protocol.Resolve, place: Place) -> None:
    profile = request.profile
    with place.store() as store, store.alone(f"lists-{profile.suite}"):  # apt's own lock does not wait
        lists = store.folder / "lists"
        found = resolve.resolve(place.context(profile), profile, lists, request.previous)
        touch(lists / profile.suite)
    place.events.send(protocol.Resolved(lock=found))


@do.register
def _inspect(request: protocol.Inspect, place: Place) -> None:
    entries = {}
    with place.store() as store:
        for key in request.keys:
            with suppress(FileNotFoundError):  # a damaged one may be removed while it is measured
                if entry := store.peek(key):
                    entries[key] = {"bytes": entry.bytes, **entry.facts}
    place.events.send(protocol.Entries(entries=entries))


@do.register
def _list(_request: protocol.ListStore, place: Place) -> None:
    place.events.send(protocol.StoreContents(entries=tuple(eviction.listing(place.store()))))


@do.register
def _evict(request: protocol.Evict, place: Place) -> None:
    place.events.send(eviction.evict(place.store(), request.limits))


@do.register
def _compare(request: protocol.Compare, place: Place) -> None:
    place.events.send(protocol.Compared(result=compare.compare(place.context(), request.one, request.two)))


@do.register
def _compile(request: protocol.Compile, place: Place) -> None:
    context = CompileContext(
        build=place.context(owner=request.owner),
        recipes=recipe.folder_of(place.docker_build),
        offline=request.offline,
        jobs=request.jobs,
    )
    compiled = False
    with place.store() as store:
        for one in request.components:
            missing = store.find(one.key) is None
            if missing and compiled:
                break
            compiled = compiled or missing
            entry = build.find_or_compile(context, store, one.component, one.key, one.source)
            if request.deliver:
                build.deliver(context, entry)
    place.events.send(protocol.Compiled())
