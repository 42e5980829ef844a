"""The files that VS Code reads: what all development containers must have, and what none may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from synos_tasks import settings
from synos_tasks.dev import config

ROOT = Path(__file__).resolve().parents[2]
OWN = settings.load(ROOT, {}, record=False)
NAMES = config.names(OWN)


def raw(name: str) -> dict[str, Any]:
    found: dict[str, Any] = config.loads((ROOT / ".devcontainer" / name / "devcontainer.json").read_text())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_is_the_hosts_user_in_the_projects_folder(name: str) -> None:
    values, found = raw(name), config.load(OWN, name)
    assert found.needs_official == ()
    assert (found.user, found.folder, found.service) == ("dev", str(ROOT), "dev")
    assert values["updateRemoteUserUID"] is False
    assert f"dev.prepare --name {name}" in values["initializeCommand"]
    first, *_, last = found.compose_files
    assert (first, last) == (ROOT / "docker/dev/docker-compose.yml", ROOT / f".synos/dev/{name}.yml")
    assert {"extensions", "settings"} == set(values["customizations"]["vscode"])
    assert all(port["label"] for port in values["portsAttributes"].values())


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
    assert "docker.sock" not in "".join(path.read_text() for path in (ROOT / ".devcontainer").glob("*/*"))


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
