"""`python -m synos_tasks.iso.standalone`: what the images do without `inv`: build an ISO, or compile all components.

For `docker run`, compose and the Dockerfile. The same plan and the same engine as for `inv build.iso`,
so the same bytes; messages go to standard error, the ISO's path to standard output.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from synos_tasks.errors import SettingsError, SynosError, writing
from synos_tasks.iso import guard, lock, profile, protocol, publish, work
from synos_tasks.iso.components import build, recipe
from synos_tasks.iso.components.context import CompileContext
from synos_tasks.iso.plan import Plan, Tools, plan_build
from synos_tasks.iso.proxies import Proxies
from synos_tasks.iso.scratch import scratch
from synos_tasks.iso.store import Store
from synos_tasks.iso.tools import BuildContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROJECT = Path(__file__).resolve().parents[2]
DOCKER_BUILD = PROJECT / "docker/build"
WORK, CACHE, COMPILED = Path("/work"), Path("/cache"), Path("/components")
FAILED = "synos-build.failed.log"
LAST_LINES = 40
PREFIX = "run-"
"""Of the folders of each run in the work folder, which compose keeps from one run to the next."""
TOOLS, TOOLCHAIN = Path("/etc/synos-builder"), Path("/etc/synos-toolchain")


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; returns the exit code."""
    asked = _arguments(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        guard.refuse_outside_container()
        os.umask(0o022)
        if asked.do == "components":
            _compile(WORK)
        else:
            _iso(asked, WORK)
    except (SynosError, OSError) as error:
        failure = work.explained(error)
    except KeyboardInterrupt:
        _say("interrupted: nothing was published")
        return 130
    else:
        return 0
    for label, text in failure.lines():
        _say(f"{label}: {text}")
    return failure.exit_code


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="synos-build", description="Build a SynOS ISO of the mounted project."
    )
    # where something is mounted for it, as compose does; else the project's dist
    output = Path("/output") if os.path.ismount("/output") else PROJECT / "dist"
    parser.add_argument("do", choices=["iso", "components"], help=argparse.SUPPRESS)
    parser.add_argument(
        "--profile", default="", help="a file in docker/build/profiles (default: as `inv build.iso`)"
    )
    parser.add_argument("--release", action="store_true", help="one squashfs, made small")
    parser.add_argument(
        "--output", type=Path, default=output, help="folder for the ISO (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def _iso(asked: argparse.Namespace, folder: Path) -> None:
    wanted = profile.load(DOCKER_BUILD / "profiles", asked.profile or _default_profile())
    path = lock.path_of(DOCKER_BUILD / "profiles", wanted.name)
    locked = lock.required(path, wanted, f"on the host: `inv build.lock --profile {wanted.name}` writes it")
    plan = plan_build(DOCKER_BUILD, wanted, locked, _tools(wanted.suite), release=asked.release)
    output: Path = asked.output
    iso = publish.iso_path(output, wanted, plan.build_id)
    if publish.published(output, plan):
        _say("nothing changed: the ISO is there, and its checksum is right")
    else:
        _prepare(output)
        with scratch(folder, PREFIX) as own:
            own.chmod(0o755)  # apt's own user must get in, or what it leaves is another's
            _build(plan, output, own)
    print(iso)


def _build(plan: Plan, output: Path, folder: Path) -> None:
    owner = _owner()
    with (
        publish.staging(output) as staging,
        _context(folder, staging, output / FAILED) as context,
    ):
        with work.store_of(context) as store:
            _take_compiled(plan, store)
        work.do(protocol.Build(plan=plan), context)
        publish.publish(staging, plan, owner)
    os.chown(publish.newest_path(output, plan.profile), *owner, follow_symlinks=False)


def _compile(folder: Path) -> None:
    recipes = recipe.folder_of(DOCKER_BUILD)
    tools = Tools.digest_of(TOOLS.read_text())  # in the toolchain image these are its own
    with _context(folder, folder) as context, work.store_of(context) as store:
        before = _installed(context)
        for name in recipe.names(recipes):
            component = recipe.load(recipes, name)
            wanted = recipe.compilation_of(component, recipes, tools)
            build.find_or_compile(CompileContext(build=context, wanted=wanted), store)
            if added := sorted(_installed(context) - before):  # the next must not find it
                context.run(component.stage, ["apt-get", "purge", "--quiet", "--yes", *added])


def _installed(context: BuildContext) -> set[str]:
    return set(context.run("components", ["dpkg-query", "--show", "--showformat=${Package}\n"]))


def _show(event: protocol.Event) -> None:
    if isinstance(event, protocol.Done):
        how = "in store" if event.hit else "done"
        _say(f"{event.name:<24} {how:<8} {event.seconds:>6.1f} s")
    elif isinstance(event, protocol.Start):
        _say(f"{event.stage:<24} started")
    elif isinstance(event, protocol.Warn):
        _say(f"warning: {event.text}")


@contextmanager
def _context(folder: Path, output: Path, kept: Path | None = None) -> Iterator[BuildContext]:
    """Yield where to work. After a failure the full log goes to ``kept``, or else its last lines are shown."""
    log = folder / "build.log"
    found = Proxies.of(os.environ)  # as the Docker client hands them on
    events = protocol.Events(log, _show, found.masked)
    try:
        yield BuildContext(
            profile=work.NO_PROFILE,
            events=events,
            work=folder,
            output=output,
            cache=CACHE,
            docker_build=DOCKER_BUILD,
            proxies=found,
        )
    except BaseException:
        events.finish_log()
        if kept is None:
            _say("\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:]))
        else:
            shutil.copyfile(log, kept)
            os.chown(kept, *_owner())
            _say(f"full log: {kept}")
        raise


def _take_compiled(plan: Plan, store: Store) -> None:
    for stage in plan.components:
        if not (COMPILED / "objects" / stage.key).is_dir():
            continue
        # another build may bring it at the same time
        with Store(COMPILED, _say) as given, store.alone(stage.key):
            found = given.find(stage.key)
            if found and store.find(stage.key) is None:
                with store.slot() as slot:
                    for package in found.facts["packages"]:
                        shutil.copyfile(found.file(package["file"]), slot / package["file"])
                    store.commit(stage.key, slot, found.facts, stage.name)


def _tools(suite: str) -> Tools:
    """Return the tools of this image; of the toolchain nothing where it compiled for another suite."""
    text = TOOLCHAIN.read_text() if TOOLCHAIN.is_file() else ""
    toolchain = Tools.digest_of(text) if f"suite {suite}" in text.splitlines() else ""
    return Tools(builder=Tools.digest_of(TOOLS.read_text()), toolchain=toolchain)


def _default_profile() -> str:
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
    hint = "mount the project writable, or a folder at /output"
    with writing("the output folder cannot be written", output, hint):
        output.mkdir(parents=True, exist_ok=True)
        if not any(output.iterdir()):
            os.chown(output, *_owner())


def _owner() -> tuple[int, int]:
    found = PROJECT.stat()
    return found.st_uid, found.st_gid


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
