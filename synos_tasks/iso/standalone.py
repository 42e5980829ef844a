"""`python -m synos_tasks.iso.standalone`: what the images do without `inv`: build an ISO, or compile all components.

For `docker run`, compose and the Dockerfile. The same plan and the same engine as for `inv build.iso`,
so the same bytes; messages go to standard error, the ISO's path to standard output.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from synos_tasks.errors import (
    DiskFull,
    LockDrift,
    OutputNotWritable,
    SettingsError,
    StageFailed,
    SynosError,
)
from synos_tasks.iso import deliver, digests, guard, inputs, lock, profile, publish
from synos_tasks.iso.components import build, recipe
from synos_tasks.iso.components.context import CompileContext
from synos_tasks.iso.events import Events
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.run import Runner
from synos_tasks.iso.scratch import scratch
from synos_tasks.iso.store import Store
from synos_tasks.iso.tools import Workshop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.iso.plan import Plan

PROJECT = Path(__file__).resolve().parents[2]
DOCKER_BUILD = PROJECT / "docker/build"
CACHE, COMPILED = Path("/cache"), Path("/components")
FAILED = "synos-build.failed.log"
LAST_LINES = 40
PREFIX = "run-"
"""Of the folders of each run in the work folder, which compose keeps from one run to the next."""
TOOLS, TOOLCHAIN = Path("/etc/synos-builder"), Path("/etc/synos-toolchain")


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; returns the exit code."""
    asked = _arguments(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        work = guard.work_folder()
        os.umask(0o022)
        if asked.do == "components":
            _compile(work)
        else:
            _iso(asked, work)
    except SynosError as error:
        for label, text in error.lines():
            _say(f"{label}: {text}")
        return error.exit_code
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        _say(f"error: {'no space is left' if full else 'an error of the system'}")
        _say(f"where: {error.filename or 'the work folder'}")
        _say(f"why: {error.strerror}")
        return DiskFull.exit_code if full else StageFailed.exit_code
    except KeyboardInterrupt:
        _say("interrupted: nothing was published")
        return 130
    return 0


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="synos-build", description="Build a SynOS ISO of the mounted project."
    )
    parser.add_argument("do", choices=["iso", "components"], help=argparse.SUPPRESS)
    parser.add_argument(
        "--profile", default="", help="a file in docker/build/profiles (default: as `inv build.iso`)"
    )
    parser.add_argument("--release", action="store_true", help="one squashfs, made small")
    parser.add_argument(
        "--output", type=Path, default=_default_output(), help="folder for the ISO (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def _default_output() -> Path:
    """Give /output where something is mounted there, as compose does it; else the project's dist."""
    return Path("/output") if os.path.ismount("/output") else PROJECT / "dist"


def _iso(asked: argparse.Namespace, work: Path) -> None:
    """Build an ISO, or find it."""
    wanted = profile.load(DOCKER_BUILD / "profiles", asked.profile or _default_profile())
    plan = inputs.plan_build(DOCKER_BUILD, wanted, _lock(wanted), _tools(), release=asked.release)
    output: Path = asked.output
    iso = publish.iso_path(output, wanted.name, plan.build_id)
    if publish.published(output, plan):
        _say("nothing changed: the ISO is there, and its checksum is right")
    else:
        _prepare(output)
        with scratch(work, PREFIX) as own:
            own.chmod(0o755)  # apt's own user must get in, or what it leaves is another's
            _build(plan, output, own)
    print(iso)


def _build(plan: Plan, output: Path, work: Path) -> None:
    owner = _owner()
    with publish.staging(output) as folder, _Told(work, output / FAILED) as told:
        shop = Workshop(
            profile=plan.profile,
            epoch=plan.lock.epoch,
            work=work,
            docker_build=DOCKER_BUILD,
            output=folder,
            owner=owner,
            events=told.events,
        )
        with Store(CACHE, lambda text: _say(f"warning: {text}")) as store:
            _take_compiled(plan, store)
            Runner(shop, plan, store).run()
        digest = json.loads((folder / deliver.MANIFEST).read_text())["sha256"]
        iso = publish.publish(folder, plan.profile.name, plan.build_id, digest)
    for path in (*output.glob(f"{iso.name}*"), iso.with_name(f"synos-{plan.profile.name}.iso")):
        os.chown(path, *owner, follow_symlinks=False)


def _compile(work: Path) -> None:
    """Compile all components of the project into the store."""
    folder = recipe.folder_of(DOCKER_BUILD)
    tools = _tools().builder  # in the toolchain image these are its own
    with _Told(work) as told:
        shop = Workshop(
            profile=Profile(name="none"),
            epoch=0,
            work=work,
            docker_build=DOCKER_BUILD,
            output=work,
            owner=(0, 0),
            events=told.events,
        )
        context = CompileContext(build=shop, recipes=folder)
        before = _installed(shop)
        with Store(CACHE, lambda text: _say(f"warning: {text}")) as store:
            for name in recipe.names(folder):
                component = recipe.load(folder, name)
                found = recipe.inputs_of(component, folder, tools)
                build.find_or_compile(context, store, component, recipe.key_of(found), found["source"])
                if added := sorted(
                    _installed(shop) - before
                ):  # the next must not find what this one asked for
                    shop.run(component.stage, ["apt-get", "purge", "--quiet", "--yes", *added])


def _installed(shop: Workshop) -> set[str]:
    return set(shop.run("components", ["dpkg-query", "--show", "--showformat=${Package}\n"]))


class _Told:
    """Shows stages as they end; where the work fails the full log is kept, or else its last lines are shown."""

    def __init__(self, work: Path, kept: Path | None = None) -> None:
        self._log, self._kept = work / "build.log", kept

    def __enter__(self) -> Self:
        read, write = os.pipe()
        self.events = Events(self._log, write)
        self._write, self._shown = write, threading.Thread(target=_show, args=(read,), daemon=True)
        self._shown.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        os.close(self._write)
        self._shown.join()
        if kind is None:
            return
        self.events.finish_log()
        if self._kept is None:
            _say("\n".join(self._log.read_text(errors="replace").splitlines()[-LAST_LINES:]))
        else:
            shutil.copyfile(self._log, self._kept)
            os.chown(self._kept, *_owner())
            _say(f"full log: {self._kept}")


def _show(descriptor: int) -> None:
    with os.fdopen(descriptor, encoding="utf-8") as stream:
        for line in stream:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "done":
                how = "in store" if event["hit"] else "done"
                _say(f"{event['name']:<24} {how:<8} {event['seconds']:>6.1f} s")
            elif event["event"] == "start":
                _say(f"{event['stage']:<24} started")
            elif event["event"] == "warning":
                _say(f"warning: {event['text']}")


def _take_compiled(plan: Plan, store: Store) -> None:
    """Bring what was compiled with the image into the store."""
    for stage in plan.components:
        if not (COMPILED / "objects" / stage.key).is_dir():
            continue
        with (
            Store(COMPILED, _say) as given,
            store.alone(stage.key),
        ):  # another build may bring it at the same time
            found = given.find(stage.key)
            if found and store.find(stage.key) is None:
                with store.slot() as slot:
                    for package in found.facts["packages"]:
                        shutil.copyfile(found.file(package["file"]), slot / package["file"])
                    store.commit(stage.key, slot, found.facts, stage.name)


def _lock(wanted: Profile) -> lock.Lock:
    path = lock.path_of(DOCKER_BUILD / "profiles", wanted.name)
    found = lock.load(path)
    if found is None or found.request != lock.request_of(wanted):
        raise LockDrift(
            f"the lock of profile {wanted.name} does not fit",
            where=str(path.relative_to(PROJECT)),
            why="the profile asks for other packages, suites or a bootstrapper" if found else "there is none",
            hint=f"on the host: `inv build.lock --profile {wanted.name}` writes it",
        )
    return found


def _tools() -> inputs.Tools:
    toolchain = digests.digest(TOOLCHAIN.read_text()) if TOOLCHAIN.is_file() else ""
    return inputs.Tools(builder=digests.digest(TOOLS.read_text()), toolchain=toolchain)


def _default_profile() -> str:
    """Give synos.build.profile of invoke.yaml."""
    try:
        return str(yaml.safe_load((PROJECT / "invoke.yaml").read_text())["synos"]["build"]["profile"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise SettingsError(
            "invoke.yaml names no profile",
            where=str(PROJECT / "invoke.yaml"),
            why=str(error),
            hint="give one with --profile",
        ) from error


def _prepare(output: Path) -> None:
    """Make the output folder, the project's owner's."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not any(output.iterdir()):
            os.chown(output, *_owner())
        publish.sweep_staging(output)
    except OSError as error:
        raise OutputNotWritable(
            "the output folder cannot be written",
            where=str(output),
            why=error.strerror or str(error),
            hint="mount the project writable, or a folder at /output",
        ) from error


def _owner() -> tuple[int, int]:
    """User and group id of whoever has the project."""
    found = PROJECT.stat()
    return found.st_uid, found.st_gid


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
