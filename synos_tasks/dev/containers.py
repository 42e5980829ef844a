"""Find development containers, list and check them, and enter them: a command, a shell, or VS Code."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from synos_tasks import images
from synos_tasks.dev import official
from synos_tasks.dev.config import load, names
from synos_tasks.engine.client import exec_options
from synos_tasks.engine.labels import (
    LABEL_COMPOSE_PROJECT,
    LABEL_FILE,
    LABEL_FOLDER,
    LABEL_PROJECT,
    is_own_container,
)
from synos_tasks.errors import DevContainerMissing, HostUnfit, SynosError
from synos_tasks.host import Check
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.engine.client import Container
    from synos_tasks.engine.compose import Compose

SHELL = ("bash", "--login")
EDITORS = ("code", "code-insiders")


@dataclass(frozen=True, kw_only=True)
class Context(images.Context):
    """What every command on a development container needs."""

    compose: Callable[..., Compose]

    @property
    def state(self) -> Path:
        """Folder for what is generated and remembered."""
        return self.settings.project.state_dir / "dev"

    def find(self, config: DevContainer) -> Container | None:
        """Return the newest container of a devcontainer.json, no matter which tool made it; None where there is none."""
        return next(iter(self.containers(config.labels)), None)

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """Return this clone's containers with these labels: other clones may be at the same path, in other containers.

        The compose file gives the clone's id. Without one only the official CLI makes them, which knows the path alone.
        """
        project = self.settings.project.id

        def is_own(one: Container) -> bool:
            has = one.config.labels or {}
            is_composed = LABEL_COMPOSE_PROJECT in has
            return (
                is_own_container(one, project) if is_composed else has.get(LABEL_PROJECT, project) == project
            )

        return [one for one in self.docker.containers(labels) if is_own(one)]

    def execute(
        self, container: str, config: DevContainer, words: Sequence[str], *, attached: bool = False
    ) -> int:
        """Run a command as the configuration says, and return its exit code: see Docker.execute()."""
        as_whom = {"user": config.user, "workdir": config.folder}
        return self.docker.execute(
            container, words, **as_whom, environment=config.environment, attached=attached
        )

    def running(self, config: DevContainer) -> Container:
        """Return the container, which runs; raises DevContainerMissing."""
        found = self.find(config)
        if found is None or found.state.status != "running":
            raise DevContainerMissing(
                f"development container {config.name} {'has ended' if found else 'does not exist'}",
                where=str(config.path),
                hint=f"inv dev.up --name {config.name}",
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One development container. ``state`` is "absent" where none was made."""

    name: str
    title: str
    state: str
    container: str = ""
    image: str = ""
    started: str = ""


def listed(context: Context) -> list[Listed]:
    """List all of this project, running or not; raises SettingsError or EngineUnavailable."""
    configs = [load(context.settings, name) for name in names(context.settings)]
    found = _all(context)
    newest = {(one.config.labels or {}).get(LABEL_FILE): one for one in reversed(found)}
    return [_listed(config, newest.get(str(config.path))) for config in configs]


def _listed(config: DevContainer, container: Container | None) -> Listed:
    if container is None:
        return Listed(name=config.name, title=config.title, state="absent")
    state = container.state
    started = state.started_at.isoformat() if state.status == "running" and state.started_at else ""
    return Listed(
        name=config.name,
        title=config.title,
        state=state.status or "",
        container=container.name,
        image=container.config.image or "",
        started=started,
    )


def examine(context: Context) -> list[Check]:
    """Check what containers are made from and with, and those of this project; raises EngineUnavailable."""
    cli = shutil.which("devcontainer")
    detail = f"at {cli}" if cli else "not on PATH; containers are made with Docker alone"
    hint = "" if cli else f"for configurations with features: {official.INSTALL}"
    return [
        *(_configuration(context, name) for name in names(context.settings)),
        Check(name="official CLI", status="ok", detail=detail, hint=hint),
        *(_container(one) for one in _all(context)),
    ]


def _all(context: Context) -> list[Container]:
    return context.containers({LABEL_FOLDER: str(context.settings.project.root)})


def _configuration(context: Context, name: str) -> Check:
    try:
        needs = ", ".join(load(context.settings, name).needs_official)
    except SynosError as error:
        return Check(name=f"config {name}", status="fail", detail=error.what, hint=error.hint or error.why)
    detail = f"needs the official CLI: {needs}" if needs else "can be made with Docker alone"
    return Check(name=f"config {name}", status="ok", detail=detail)


def _container(container: Container) -> Check:
    name = f"container {container.name}"
    if container.host_config.privileged:
        hint = "inv dev.down, and remove what made it so from its compose file or devcontainer.json"
        return Check(name=name, status="fail", detail="it is privileged", hint=hint)
    if has_socket(container):
        hint = "inv dev.down and inv dev.up without --docker, once it is not needed"
        return Check(name=name, status="warn", detail="it has an engine's socket", hint=hint)
    return Check(name=name, status="ok", detail=container.state.status or "")


def has_socket(container: Container) -> bool:
    """Return whether an engine's socket is mounted in a container."""
    return any(str(mount.source).endswith("docker.sock") for mount in container.mounts)


def enter(context: Context, config: DevContainer, command: Sequence[str]) -> int:
    """Run a command on the caller's own streams; return its exit code. Raises DevContainerMissing."""
    container = context.running(config)
    remember(context, config, container.name)
    return context.execute(container.id, config, command, attached=True)


def remember(context: Context, config: DevContainer, container: str) -> None:
    """Write what `docker exec` needs for scripts/synos, which is quicker than inv.

    The container's name, the file that it was made from, and the options, each a line.
    """
    options = exec_options(config.user, config.folder, config.environment)
    lines = [container, str(config.path), *options]
    if not any("\n" in line for line in lines):
        for path in shell_files(context, config):
            write_whole(path, "".join(f"{line}\n" for line in lines))


def shell_files(context: Context, config: DevContainer) -> list[Path]:
    """Return where remember() writes: a file for the name, and `default` for the settings' container."""
    default = ["default"] if config.name == context.settings.dev.name else []
    return [context.state / f"{name}.shell" for name in (config.name, *default)]


def editor_address(config: DevContainer, container: str) -> str:
    """Return the address by which VS Code attaches to a running container, in the project's folder.

    Its form is the one that the extension Dev Containers writes into VS Code's list of recent folders.
    """
    authority = json.dumps({"containerName": f"/{container}"}, separators=(",", ":")).encode().hex()
    return f"vscode-remote://attached-container+{authority}{quote(config.folder)}"


def open_editor(config: DevContainer, container: str) -> str:
    """Open the container in VS Code; return the command that did it. Raises HostUnfit where there is none."""
    address = editor_address(config, container)
    editor = next((path for name in EDITORS if (path := shutil.which(name))), None)
    if editor is None:
        raise HostUnfit(
            "there is no `code` command",
            where="PATH",
            why=f"development container {config.name} runs; open VS Code by hand",
            hint=(
                f"in VS Code, with the extension Dev Containers: open {config.root}, then the command "
                f"'Dev Containers: Reopen in Container' and there '{config.title}'.\n"
                f"Or where `code` is: code --folder-uri {address}"
            ),
        )
    argv = [editor, "--folder-uri", address]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        raise HostUnfit("VS Code could not be opened", where=" ".join(argv), why=done.stderr.strip())
    return " ".join(argv)
