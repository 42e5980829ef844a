"""`inv init` makes a project of a folder; `inv new-id` makes a copied folder a project of its own.

The files of a new project are those of this library's own repository, under another name: what the wheel carries in
synos_tasks/template, or in a checkout the repository itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from synos_tasks import console
from synos_tasks.cli import Command, verb
from synos_tasks.errors import HostUnfit, WouldOverwrite

PACKAGE = Path(__file__).resolve().parents[1]
FILES = ("invoke.yaml", "requirements.lock", ".dockerignore", ".devcontainer", "docker")
OF_SYNOS = re.compile(
    r".*README\.md|.*GUIDE\.md|docker/build/(docker-compose|matrix)\.ya?ml|docker/build/components/synos-.*"
    r"|docker/build/profiles/(?!minimal|profile\.schema).*|.*/__pycache__/.*"
)
"""Left out: the documents and programs of SynOS itself, the profiles that install them, and what pip compiles."""
OWN_NAME = re.compile(
    r"(?<![\w./])synos-(?=(?:builder|toolchain|boot|dev|nats|postgres|redis|ray|apt|pip|uv|ccache|sccache|unified)\b|\$)"
)
"""Begins names of images, volumes, compose projects and cache mounts; but not paths, as /etc/synos-builder."""
TASKS = "from synos_tasks import collection\nns = collection()\n"


class NewFile(NamedTuple):
    """A file of a new project: its text and its mode."""

    text: str
    mode: int = 0o644


@verb(
    "init",
    json=False,
    help={"name": "first word of the names of images and ISOs (default: the folder's name)"},
)
def init(command: Command, name: str = "") -> None:
    """Make a project of this folder: tasks.py, invoke.yaml, docker/ and .devcontainer/. Overwrites nothing."""
    from synos_tasks import project  # noqa: PLC0415  (kept off `inv --list`)

    root = command.root
    own = project.load(root, name, record=False)
    files = new_files(own.name)
    if taken := sorted(path for path in files if (root / path).exists() or (root / path).is_symlink()):
        raise WouldOverwrite(
            f"there are {len(taken)} of the files already; nothing was written",
            where=str(root),
            why="\n".join(taken[:10]),
            hint="run it in an empty folder, or move them away",
        )
    for path, new in files.items():
        if command.dry:
            console.say(f"would write {path}")
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        with (root / path).open("x", encoding="utf-8") as file:
            file.write(new.text)
        (root / path).chmod(new.mode)
    if not command.dry:
        project.load(root, own.name)
        console.say(f"Wrote {len(files)} files for project {own.name}. Next: inv doctor, then inv build.iso")


@verb("new-id", json=False)
def new_id(command: Command) -> None:
    """Give a folder that was copied with .synos an id of its own; images and volumes stay with the original."""
    from synos_tasks import project  # noqa: PLC0415

    if command.dry:
        console.say("would give this folder a new id")
        return
    console.say(f"This folder has the id {project.give_new_id(command.root, command.name)} now.")


def new_files(name: str) -> dict[str, NewFile]:
    """Return the files of a new project by path; raises HostUnfit where this installation lacks some."""
    template = PACKAGE / "template"
    template = template if template.is_dir() else PACKAGE.parent
    found = {"tasks.py": NewFile(TASKS), ".synos/.gitignore": NewFile("*\n")}
    for start in FILES:
        if not (template / start).exists():
            what = "the files of a new project are not all in this installation"
            raise HostUnfit(what, where=str(template / start), hint="install synos-tasks again")
        paths = sorted((template / start).rglob("*")) or [template / start]
        for path in (path for path in paths if path.is_file()):
            relative = path.relative_to(template).as_posix()
            if not OF_SYNOS.fullmatch(relative):
                text = renamed(relative, path.read_text(encoding="utf-8"), name)
                found[relative] = NewFile(text, 0o755 if path.stat().st_mode & 0o100 else 0o644)
    return found


def renamed(path: str, text: str, name: str) -> str:
    """Return a file of this repository as another project has it."""
    if path == "docker/build/Dockerfile":  # what follows compiles the components of SynOS into the image
        text = text[: text.index("FROM toolchain AS components")] + "FROM runtime AS standalone\n"
    elif path == "invoke.yaml":
        text = text.replace("name: synos ", f"name: {name} ")
        text = text.replace("profile: standard", "profile: minimal ")
    elif path == ".dockerignore":
        text = text.replace("!synos_tasks\n", "")
    elif path.startswith(".devcontainer/"):
        text = text.replace('\n          "docker/build/components/synos-agent/Cargo.toml"\n        ', "")
    text = text.replace("SynOS", name).replace("./scripts/synos ", "inv ")
    return OWN_NAME.sub(f"{name}-", text)
