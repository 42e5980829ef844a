"""Bring development containers up and down, and run their lifecycle commands.

The official CLI makes a container where it is there; else `docker compose` does, with the same labels and markers,
so that each finds what the other made.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.dev import official
from synos_tasks.dev.containers import has_socket, remember, shell_files
from synos_tasks.dev.prepare import NOTHING_TO_MAKE, escaped, image_of, is_rootless
from synos_tasks.engine import cache
from synos_tasks.engine.labels import labels
from synos_tasks.errors import DevContainerMissing, EngineUnavailable, HookFailed, HostUnfit, SettingsError
from synos_tasks.images import ledger
from synos_tasks.images.building import mirror_errors, one_at_a_time
from synos_tasks.iso.scratch import write_whole
from synos_tasks.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.containers import Context
    from synos_tasks.engine.client import Container
    from synos_tasks.engine.compose import Compose

SOCKET = "/run/docker.sock"
"""Where a container that was given an engine's socket has it."""
WAS_RUN = 99
"""Exit code of MARK where the command was run already: no other failure has it."""
# the official CLI's own marker
MARK = f"""\
mark="$HOME/.devcontainer/.$1Marker"
mkdir -p "${{mark%/*}}"
[ "$(cat "$mark" 2>/dev/null)" = "$2" ] && exit {WAS_RUN}
printf '%s\\n' "$2" >"$mark"
"""


@dataclass(frozen=True, kw_only=True)
class Up:
    """A development container that runs. ``by``: running (nothing was to do), official or docker."""

    name: str
    container: str
    user: str
    folder: str
    by: str
    seconds: float


def up(
    context: Context, config: DevContainer, *, docker: str = "", rebuild: bool = False, cached: bool = True
) -> Up:
    """Start the container, and create it if needed. Where it runs, only the initializeCommand is run.

    ``docker`` gives it an engine's socket: see socket_of_engine(). ``rebuild`` removes it first and builds its image;
    wrong options are found while it still exists. Raises SettingsError, HostUnfit, DevContainerMissing,
    ImageBuildFailed, ServiceFailed or HookFailed.
    """
    began = time.monotonic()
    with _lock(context, config):
        socket = socket_of_engine(context, docker)
        if rebuild:
            _down(context, config)
        name, by = "" if socket else _running_by_socket(context, config), "running"
        if name:
            initialize(context, config, running=True)
        else:
            name, by = _find_or_start(context, config, socket, cached=cached)
            remember(context, config, name)
    seconds = round(time.monotonic() - began, 2)
    return Up(
        name=config.name, container=name, user=config.user, folder=config.folder, by=by, seconds=seconds
    )


def down(context: Context, config: DevContainer) -> list[str]:
    """Stop and remove the container and its networks; volumes stay. Return the names of what was removed."""
    with _lock(context, config):
        return _down(context, config)


@contextmanager
def _lock(context: Context, config: DevContainer) -> Iterator[None]:
    host = os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix://"):
        raise HostUnfit(
            "the engine in use is on another machine, which does not have this project's folder",
            where=f"DOCKER_HOST={host}",
            hint="unset DOCKER_HOST, or clone the project there and use it there (VS Code: Remote - SSH)",
        )
    context.state.mkdir(parents=True, exist_ok=True)
    waiting = f"waiting for another command on development container {config.name}"
    with exclusive(context.state / f"{config.name}.lock", lambda: context.say(waiting)):
        yield


def _running_by_socket(context: Context, config: DevContainer) -> str:
    """Return the name of the container that runs, asking the engine's socket only; '' where that cannot tell.

    So one that is up already does not cost the import of python-on-whales.
    """
    path = shell_files(context, config)[0]
    try:
        name = path.read_text().partition("\n")[0]
        current = path.stat().st_mtime >= config.path.stat().st_mtime
    except OSError:
        return ""
    return name if current and cache.is_running(name) else ""


def _find_or_start(
    context: Context, config: DevContainer, socket: Path | None, *, cached: bool
) -> tuple[str, str]:
    """Return the name of the container, which runs then, and by what it does."""
    found = context.find(config)
    if socket and found is not None and not has_socket(found):
        raise DevContainerMissing(
            f"development container {config.name} exists already, without an engine's socket",
            where=found.name,
            why="a container cannot be given a mount later",
            hint=f"inv dev.down --name {config.name}, then inv dev.up --name {config.name} --docker …",
        )
    if found is not None and found.state.status == "running":
        initialize(context, config, running=True)
        return found.name, "running"
    cli = "" if socket else official.find(context.settings.dev.cli)
    if cli:
        official.up(context, config, cli, cached=cached)
    else:
        _start(context, config, found, socket, cached=cached)
    container = context.running(config)
    if container.config.image == image_of(context, config):
        # once it loses that name to a newer one, it is still known as this clone's
        ledger.remember(context.settings.project.state_dir, ident=container.image, tag=container.config.image)
    return container.name, "official" if cli else "docker"


def _start(
    context: Context, config: DevContainer, found: Container | None, socket: Path | None, *, cached: bool
) -> None:
    """Do what the official CLI does, for a service of a compose file."""
    if config.needs_official:
        raise SettingsError(
            f"only the official CLI knows what to do with {', '.join(config.needs_official)}",
            where=str(config.path),
            hint=official.INSTALL,
        )
    initialize(context, config)
    if found is not None:
        context.docker.start(found.id)
    else:
        override = context.state / f"{config.name}.override.yml"
        write_whole(override, json.dumps(override_model(context, config, socket)) + "\n")
        compose = _compose(context, config, override)
        context.say(f"building the image of {config.name} (unchanged steps come from the cache)")
        with one_at_a_time(context.settings), mirror_errors(context.proxies):  # the lock keeps prunes away
            compose.build(config.service, context.say, cached=cached)
        compose.up(*config.run_services, config.service, dependencies=True)
    run_commands(context, config, context.running(config).id)


def _down(context: Context, config: DevContainer) -> list[str]:
    found = context.containers(config.labels)
    for container in found:
        if trouble := context.docker.remove_container(container.id, force=True):
            raise EngineUnavailable("a container could not be removed", where=container.name, why=trouble)
    if found and config.compose_files and all(path.exists() for path in config.compose_files):
        _compose(context, config).down()
    for path in shell_files(context, config):
        path.unlink(missing_ok=True)
    return [container.name for container in found]


def _compose(context: Context, config: DevContainer, *more: Path) -> Compose:
    first, *others = (*config.compose_files, *more)
    project = context.settings.project.resource(f"dev-{config.name}")
    return context.compose(project=project, path=first, overrides=tuple(others))


def override_model(context: Context, config: DevContainer, socket: Path | None) -> dict[str, Any]:
    """Return the compose file with what the official CLI would add, and the engine's socket."""
    ours = labels(context.settings.project.id, "dev")
    marks = {**config.labels, **ours, "devcontainer.metadata": config.metadata}
    service: dict[str, Any] = {"labels": {key: escaped(value) for key, value in marks.items()}}
    if socket is not None:
        service["volumes"] = [{"type": "bind", "source": escaped(str(socket)), "target": SOCKET}]
        service["group_add"] = [str(socket.stat().st_gid)]
        service["environment"] = {"DOCKER_HOST": f"unix://{SOCKET}"}
    return {"services": {config.service: service}}


def socket_of_engine(context: Context, docker: str) -> Path | None:
    """Return the socket of this user's rootless engine, or for "socket" of the engine in use; None for ''.

    Raises HostUnfit.
    """
    if docker == "rootless":
        host = f"unix://{os.environ.get('XDG_RUNTIME_DIR') or f'/run/user/{os.geteuid()}'}/docker.sock"
        hint = (
            "dockerd-rootless-setuptool.sh install (package docker-ce-rootless-extras). Or --docker socket: "
            "where the engine runs as root, that makes anyone in the container effectively root on this machine"
        )
    elif docker == "socket":
        host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        hint = "inside the container, set DOCKER_HOST to the same address"
    else:
        return None
    path = Path(host.removeprefix("unix://"))
    if not path.is_socket():
        raise HostUnfit("there is no engine's socket on this machine", where=host, hint=hint)
    if docker == "socket" and not is_rootless(context):
        context.say(
            "warning: this engine runs as root, so anyone in the container can be root on this machine"
        )
    return path


def initialize(context: Context, config: DevContainer, *, running: bool = False) -> None:
    """Run what is to happen on this machine before a container is made or started. Raises HookFailed.

    Where it is ``running``, `dev.prepare` learns that nothing will be made.
    """
    environment = {**os.environ, NOTHING_TO_MAKE: "1"} if running else None

    def run(words: Sequence[str]) -> int:
        try:
            nothing, errors = subprocess.DEVNULL, sys.stderr
            return subprocess.call(words, cwd=config.root, env=environment, stdin=nothing, stdout=errors)
        except OSError as error:
            context.say(str(error))
            return 127

    _run_stage(context, config, "initializeCommand", run)


def run_commands(context: Context, config: DevContainer, container: str) -> None:
    """Run what is due in a container that runs. Raises HookFailed; later commands are then not run.

    Their order: https://containers.dev/implementors/spec/#lifecycle.
    """
    created, started = context.docker.timestamps(container)
    once = dict.fromkeys(("onCreateCommand", "updateContentCommand", "postCreateCommand"), created)

    run = partial(context.execute, container, config)
    for stage, since in {**once, "postStartCommand": started}.items():
        code = run(["/bin/sh", "-c", MARK, "sh", stage, since])
        if code == 0:
            _run_stage(context, config, stage, run)
        elif code != WAS_RUN:
            raise HookFailed(
                f"whether {stage} was run is not known: its mark cannot be read or written",
                where=f"{config.name}: $HOME/.devcontainer of {config.user}",
                why=f"exit code {code}; the output is above",
                hint="that user needs a home folder, and must be able to write there",
            )
    _run_stage(context, config, "postAttachCommand", run)


def _run_stage(
    context: Context, config: DevContainer, stage: str, run: Callable[[Sequence[str]], int]
) -> None:
    """Run a stage's commands, those with names at the same time."""
    commands = config.commands[stage]
    if not commands:
        return
    labelled = [(f"{stage} {name}".strip(), words) for name, words in commands]
    for label, words in labelled:
        context.say(f"{label}: {words[-1] if words[:2] == ['/bin/sh', '-c'] else shlex.join(words)}")
    with ThreadPoolExecutor(max_workers=len(commands)) as pool:
        codes = list(pool.map(run, [words for _, words in commands]))
    for (label, words), code in zip(labelled, codes, strict=True):
        if code:
            raise HookFailed(
                f"{label} failed with exit code {code}",
                where=str(config.path),
                why=shlex.join(words),
                hint="its output is above; inv dev.shell looks into the container",
            )
