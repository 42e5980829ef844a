"""The verbs of `inv dev.*`. Each parses, calls one function, and prints."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from invoke.collection import Collection

from synos_tasks import console
from synos_tasks.cli import Command, verb

if TYPE_CHECKING:
    from synos_tasks.dev.session import Session

NAME = "folder of .devcontainer (default: synos.dev.name in invoke.yaml)"
JSON = "one JSON object on standard output"
DOCKER = "rootless: give it the socket of this user's rootless engine; socket: of the engine in use"
NO_CACHE = "build the image from nothing"


@verb("dev.up", help={"name": NAME, "docker": DOCKER, "json": JSON})
def up(command: Command, name: str = "", docker: str = "") -> None:
    """Start a development container, made where it is not there; VS Code finds the same one.

    Not for making ISOs (inv build.iso), nor for running services (inv services.up).
    """
    from synos_tasks.dev import config as configs  # noqa: PLC0415
    from synos_tasks.dev import starting  # noqa: PLC0415

    config = configs.load(command.settings, name)
    if command.dry:
        command.would(f"start development container {config.name} of {config.path}")
        return
    _started(command, starting.up(_session(command), config, docker=docker))


@verb("dev.rebuild", help={"name": NAME, "docker": DOCKER, "no-cache": NO_CACHE, "json": JSON})
def rebuild(
    command: Command,
    name: str = "",
    docker: str = "",
    no_cache: bool = False,
) -> None:
    """Make a development container anew, from its image on; its caches and history stay."""
    from synos_tasks.dev import config as configs  # noqa: PLC0415
    from synos_tasks.dev import starting  # noqa: PLC0415

    config = configs.load(command.settings, name)
    if command.dry:
        command.would(f"remove development container {config.name}, build its image and start it")
        return
    _started(command, starting.rebuild(_session(command), config, docker=docker, cached=not no_cache))


@verb("dev.shell", help={"name": NAME})
def shell(command: Command, name: str = "") -> None:
    """Open a shell in a running development container, or run the words after -- in it."""
    from synos_tasks.dev import config as configs  # noqa: PLC0415
    from synos_tasks.dev import shell as shells  # noqa: PLC0415

    config = configs.load(command.settings, name)
    if command.dry:
        command.would(f"run {' '.join(command.rest or shells.SHELL)} in development container {config.name}")
        return
    sys.exit(shells.run(_session(command), config, command.rest))


@verb("dev.code", help={"name": NAME})
def code(command: Command, name: str = "") -> None:
    """Open VS Code in a development container, starting it first; where there is no `code`, say how to."""
    from synos_tasks.dev import code as editor  # noqa: PLC0415
    from synos_tasks.dev import config as configs  # noqa: PLC0415
    from synos_tasks.dev import starting  # noqa: PLC0415

    config = configs.load(command.settings, name)
    if command.dry:
        command.would(f"start development container {config.name}, and open VS Code in it")
        return
    session = _session(command)
    starting.up(session, config)
    console.say(f"opened: {editor.open_editor(config, session.running(config))}")


@verb("dev.list", help={"json": JSON})
def list_(command: Command) -> None:
    """List the development containers of this project, made or not."""
    from synos_tasks.dev.listing import listed  # noqa: PLC0415

    found = listed(_session(command))
    if command.json:
        command.result({"containers": [asdict(one) for one in found]})
        return
    rows = [
        [one.name, one.title, one.state, one.container, one.started[:19].replace("T", " ")] for one in found
    ]
    console.table(
        "development containers", ["name", "in VS Code", "state", "container", "started (UTC)"], rows
    )


@verb("dev.down", help={"name": NAME, "all": "every one of this project", "json": JSON})
def down(command: Command, name: str = "", all: bool = False) -> None:  # noqa: A002
    """Stop and remove a development container; the project, its caches and its history stay."""
    from synos_tasks.dev import config as configs  # noqa: PLC0415
    from synos_tasks.dev import starting  # noqa: PLC0415

    names = configs.names(command.settings) if all else [name]
    chosen = [configs.load(command.settings, one) for one in names]
    if command.dry:
        command.would(f"remove {', '.join(config.name for config in chosen)}")
        return
    session = _session(command)
    gone = [container for config in chosen for container in starting.down(session, config)]
    console.say(f"removed: {', '.join(gone)}" if gone else "nothing to do: there was none")
    command.result({"removed": gone})


@verb("dev.doctor", help={"json": JSON})
def doctor(command: Command) -> None:
    """Check what development containers need, and those that are there; changes nothing."""
    from synos_tasks.dev.doctor import examine  # noqa: PLC0415

    command.report("Development containers", examine(_session(command)))


@verb("dev.prepare", help={"name": NAME})
def prepare(command: Command, name: str = "") -> None:
    """Have what a development container is made of, before VS Code or `inv dev.up` make it; devcontainer.json calls this."""
    from synos_tasks.dev import config as configs  # noqa: PLC0415
    from synos_tasks.dev.prepare import prepare as make_ready  # noqa: PLC0415

    config = configs.load(command.settings, name)
    if command.dry:
        command.would(f"see to the base image and the volumes of development container {config.name}")
        return
    make_ready(_session(command), config)


def _started(command: Command, started: object) -> None:
    told = vars(started)
    words = "runs already" if told["by"] == "running" else f"runs, made by {told['by']}"
    console.say(
        f"development container {told['name']} {words}: {told['container']}, in {told['folder']} as {told['user']}"
    )
    console.say(
        f"a shell in it: inv dev.shell --name {told['name']}; VS Code: inv dev.code --name {told['name']}"
    )
    command.result(told)


def _session(command: Command) -> Session:
    from synos_tasks.dev.session import Session  # noqa: PLC0415
    from synos_tasks.engine.gateway import DockerEngine  # noqa: PLC0415
    from synos_tasks.engine.old_compose import DockerCompose  # noqa: PLC0415
    from synos_tasks.engine.running import DockerContainers  # noqa: PLC0415

    return Session(
        settings=command.settings,
        engine=DockerEngine(),
        containers=DockerContainers(),
        say=console.say,
        compose=DockerCompose,
    )


namespace = Collection("dev", up, rebuild, shell, code, list_, down, doctor, prepare)
