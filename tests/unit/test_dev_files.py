"""The files that VS Code reads: what all development containers must have, and what none may."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from synos_tasks import settings
from synos_tasks.dev import config

ROOT = Path(__file__).resolve().parents[2]
OWN = settings.load(ROOT, {}, record=False)
NAMES = config.names(OWN)
TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
COMMAND = {"type": ["string", "array", "object"]}
PORT = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "onAutoForward": {
            "enum": ["notify", "openBrowser", "openBrowserOnce", "openPreview", "silent", "ignore"]
        },
    },
    "additionalProperties": False,
}
# From https://containers.dev/implementors/json_reference: the keys that ours use, and no others.
COMMON: dict[str, Any] = {
    "$schema": {"type": "string"},
    "name": {"type": "string"},
    "initializeCommand": COMMAND,
    "onCreateCommand": COMMAND,
    "updateContentCommand": COMMAND,
    "postCreateCommand": COMMAND,
    "postStartCommand": COMMAND,
    "postAttachCommand": COMMAND,
    "remoteUser": {"const": "dev"},
    "updateRemoteUserUID": {"const": False},
    "workspaceFolder": {"const": "${localWorkspaceFolder}"},
    "forwardPorts": {
        "type": "array",
        "items": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[a-z0-9-]+:\d{1,5}$"}]},
    },
    "portsAttributes": {"type": "object", "additionalProperties": {**PORT, "required": ["label"]}},
    "otherPortsAttributes": PORT,
    "customizations": {
        "type": "object",
        "properties": {
            "vscode": {
                "type": "object",
                "properties": {"extensions": TEXTS, "settings": {"type": "object", "minProperties": 1}},
                "required": ["extensions", "settings"],
                "additionalProperties": False,
            }
        },
        "required": ["vscode"],
    },
    "dockerComposeFile": TEXTS,
    "service": {"const": "dev"},
}


def raw(name: str) -> dict[str, Any]:
    found: dict[str, Any] = config.loads((ROOT / ".devcontainer" / name / "devcontainer.json").read_text())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_is_valid_and_hardened(name: str) -> None:
    required = ["name", "dockerComposeFile", "service", "initializeCommand", "remoteUser", "workspaceFolder"]
    schema = {"type": "object", "properties": COMMON, "required": required, "additionalProperties": False}
    jsonschema.validate(raw(name), schema)
    found = config.load(OWN, name)
    assert found.needs_official == ()
    base, *_, own = found.compose_files
    assert base == ROOT / "docker/dev/docker-compose.yml"
    assert own == ROOT / f".synos/dev/{name}.yml"
    text = (ROOT / ".devcontainer" / name / "devcontainer.json").read_text()
    assert "docker.sock" not in text
    assert f"dev.prepare --name {name}" in raw(name)["initializeCommand"]


def test_each_last_stage_makes_the_user_and_leaves_root() -> None:
    text = (ROOT / "docker/dev/Dockerfile").read_text()
    for name in NAMES:
        stage = re.search(rf"(?ms)^FROM \S+ AS {name}$.*?(?=^FROM|\Z)", text)
        assert stage, name
        assert "RUN ./make-user" in stage[0]
        assert "USER dev\n" in stage[0]
        assert f"ENV SYNOS_DEV_CONTAINER={name}\n" in stage[0]


def test_all_are_hardened_and_no_file_takes_it_back() -> None:
    [base, *others] = [
        yaml.safe_load(path.read_text())
        for path in (
            ROOT / "docker/dev/docker-compose.yml",
            *(ROOT / ".devcontainer").glob("*/*compose*.yml"),
        )
    ]
    service = base["services"]["dev"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] == 4096
    assert base["name"]
    given = {"ports", "privileged", "devices", "cap_add", "network_mode", "pid", "security_opt", "cap_drop"}
    assert not (given - {"security_opt", "cap_drop"}) & set(service)
    assert not [model for model in others if given & set(model["services"]["dev"])]


def test_tasks_and_launch_configurations_fit_together() -> None:
    tasks = config.loads((ROOT / ".vscode/tasks.json").read_text())["tasks"]
    launches = config.loads((ROOT / ".vscode/launch.json").read_text())["configurations"]
    labels = {task["label"] for task in tasks}
    assert len(labels) == len(tasks)
    assert {one["preLaunchTask"] for one in launches if "preLaunchTask" in one} <= labels
    assert {one["type"] for one in launches} == {"debugpy", "lldb-dap"}
    assert all(one["disableASLR"] is False for one in launches if one["type"] == "lldb-dap")


def test_the_official_cli_is_pinned_with_its_checksum() -> None:
    folder = ROOT / "docker/dev/cli"
    wanted = config.loads((folder / "package.json").read_text())["dependencies"]["@devcontainers/cli"]
    [locked] = [
        package
        for path, package in config.loads((folder / "package-lock.json").read_text())["packages"].items()
        if path
    ]
    assert locked["version"] == wanted
    assert locked["integrity"].startswith("sha512-")
    assert "resolved" not in locked  # whichever registry the person uses
