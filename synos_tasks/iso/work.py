"""Does a request of the host (__main__.py), or of the image by itself (standalone.py)."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from functools import singledispatch
from pathlib import Path

from synos_tasks.errors import StageFailed, SynosError, is_disk_full
from synos_tasks.iso import compare, eviction, protocol, resolve
from synos_tasks.iso.components import build
from synos_tasks.iso.components.context import CompileContext
from synos_tasks.iso.diagnose import disk_full
from synos_tasks.iso.mirrors import over_https
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.root import no_services, write
from synos_tasks.iso.run import Runner
from synos_tasks.iso.stage_containers import BUSYBOX
from synos_tasks.iso.stages.hooks import RESOLVER
from synos_tasks.iso.store import Store, touch
from synos_tasks.iso.tools import BuildContext

NO_PROFILE = Profile(name="none")
ELSEWHERE = Path("/varied")
"""Another folder to work in, where a request asks for one."""


def store_of(context: BuildContext) -> Store:
    """Return the store, not yet open."""
    return Store(context.cache, context.events.warn, context.store_key, context.remote)


def attempt(request: protocol.Request, context: BuildContext) -> SynosError | None:
    """Do what is asked; return any failure as a SynosError, its traceback in the log."""
    os.umask(0o022)  # files' modes must not depend on what the process was started with
    try:
        do(request, context)
    except Exception as error:  # noqa: BLE001  (a bug: it must still arrive as an event)
        if not isinstance(error, SynosError):
            context.events.log("engine", traceback.format_exc())
        return explained(error)
    return None


def explained(error: Exception) -> SynosError:
    """Return a SynosError for any error."""
    if isinstance(error, SynosError):
        return error
    if isinstance(error, OSError) and is_disk_full(error):
        return disk_full(str(error.filename or "the work folder"), why=str(error))
    if isinstance(error, OSError):
        return StageFailed("the system reported an error", where=str(error.filename or ""), why=str(error))
    return StageFailed(
        "a bug in the ISO engine", why=f"{type(error).__name__}: {error}", hint="the log has the traceback"
    )


@singledispatch
def do(request: protocol.Request, _context: BuildContext) -> None:
    """Do one request, and send its answer."""
    raise TypeError(f"{type(request).__name__} is not for this container")


def _of_build(request: protocol.Build, context: BuildContext) -> BuildContext:
    plan = request.plan
    return replace(
        context,
        profile=plan.profile,
        epoch=plan.lock.epoch,
        work=ELSEWHERE if request.elsewhere else context.work,
        store_key=request.store_key,
        secrets=request.secrets,
        clock=request.clock,
    )


@do.register
def _unpack(request: protocol.Unpack, context: BuildContext) -> None:
    context = _of_build(request, context)
    with store_of(context) as store:
        Runner(context, request.plan, store).unpack()
    with suppress(FileNotFoundError):  # there is none without a network
        write(context.root, RESOLVER, Path(f"/{RESOLVER}").read_text())
    wait = f"echo {protocol.READY}; exec {BUSYBOX} sleep {2**31}"
    with no_services(context.root):
        context.run_inside(protocol.SHELL, context.root, [BUSYBOX, "sh", "-c", wait], network=True)


@do.register
def _layers(request: protocol.Layers, context: BuildContext) -> None:
    context = _of_build(request, context)
    with store_of(context) as store:
        Runner(context, request.plan, store, offline=request.offline, awaits=request.awaits).store_layers()


@do.register
def _build(request: protocol.Build, context: BuildContext) -> None:
    context = _of_build(request, context)
    with store_of(context) as store:
        Runner(context, request.plan, store, offline=request.offline, awaits=request.awaits).run()
    # whatever happens now, the build has succeeded
    if request.limits and (failure := attempt(protocol.Evict(limits=request.limits), context)):
        context.events.warn(f"nothing could be removed from the store: {failure}")


@do.register
def _resolve(request: protocol.Resolve, context: BuildContext) -> None:
    profile = request.profile
    with store_of(context) as store, store.alone(f"lists-{profile.suite}"):  # apt's own lock does not wait
        lists = store.folder / "lists" / profile.suite
        found = resolve.resolve(
            replace(context, profile=over_https(profile, context.proxies)), lists, request.previous
        )
        touch(lists)
    context.events.send(protocol.Resolved(lock=found))


@do.register
def _inspect(request: protocol.Inspect, context: BuildContext) -> None:
    entries = {}
    with store_of(context) as store:
        for key in request.keys:
            with suppress(FileNotFoundError):  # a damaged one may be removed while it is measured
                if entry := store.peek(key):
                    touching = bool(entry.facts.get("initramfs"))
                    entries[key] = protocol.Present(bytes=entry.bytes, initramfs=touching)
    context.events.send(protocol.Entries(entries=entries))


@do.register
def _export(request: protocol.Export, context: BuildContext) -> None:
    context, found = replace(context, store_key=request.store_key, remote=None), []
    with store_of(context) as store:
        for entry in filter(None, map(store.find, request.keys)):
            described = store.describe(entry)
            for name in described.files:
                shutil.copyfile(entry.file(name), context.output / entry.key / name)
            found.append(described)
    context.events.send(protocol.Exported(entries=tuple(found)))


@do.register
def _list(_request: protocol.ListStore, context: BuildContext) -> None:
    context.events.send(protocol.StoreContents(entries=tuple(eviction.listing(store_of(context)))))


@do.register
def _evict(request: protocol.Evict, context: BuildContext) -> None:
    context.events.send(eviction.evict(store_of(context), request.limits))


@do.register
def _compare(request: protocol.Compare, context: BuildContext) -> None:
    context.events.send(protocol.Compared(result=compare.compare(context, request.one, request.two)))


@do.register
def _compile(request: protocol.Compile, context: BuildContext) -> None:
    context.events.send(protocol.Start(stage=request.component.component.stage))
    compiling = CompileContext(
        build=context, wanted=request.component, offline=request.offline, jobs=request.jobs
    )
    caches = build.compile_component(compiling)
    for path in compiling.tree.parent.glob("*.deb"):
        shutil.copyfile(path, protocol.PACKAGES / path.name)
    context.events.send(protocol.Compiled(caches=caches))


@do.register
def _keep(request: protocol.Keep, context: BuildContext) -> None:
    context, compiled = replace(context, store_key=request.store_key), request.compiled
    with store_of(context) as store:
        for wanted in request.components:
            began = time.monotonic()
            hit = (entry := store.find(wanted.key)) is not None
            if entry is None and compiled is not None:
                entry = build.keep(store, wanted, protocol.PACKAGES, compiled)
            if entry is None:
                break
            compiled = None  # /packages holds the first missing component alone, even if another command stored it meanwhile
            context.events.send(build.done(wanted, entry, began, hit=hit))
            for package in entry.facts["packages"] if request.deliver else ():
                shutil.copyfile(entry.file(package["file"]), context.output / package["file"])
    context.events.send(protocol.Kept())
