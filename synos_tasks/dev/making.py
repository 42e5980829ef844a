"""Makes a development container without the official CLI, as that one would: same image, options and labels."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from synos_tasks.dev.config import fields_of
from synos_tasks.engine.old_compose import ComposeFile
from synos_tasks.engine.spec import image_labels, labels
from synos_tasks.errors import SettingsError
from synos_tasks.images.building import one_at_a_time
from synos_tasks.images.steps import Steps
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.session import Session

KEEP_RUNNING = 'echo Container started\ntrap "exit 0" 15\n\nexec "$@"\nwhile sleep 1 & wait $!; do :; done'
"""What a container does while nobody works in it."""
TOLD = [
    "onCreateCommand",
    "updateContentCommand",
    "postCreateCommand",
    "postStartCommand",
    "postAttachCommand",
    "waitFor",
    "customizations",
    "mounts",
    "containerEnv",
    "containerUser",
    "init",
    "capAdd",
    "securityOpt",
    "remoteUser",
    "userEnvProbe",
    "remoteEnv",
    "overrideCommand",
    "portsAttributes",
    "otherPortsAttributes",
    "forwardPorts",
    "shutdownAction",
    "updateRemoteUserUID",
]
"""Keys that go into the label from which VS Code configures itself."""


def make(session: Session, config: DevContainer, extra: Sequence[str], *, cached: bool) -> None:
    """Build the image and start a container, with further options of `docker run` where that is the command.

    Raises SettingsError where the configuration needs more than is known here, ImageBuildFailed, EngineUnavailable
    or ServiceFailed.
    """
    if config.needs_official:
        raise SettingsError(
            f"only the official CLI knows what to do with {', '.join(config.needs_official)}",
            where=str(config.path),
            hint="npm install --global @devcontainers/cli, or have npm on PATH: it is then installed for this project",
        )
    if config.compose_files:
        _up_by_compose(session, config, cached=cached)
        return
    image = build(session, config, cached=cached)
    session.containers.create(run_argv(session.settings.project_id, config, image, extra))


def build(session: Session, config: DevContainer, *, cached: bool) -> str:
    """Build the image of a devcontainer.json with what BuildKit has of it, and give its tag."""
    told = config.values["build"]
    project = session.settings.project_id
    tag = image_tag(project, config)
    session.say(f"building image {tag} (what has not changed is taken from before)")
    arguments = [
        f"--tag={tag}",
        f"--file={config.beside(told['dockerfile'])}",
        *([f"--target={told['target']}"] if "target" in told else []),
        *([] if cached else ["--no-cache"]),
        *(f"--build-arg={key}={value}" for key, value in told.get("args", {}).items()),
        *told.get("options", []),
        *(f"--label={key}={value}" for key, value in image_labels(project, "dev", tag).items()),
        str(config.beside(told.get("context", "."))),
    ]
    with one_at_a_time(session.settings):
        session.engine.build(arguments, Steps(session.say))
    return tag


def image_tag(project: str, config: DevContainer) -> str:
    """Give the name of a development container's image."""
    return f"synos-dev-{config.name}:{project}"


def run_argv(project: str, config: DevContainer, image: str, extra: Sequence[str]) -> list[str]:
    """Give the `docker run` command. Pure."""
    values = config.values
    workspace = values.get("workspaceMount", f"type=bind,source={config.root},target={config.inside.folder}")
    argv = ["docker", "run", "--detach", "--pull=never", f"--mount={workspace}"]
    argv += [f"--mount={_mount(mount)}" for mount in values.get("mounts", [])]
    argv += [f"--label={key}={value}" for key, value in _labels(project, config).items()]
    argv += values.get("runArgs", [])
    argv += ["--init"] if values.get("init") else []
    argv += [f"--cap-add={name}" for name in values.get("capAdd", [])]
    argv += [f"--security-opt={name}" for name in values.get("securityOpt", [])]
    argv += [f"--env={key}={value}" for key, value in values.get("containerEnv", {}).items()]
    argv += extra
    if values.get("overrideCommand", True):
        return [*argv, "--entrypoint=/bin/sh", image, "-c", KEEP_RUNNING, "-"]
    return [*argv, image]


def metadata(config: DevContainer) -> str:
    """Give the label from which VS Code takes extensions, settings and the user when it attaches."""
    return json.dumps([{key: config.values[key] for key in TOLD if key in config.values}])


def _labels(project: str, config: DevContainer) -> dict[str, str]:
    return {**config.labels, **labels(project, "dev"), "devcontainer.metadata": metadata(config)}


def _mount(mount: str | dict[str, str]) -> str:
    return ",".join(f"{key}={value}" if value else key for key, value in fields_of(mount).items())


def compose_file(session: Session, config: DevContainer) -> ComposeFile:
    """Give its compose files as one project, which was named by prepare()."""
    first, *others = config.compose_files
    return ComposeFile(
        project=session.settings.compose_project(f"dev-{config.name}"),
        path=first,
        environment={},
        overrides=tuple(others),
    )


def _up_by_compose(session: Session, config: DevContainer, *, cached: bool) -> None:
    path = _override(session, config)
    file = compose_file(session, config)
    service = config.values["service"]
    compose = session.compose(dataclasses.replace(file, overrides=(*file.overrides, path)))
    session.say(f"building the image of {service} (what has not changed is taken from before)")
    compose.run("build", *([] if cached else ["--no-cache"]), service)
    compose.run("up", "--detach", "--no-build", *config.values.get("runServices", []), service)


def _override(session: Session, config: DevContainer) -> Path:
    """Write what a compose file of a development container lacks: the labels by which it is found."""
    told: dict[str, Any] = {
        "labels": {
            key: value.replace("$", "$$")
            for key, value in _labels(session.settings.project_id, config).items()
        }
    }
    if config.values.get("overrideCommand", False):
        told |= {"entrypoint": ["/bin/sh", "-c", KEEP_RUNNING.replace("$", "$$"), "-"], "command": []}
    path = session.state / f"{config.name}.labels.yml"
    write_whole(path, json.dumps({"services": {config.values["service"]: told}}) + "\n")
    return path
