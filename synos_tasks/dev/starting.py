"""Brings development containers up and down."""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.dev import lifecycle, making, official, shell
from synos_tasks.errors import DevContainerMissing, HostUnfit, SettingsError
from synos_tasks.host.locks import held
from synos_tasks.images import ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.session import Session
    from synos_tasks.engine.running import Running

SOCKET = "/run/docker.sock"
"""Where a container that was given an engine's socket has it."""


@dataclass(frozen=True, kw_only=True)
class Up:
    """A development container that runs. ``by``: running (nothing was to do), official or docker."""

    name: str
    container: str
    user: str
    folder: str
    by: str
    seconds: float


def up(session: Session, config: DevContainer, *, docker: str = "") -> Up:
    """Have the container running, made where it is not there. A second time nothing is to do.

    ``docker`` gives it an engine's socket: see socket_options(). Raises what making.make(), official.up() and the
    lifecycle's commands raise.
    """
    began = time.monotonic()
    with _alone(session, config):
        _refuse_wrong(config, docker)
        found = session.find(config)
        _refuse_late_socket(config, found, docker)
        return _up(session, config, found, docker, cached=True, began=began)


def rebuild(session: Session, config: DevContainer, *, docker: str = "", cached: bool = True) -> Up:
    """Make image and container anew. What is wrong with the options is found while the old one is still there."""
    began = time.monotonic()
    with _alone(session, config):
        socket_options(session, config, docker)
        _down(session, config)
        return _up(session, config, None, docker, cached=cached, began=began)


def down(session: Session, config: DevContainer) -> list[str]:
    """End and remove the container, and what compose made beside it. Volumes stay. Gives names of what is gone."""
    with _alone(session, config):
        return _down(session, config)


@contextmanager
def _alone(session: Session, config: DevContainer) -> Iterator[None]:
    """Let no other command change this container meanwhile."""
    _refuse_engine_elsewhere()
    session.state.mkdir(parents=True, exist_ok=True)
    waiting = f"another command works on development container {config.name}: waiting for it"
    with held(session.state / f"{config.name}.lock", lambda: session.say(waiting)):
        yield


def _up(
    session: Session, config: DevContainer, found: Running | None, docker: str, *, cached: bool, began: float
) -> Up:
    by = _start(session, config, found, docker, cached=cached)
    container = session.running(config)
    shell.remember(session, config, container)
    if by != "running" and (config.compose_files or "build" in config.values):
        _remember_image(session, container)
    return Up(
        name=config.name,
        container=container.name,
        user=config.inside.user,
        folder=config.inside.folder,
        by=by,
        seconds=round(time.monotonic() - began, 2),
    )


def _remember_image(session: Session, container: Running) -> None:
    """Know the image as this clone's when it has lost its name: the official CLI gives it no label of ours."""
    ident = session.engine.image_id(container.image)
    if ident:
        ledger.remember(session.settings.state_dir, ident=ident, tag=container.image)


def _start(
    session: Session, config: DevContainer, found: Running | None, docker: str, *, cached: bool
) -> str:
    if found is not None and found.state == "running":
        lifecycle.initialize(session, config)
        return "running"
    extra = socket_options(session, config, docker)
    cli = None if extra else official.ensure(session)
    if cli is not None:
        official.up(session, config, cli, cached=cached)
        return "official"
    lifecycle.initialize(session, config)
    if found is None:
        making.make(session, config, extra, cached=cached)
    else:
        session.containers.start(found.id)
    lifecycle.run_all(session, config, session.running(config))
    return "docker"


def _down(session: Session, config: DevContainer) -> list[str]:
    found = session.containers.find(config.labels)
    for container in found:
        session.containers.remove(container.id)
    if found and config.compose_files and all(path.exists() for path in config.compose_files):
        session.compose(making.compose_file(session, config)).run("down")
    shell.forget(session, config)
    return [container.name for container in found]


def socket_options(session: Session, config: DevContainer, docker: str) -> list[str]:
    """Give the options that hand an engine's socket to a container: none, of a rootless engine, or of the one in use.

    Raises SettingsError or HostUnfit.
    """
    _refuse_wrong(config, docker)
    if not docker:
        return []
    path = _rootless_socket() if docker == "rootless" else _socket_in_use()
    if docker == "socket" and not session.containers.is_rootless():
        session.say(
            "warning: this engine runs as root, so whoever is in the container can be root on this machine"
        )
    return [
        f"--mount=type=bind,source={path},target={SOCKET}",
        f"--group-add={path.stat().st_gid}",
        f"--env=DOCKER_HOST=unix://{SOCKET}",
    ]


def _rootless_socket() -> Path:
    path = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}") / "docker.sock"
    if not path.exists():
        raise HostUnfit(
            "no rootless Docker Engine runs for this user",
            where=str(path),
            why="the socket of an engine that runs as root makes whoever has it root on this machine",
            hint="dockerd-rootless-setuptool.sh install (package docker-ce-rootless-extras); or, knowing that, --docker socket",
        )
    return path


def _socket_in_use() -> Path:
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    path = Path(host.removeprefix("unix://"))
    if not host.startswith("unix://") or not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        raise HostUnfit(
            "the engine in use has no socket on this machine",
            where=host,
            hint="inside the container, set DOCKER_HOST to the same address",
        )
    return path


def _refuse_engine_elsewhere() -> None:
    host = os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix://"):
        raise HostUnfit(
            "the engine in use is on another machine, and has not this project's folder",
            where=f"DOCKER_HOST={host}",
            hint="unset DOCKER_HOST, or clone the project there and use it there (VS Code: Remote - SSH)",
        )


def _refuse_wrong(config: DevContainer, docker: str) -> None:
    if docker not in {"", "rootless", "socket"}:
        raise SettingsError(f"--docker is {docker!r}", hint="rootless, or socket for the engine in use")
    if docker and config.compose_files:
        raise SettingsError(
            f"--docker is not for {config.name}, which a compose file describes",
            where=str(config.path),
            hint="write the mount into a compose file of its dockerComposeFile",
        )


def _refuse_late_socket(config: DevContainer, found: Running | None, docker: str) -> None:
    if docker and found is not None and not any(source.endswith("docker.sock") for source in found.sources):
        raise DevContainerMissing(
            f"development container {config.name} is there already, without an engine's socket",
            where=found.name,
            why="a container cannot be given a mount later",
            hint=f"inv dev.down --name {config.name}, then inv dev.up --name {config.name} --docker {docker}",
        )
