"""The verbs of `inv dev.*`. Each parses, calls one function, and prints."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from synos_tasks import console
from synos_tasks.cli import Command, one_of, verb

if TYPE_CHECKING:
    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.containers import Context
    from synos_tasks.dev.starting import Up

# Other modules of this package are imported where a verb needs them: `inv --list` must stay quick.
NAME = "folder of .devcontainer (default: synos.dev.name in invoke.yaml)"
DOCKER = "rootless: give it the socket of this user's rootless engine; socket: of the engine in use"
DOCKER_TYPES = {"docker": one_of("rootless", "socket")}
NO_CACHE = "build every step of the image again"


@verb("dev.up", help={"name": NAME, "docker": DOCKER}, types=DOCKER_TYPES, example="--name rust")
def up(command: Command, name: str = "", docker: str = "") -> None:
    """Start a development container; create it if needed. VS Code finds the same one.

    Not for making ISOs (inv build.iso), nor for running services (inv services.up).
    """
    _start(command, _chosen(command, name, "start"), docker=docker)


@verb("dev.rebuild", help={"name": NAME, "docker": DOCKER, "no-cache": NO_CACHE}, types=DOCKER_TYPES)
def rebuild(command: Command, name: str = "", docker: str = "", no_cache: bool = False) -> None:
    """Build the image of a development container and create it again; its caches and history stay."""
    config = _chosen(command, name, "remove", ", build its image and start it")
    _start(command, config, docker=docker, rebuild=True, cached=not no_cache)


@verb(
    "dev.shell", json=False, words=True, pipe=True, help={"name": NAME}, example="--name rust -- cargo test"
)
def shell(command: Command, name: str = "") -> None:
    """Open a shell in a running development container, or run the words after -- in it."""
    from synos_tasks.dev.containers import SHELL, enter

    words = command.rest or SHELL
    config = _chosen(command, name, f"run {' '.join(words)} in")
    sys.exit(enter(_context(command), config, words))


@verb("dev.code", json=False, help={"name": NAME})
def code(command: Command, name: str = "") -> None:
    """Open VS Code in a development container, starting it first; where there is no `code`, say how to."""
    from synos_tasks.dev.containers import open_editor

    config = _chosen(command, name, "start", ", and open VS Code in it")
    console.say(f"opened: {open_editor(config, _start(command, config).container)}")


@verb("dev.list")
def list_(command: Command) -> None:
    """List the development containers of this project, made or not."""
    from synos_tasks.dev.containers import listed

    found = listed(_context(command))
    if command.json:
        command.result({"containers": [asdict(one) for one in found]})
        return
    columns = ["name", "in VS Code", "state", "container", "started (UTC)"]
    rows = [
        [one.name, one.title, one.state, one.container, one.started[:19].replace("T", " ")] for one in found
    ]
    command.table("development containers", columns, rows)


@verb("dev.down", help={"name": NAME, "all": "every one of this project"})
def down(command: Command, name: str = "", all: bool = False) -> None:  # noqa: A002
    """Stop and remove a development container; the project, its caches and its history stay."""
    from synos_tasks.dev import starting
    from synos_tasks.dev.config import load, names

    chosen = [load(command.settings, one) for one in (names(command.settings) if all else [name])]
    command.would(f"remove {', '.join(config.name for config in chosen)}")
    context = _context(command)
    removed = [container for config in chosen for container in starting.down(context, config)]
    console.say(f"removed: {', '.join(removed)}" if removed else "nothing to do: there was none")
    command.result({"removed": removed})


@verb("dev.doctor")
def doctor(command: Command) -> None:
    """Check what development containers need, and the existing ones; changes nothing."""
    from synos_tasks.dev.containers import examine

    command.report("Development containers", examine(_context(command)))


@verb("dev.prepare", json=False, help={"name": NAME})
def prepare(command: Command, name: str = "") -> None:
    """Make what a development container is made from: its base image and volumes. devcontainer.json calls this."""
    from synos_tasks.dev.prepare import prepare as run

    run(_context(command), _chosen(command, name, "create the base image and the volumes of"))


def _chosen(command: Command, name: str, would: str, further: str = "") -> DevContainer:
    """Read a configuration. With --dry the verb ends here, and says what it would do."""
    from synos_tasks.dev.config import load

    config = load(command.settings, name)
    command.would(f"{would} development container {config.name}{further}")
    return config


def _start(command: Command, config: DevContainer, **options: Any) -> Up:  # noqa: ANN401
    from synos_tasks.dev import starting

    started = starting.up(_context(command), config, **options)
    name, by = started.name, started.by
    how = "runs already" if by == "running" else f"runs, made by {by}"
    console.say(
        f"development container {name} {how}: {started.container}, in {started.folder} as {started.user}"
    )
    console.say(f"a shell in it: inv dev.shell --name {name}; VS Code: inv dev.code --name {name}")
    command.result(asdict(started))
    return started


def _context(command: Command) -> Context:
    from synos_tasks.dev.containers import Context
    from synos_tasks.engine.client import Docker
    from synos_tasks.engine.compose import Compose

    return Context(settings=command.settings, docker=Docker(), compose=Compose, say=console.say)


namespace = Collection("dev", up, rebuild, shell, code, list_, down, doctor, prepare)
