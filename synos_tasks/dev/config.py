"""The development containers of this project: each a devcontainer.json, read, checked and frozen."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.labels import LABEL_FILE, LABEL_FOLDER
from synos_tasks.errors import SettingsError, unknown
from synos_tasks.iso.scratch import entries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synos_tasks.settings import Settings

FOLDER = ".devcontainer"
FILE = "devcontainer.json"
LIFECYCLE = (
    "initializeCommand", "onCreateCommand", "updateContentCommand", "postCreateCommand", "postStartCommand",
    "postAttachCommand",
)  # fmt: skip
MAKING = frozenset([
    "$schema", "name", "dockerComposeFile", "service", "runServices", "initializeCommand", "workspaceFolder",
])  # fmt: skip
METADATA = frozenset([
    *LIFECYCLE[1:], "waitFor", "customizations", "remoteUser", "updateRemoteUserUID", "userEnvProbe", "remoteEnv",
    "portsAttributes", "otherPortsAttributes", "forwardPorts", "shutdownAction",
])  # fmt: skip
"""Keys from which VS Code configures itself when it attaches. Others than these two sets need the official CLI."""
_TYPES: dict[str, type | tuple[type, ...]] = {
    "workspaceFolder": str, "remoteUser": str, "remoteEnv": dict, "customizations": dict, "runArgs": list,
    "dockerComposeFile": (str, list), "service": str, "runServices": list,
    **dict.fromkeys(LIFECYCLE, (str, list, dict)),
}  # fmt: skip
"""Of the keys that are read here. The official CLI checks those that only it reads."""
# a string is one piece, so that nothing in it is taken for a comment
_JSONC = re.compile(
    r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/|,(?=(?>\s|//[^\n]*+|/\*(?>.*?\*/))*+[\]}])', re.DOTALL
)
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True, kw_only=True)
class DevContainer:
    """One devcontainer.json, its variables replaced."""

    name: str
    title: str
    """As VS Code shows it; the name is that of its folder."""
    root: Path
    path: Path
    user: str
    folder: str
    """The project in the container."""
    environment: Mapping[str, str]
    compose_files: tuple[Path, ...]
    service: str
    run_services: tuple[str, ...]
    joins_services: bool
    """Whether it is on the network of `inv services.up`: ``customizations.synos.services``."""
    commands: Mapping[str, list[tuple[str, list[str]]]]
    """By stage, as names and words. Only commands of an object have a name."""
    metadata: str
    """The label from which VS Code takes extensions, settings and the user when it attaches."""
    needs_official: tuple[str, ...]
    """Keys that only the official CLI knows."""
    labels: Mapping[str, str]
    """By which its container is found."""


def names(settings: Settings) -> list[str]:
    """Return the names of the development containers: the folders in .devcontainer."""
    return [path.name for path in entries(settings.project.root / FOLDER) if (path / FILE).exists()]


def load(settings: Settings, name: str) -> DevContainer:
    """Read one by name; the settings' for ''. Raises SettingsError with the place of a mistake."""
    name = name or settings.dev.name
    path = settings.project.root / FOLDER / name / FILE
    if name not in (known := names(settings)):
        raise unknown("development container", name, known, settings.project.root / FOLDER)
    try:
        values = loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError("a devcontainer.json cannot be read", where=str(path), why=str(error)) from error
    _check(values, path)
    labels = {LABEL_FOLDER: str(settings.project.root), LABEL_FILE: str(path)}
    values = _with_variables(values, settings.project.root, labels)
    files = values.get("dockerComposeFile", [])
    files = [files] if isinstance(files, str) else files
    own = values.get("customizations", {}).get("synos", {})
    return DevContainer(
        name=name,
        title=str(values.get("name", name)),
        root=settings.project.root,
        path=path,
        user=values.get("remoteUser", "root"),
        folder=values.get("workspaceFolder", str(settings.project.root)),
        environment={key: str(one) for key, one in values.get("remoteEnv", {}).items() if one is not None},
        compose_files=tuple(Path(os.path.normpath(path.parent / file)) for file in files),
        service=values.get("service", ""),
        run_services=tuple(values.get("runServices", ())),
        joins_services=isinstance(own, dict) and bool(own.get("services")),
        commands={stage: commands_of(values.get(stage, "")) for stage in LIFECYCLE},
        metadata=json.dumps([{key: value for key, value in values.items() if key in METADATA}]),
        needs_official=tuple(sorted(set(values) - METADATA - MAKING)),
        labels=labels,
    )


def loads(text: str) -> Any:  # noqa: ANN401
    """Read JSON with comments and trailing commas; raises ValueError with line and column of the file as it is."""

    def blank(piece: re.Match[str]) -> str:
        return piece[0] if piece[0].startswith('"') else re.sub(r"[^\n]", " ", piece[0])

    return json.loads(_JSONC.sub(blank, text))


def devcontainer_id(labels: Mapping[str, str]) -> str:
    """Return ``${devcontainerId}``: the hash of the labels by which a container is found, in base 32."""
    text = json.dumps(dict(sorted(labels.items())), separators=(",", ":"), ensure_ascii=False)
    number = int.from_bytes(hashlib.sha256(text.encode()).digest())
    digits = ""
    while number:
        number, digit = divmod(number, 32)
        digits = "0123456789abcdefghijklmnopqrstuv"[digit] + digits
    return digits.rjust(52, "0")


def commands_of(value: Any) -> list[tuple[str, list[str]]]:  # noqa: ANN401
    """Read a lifecycle command: a line for a shell, words, or several of these by name."""
    if isinstance(value, dict):
        return [(name, words) for name, one in value.items() for _, words in commands_of(one)]
    words = ["/bin/sh", "-c", value] if isinstance(value, str) else [str(word) for word in value]
    return [("", words)] if value else []


def replace_variables(value: Any, variables: Mapping[str, str], environment: Mapping[str, str]) -> Any:  # noqa: ANN401
    """Replace ``${NAME}`` in all texts of a value. Raises SettingsError for an unknown variable."""

    def one(found: re.Match[str]) -> str:
        kind, _, rest = found[1].partition(":")
        if found[1] in variables:
            return variables[found[1]]
        if kind in {"localEnv", "env"}:
            variable, _, default = rest.partition(":")
            return environment.get(variable, default)
        hint = f"known are localEnv:NAME, {', '.join(sorted(variables))}"
        raise SettingsError(f"unknown variable ${{{found[1]}}}", hint=hint)

    if isinstance(value, str):
        return _VARIABLE.sub(one, value)
    if isinstance(value, list):
        return [replace_variables(item, variables, environment) for item in value]
    if isinstance(value, dict):
        return {key: replace_variables(item, variables, environment) for key, item in value.items()}
    return value


def _with_variables(values: dict[str, Any], root: Path, labels: Mapping[str, str]) -> dict[str, Any]:
    """Replace variables in what is read here; the official CLI does so in the rest."""
    outside = {
        "localWorkspaceFolder": str(root),
        "localWorkspaceFolderBasename": root.name,
        "devcontainerId": devcontainer_id(labels),
    }
    own = {key: value for key, value in values.items() if key in METADATA | MAKING}
    try:
        folder = replace_variables(values.get("workspaceFolder", str(root)), outside, os.environ)
        inside = {"containerWorkspaceFolder": folder, "containerWorkspaceFolderBasename": Path(folder).name}
        return {**values, **replace_variables(own, outside | inside, os.environ)}
    except SettingsError as error:
        error.where = labels[LABEL_FILE]
        raise


def _check(values: Any, path: Path) -> None:  # noqa: ANN401
    if not isinstance(values, dict):
        raise SettingsError("devcontainer.json is not an object", where=str(path))
    typed = [(key, values[key], kind) for key, kind in _TYPES.items() if key in values]
    for stage in LIFECYCLE:
        if isinstance(values.get(stage), dict):
            typed += [(f"{stage}.{name}", one, (str, list)) for name, one in values[stage].items()]
    for key, value, kind in typed:
        if not isinstance(value, kind):
            raise SettingsError(f"{key} of a devcontainer.json has the wrong type", where=str(path))
    arguments = map(str, values.get("runArgs", []))
    if values.get("privileged") or any(one.startswith("--privileged") for one in arguments):
        raise SettingsError(
            "a development container may not be privileged",
            where=str(path),
            why="it would see the host's devices",
            hint="what must mount belongs to a build: inv build.iso --privileged",
        )
    if not {"build", "dockerComposeFile", "image"} & set(values):
        raise SettingsError("devcontainer.json needs build, image or dockerComposeFile", where=str(path))
    if "dockerComposeFile" in values and "service" not in values:
        raise SettingsError("devcontainer.json needs service with dockerComposeFile", where=str(path))
