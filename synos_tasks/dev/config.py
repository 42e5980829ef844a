"""The development containers of this project: a devcontainer.json each, read, checked and frozen."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.dev import jsonc
from synos_tasks.dev.variables import filled, known
from synos_tasks.engine.running import Inside
from synos_tasks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synos_tasks.settings import Settings

FOLDER = ".devcontainer"
FILE = "devcontainer.json"
LABEL_FOLDER, LABEL_FILE = "devcontainer.local_folder", "devcontainer.config_file"
"""The labels by which VS Code, the official CLI and this room find the same container."""
SELF_MADE = frozenset(
    [
        "$schema",
        "name",
        "build",
        "dockerComposeFile",
        "service",
        "runServices",
        "initializeCommand",
        "onCreateCommand",
        "updateContentCommand",
        "postCreateCommand",
        "postStartCommand",
        "postAttachCommand",
        "waitFor",
        "workspaceMount",
        "workspaceFolder",
        "remoteUser",
        "updateRemoteUserUID",
        "init",
        "runArgs",
        "capAdd",
        "securityOpt",
        "mounts",
        "containerEnv",
        "remoteEnv",
        "overrideCommand",
        "forwardPorts",
        "portsAttributes",
        "otherPortsAttributes",
        "customizations",
        "shutdownAction",
        "userEnvProbe",
    ]
)
"""Keys with which a container can be made without the official CLI."""
_COMMANDS = ("initializeCommand", "onCreateCommand", "updateContentCommand", "postCreateCommand", "postStartCommand",
             "postAttachCommand")  # fmt: skip
_KINDS: dict[str, type | tuple[type, ...]] = {
    "workspaceFolder": str, "workspaceMount": str, "remoteUser": str, "mounts": list, "runArgs": list, "capAdd": list,
    "securityOpt": list, "containerEnv": dict, "remoteEnv": dict, "build": dict, "dockerComposeFile": (str, list),
    "service": str, "runServices": list, **dict.fromkeys(_COMMANDS, (str, list, dict)),
}  # fmt: skip
_BUILD_KINDS: dict[str, type | tuple[type, ...]] = {
    "dockerfile": str, "context": str, "target": str, "args": dict, "options": list,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DevContainer:
    """One devcontainer.json, its variables filled in."""

    name: str
    """Of its folder, which is what ``--name`` says."""
    path: Path
    root: Path
    values: Mapping[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """What its container is found by."""
        return id_labels(self.root, self.path)

    @property
    def inside(self) -> Inside:
        """As whom, where and with what a person works in it."""
        return Inside(
            user=self.values.get("remoteUser", "root"),
            folder=self.values.get("workspaceFolder", str(self.root)),
            environment=self.values.get("remoteEnv", {}),
        )

    @property
    def compose_files(self) -> tuple[Path, ...]:
        """Its compose files, absolute; () where it is a single container."""
        told = self.values.get("dockerComposeFile", [])
        return tuple(self.beside(name) for name in ([told] if isinstance(told, str) else told))

    @property
    def needs_official(self) -> list[str]:
        """Keys of it for which only the official CLI knows what to do."""
        return sorted(set(self.values) - SELF_MADE)

    def beside(self, path: str) -> Path:
        """Give a path that is relative to the devcontainer.json."""
        return Path(os.path.normpath(self.path.parent / path))

    def volumes(self) -> dict[str, str]:
        """Give the volumes with a name that it mounts, with where."""
        mounts = [fields_of(mount) for mount in self.values.get("mounts", [])]
        return {
            mount["source"]: mount["target"]
            for mount in mounts
            if mount.get("type") == "volume" and "source" in mount
        }


def fields_of(mount: str | Mapping[str, str]) -> dict[str, str]:
    """Read a mount, which may be a text as of `docker run --mount`, with the long names of its fields."""
    pairs = (part.partition("=") for part in mount.split(",")) if isinstance(mount, str) else None
    found = dict(mount) if pairs is None else {key: value for key, _, value in pairs}  # type: ignore[arg-type]
    for short, long in (("src", "source"), ("dst", "target"), ("destination", "target")):
        if short in found:
            found[long] = found.pop(short)
    return found


def id_labels(root: Path, path: Path) -> dict[str, str]:
    """Give the labels of the container of a devcontainer.json."""
    return {LABEL_FOLDER: str(root), LABEL_FILE: str(path)}


def names(settings: Settings) -> list[str]:
    """Names of the development containers that there are."""
    return sorted(path.parent.name for path in (settings.root / FOLDER).glob(f"*/{FILE}"))


def load(settings: Settings, name: str) -> DevContainer:
    """Read one by name; the settings' for ''. Raises SettingsError with the place of a mistake."""
    name = name or settings.dev.name
    path = settings.root / FOLDER / name / FILE
    if name not in (there := names(settings)):
        close = difflib.get_close_matches(name, there, n=1)
        raise SettingsError(
            f"there is no development container {name!r}",
            where=str(settings.root / FOLDER),
            hint=f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(there) or 'none'}",
        )
    try:
        values = jsonc.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError("a devcontainer.json cannot be read", where=str(path), why=str(error)) from error
    _check(values, path)
    return DevContainer(name=name, path=path, root=settings.root, values=_filled(values, settings.root, path))


def _filled(values: dict[str, Any], root: Path, path: Path) -> dict[str, Any]:
    labels = id_labels(root, path)
    outside = known(str(root), labels)
    try:
        folder = filled(values.get("workspaceFolder", str(root)), outside, os.environ)
        found: dict[str, Any] = filled(values, known(str(root), labels, folder), os.environ)
    except SettingsError as error:
        raise SettingsError(error.what, where=str(path), hint=error.hint) from error
    return found


def _check(values: Any, path: Path) -> None:  # noqa: ANN401
    if not isinstance(values, dict):
        raise SettingsError("a devcontainer.json is not an object", where=str(path))
    _check_kinds(values, _KINDS, "", path)
    if values.get("privileged") or any(
        str(one).startswith("--privileged") for one in values.get("runArgs", [])
    ):
        raise SettingsError(
            "a development container may not be privileged",
            where=str(path),
            why="it would see the host's devices",
            hint="what must mount belongs to a build: inv build.iso --privileged",
        )
    if not {"build", "dockerComposeFile", "image"} & set(values):
        raise SettingsError(
            "a devcontainer.json says of no image",
            where=str(path),
            hint="it needs one of build, image and dockerComposeFile",
        )
    _check_parts(values, path)


def _check_kinds(
    values: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]], within: str, path: Path
) -> None:
    for key, kind in kinds.items():
        if key in values and not isinstance(values[key], kind):
            raise SettingsError(f"{within}{key} of a devcontainer.json has the wrong type", where=str(path))


def _check_parts(values: Mapping[str, Any], path: Path) -> None:
    """Refuse what has the right type and lacks something within."""
    for command in _COMMANDS:
        told = values.get(command)
        named = told if isinstance(told, dict) else {}
        _check_kinds(named, dict.fromkeys(named, (str, list)), f"{command}.", path)
    if "build" in values:
        _check_kinds(values["build"], _BUILD_KINDS, "build.", path)
        if "dockerfile" not in values["build"]:
            raise SettingsError("a devcontainer.json has a build without build.dockerfile", where=str(path))
    if "dockerComposeFile" in values and "service" not in values:
        raise SettingsError("a devcontainer.json has a dockerComposeFile without service", where=str(path))
    for mount in values.get("mounts", []):
        if not isinstance(mount, (str, dict)) or "target" not in fields_of(mount):
            raise SettingsError(f"one of the mounts has no target: {mount}", where=str(path))
