"""A clone whose development containers are a test's own, and what tests ask of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from synos_tasks.dev.config import loads
from synos_tasks.engine.labels import LABEL_FOLDER
from tests.build_helpers import ROOT, Clone, copy_project, docker
from tests.services_clones import services_clone

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = (".devcontainer", ".vscode", "scripts", "tests", ".ci")
FILES = ("requirements.lock", "pyproject.toml", ".hadolint.yaml", "*.md")


def dev_clone(folder: Path, *, services: bool = False) -> Clone:
    """Copy the project, set up as scripts/synos would set it up, with this project's own environment."""
    clone = services_clone(folder) if services else copy_project(folder)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored, symlinks=True, dirs_exist_ok=True)
    for path in (path for pattern in FILES for path in ROOT.glob(pattern)):
        shutil.copy(path, folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    setup = folder / ".synos/setup"
    setup.mkdir(parents=True)
    shutil.copy(ROOT / "requirements.lock", setup)
    shutil.copy(ROOT / ".synos/setup/engine", setup)
    (setup / "venv").write_text(f"{folder}\n{os.path.realpath(ROOT / '.venv/bin/python')}\n1\n")
    return clone


def made_by(clone: Clone, maker: str) -> None:
    """Have the clone's development containers made by the official CLI, or through Docker."""
    path = clone.root / "invoke.yaml"
    text = path.read_text()
    for other in ("auto", "official", "docker"):
        text = text.replace(f"    cli: {other} ", f"    cli: {maker} ")
    path.write_text(text)


def remove_dev_containers(clone: Clone) -> None:
    """Remove the containers of a clone's folder, and the images that the official CLI made for them."""
    label = f"--filter=label={LABEL_FOLDER}={clone.root}"
    found = docker("ps", "--all", "--quiet", label).split()
    images = {docker("inspect", "--format={{.Image}}", ident) for ident in found}
    if found:
        docker("rm", "--force", "--volumes", *found)
    for image in images:
        subprocess.run(["docker", "image", "rm", "--force", image], check=False, capture_output=True)


def inside(clone: Clone, name: str, *command: str, stdin: str = "") -> str:
    """Run a command in a development container as `inv dev.shell` does, and give what it prints."""
    done = in_container(clone, name, *command, stdin=stdin)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def in_container(clone: Clone, name: str, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The same, whatever its exit code is."""
    argv = ["./scripts/synos", "dev.shell", "--name", name, "--", *command]
    return subprocess.run(argv, cwd=clone.root, input=stdin, capture_output=True, text=True, check=False)


def inspected(container: str) -> dict[str, Any]:
    """What the engine tells of a container."""
    found: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return found


def editor_file(name: str) -> dict[str, Any]:
    """Read tasks.json or launch.json."""
    found: dict[str, Any] = loads((ROOT / ".vscode" / name).read_text())
    return found


def filled(value: Any, clone: Clone, file: Path) -> Any:  # noqa: ANN401
    """Fill in what VS Code fills in."""
    variables = {
        "file": str(file),
        "fileDirname": str(file.parent),
        "fileBasenameNoExtension": file.stem,
        "workspaceFolder": str(clone.root),
    }
    text = json.dumps(value)
    for name, known in variables.items():
        text = text.replace(f"${{{name}}}", known)
    return json.loads(text)
