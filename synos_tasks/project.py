"""The project that a command works on: where it is, what it is called, and which id its containers carry."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from synos_tasks.errors import ProjectCopied, SettingsError
from synos_tasks.locks import exclusive

STATE = ".synos"
ID_FILE = "id"
LEASES = "leases"
SETUP = "setup"
"""In the state folder: written by scripts/synos before the first command, so it does not tell an old project."""
PACKAGE = Path(__file__).resolve().parent
"""The code, which containers get as /project/synos_tasks; with an installed wheel it is outside every project."""
NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
LONGEST_NAME = 30
SYNTAX = ',:"\n'
"""Characters that no project's path may have."""
SCRIPT = "./scripts/synos"
"""In a checkout of SynOS: sets the machine up where needed, and runs a verb. The wheel has none."""
STORE = "store"
"""What the volume with the store of ISO stages is for; it outlives containers."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """One folder with a tasks.py. The only place that knows how its paths and the names of its resources are made."""

    root: Path
    name: str
    """First word of image names, ISO names and cache mounts; two projects may share it."""
    id: str
    """Value of the label io.synos.project, first word of containers, volumes and networks; no two share it."""
    title: str
    """Name of the distribution as people read it, for boot menus and os-release."""

    @property
    def state_dir(self) -> Path:
        """Caches, logs and state."""
        return self.root / STATE

    @property
    def leases(self) -> Path:
        """Lock files, each held by a command as long as the container or temporary volume of that name may be there."""
        return self.state_dir / LEASES

    @property
    def build_data(self) -> Path:
        """What ISOs are made from: profiles with their locks, overlays, hooks and components."""
        return self.root / "docker/build"

    def image(self, purpose: str, tag: str) -> str:
        """Return the reference of an image. The tag must depend on its content where another project may share it."""
        return f"{self.name}-{purpose}:{tag}"

    def resource(self, purpose: str) -> str:
        """Return the name of a container, volume, network or compose project."""
        return f"{self.id}-{purpose}"

    @property
    def store_volume(self) -> str:
        """Name of the volume with the store of ISO stages."""
        return self.resource(STORE)


class _Record(NamedTuple):
    """What ``.synos/id`` says: the id, and the folder in which it was last used."""

    id: str
    root: Path


def launcher() -> str:
    """Return what runs a verb here."""
    return SCRIPT if (PACKAGE.parent / SCRIPT).is_file() else "inv"


def engine_hint() -> str:
    """Return how to get an engine, or what is missing of one."""
    if launcher() == SCRIPT:
        return f"{SCRIPT} installs and starts what is missing"
    return "install and start Docker Engine with buildx and compose: https://docs.docker.com/engine/install"


def load(root: Path, name: str = "", title: str = "", *, record: bool = True) -> Project:
    """Identify the project in a folder. Without a name it is called after the folder.

    With ``record`` a new project's id is written, so that it stays the same when the folder moves.
    Raises SettingsError for an impossible name, ProjectCopied where another folder has the same id.
    """
    root = root.resolve()
    if syntax := sorted(set(SYNTAX).intersection(str(root))):
        raise SettingsError(
            f"the project's path has {' and '.join(map(repr, syntax))} in it",
            where=str(root),
            why="to Docker these separate paths and options from each other",
            hint="move the project to a folder without; its data in volumes stays its own",
        )
    if name and not (NAME.fullmatch(name) and len(name) <= LONGEST_NAME):
        raise SettingsError(
            f"synos.name is {name!r}",
            where="invoke.yaml",
            hint=f"at most {LONGEST_NAME} small letters and digits, single hyphens between them",
        )
    name = name or fitting_name(root.name)
    return Project(root=root, name=name, id=_identify(root, name, record=record), title=title or name)


def fitting_name(folder: str) -> str:
    """Return a folder's name as images and volumes can have it."""
    words = re.findall(r"[a-z0-9]+", folder.lower(), re.ASCII)
    return "-".join(words)[:LONGEST_NAME].strip("-") or "project"


def give_new_id(root: Path, name: str) -> str:
    """Replace the id, and forget the images that the former one had built: they belong to the original."""
    root = root.resolve()
    state = root / STATE
    (state / "images.json").unlink(missing_ok=True)
    for shell in (state / "dev").glob("*.shell"):
        shell.unlink()
    ident = _random_id(name or fitting_name(root.name))
    _write(state, _Record(ident, root))
    return ident


def _identify(root: Path, name: str, *, record: bool) -> str:
    state = root / STATE
    known = _read(state)
    if known is None:
        known = _Record(_random_id(name), root)
        return _record_first(state, known) if record else known.id
    if known.root != root:
        _refuse_copy(known, root)
        if record and os.access(state, os.W_OK):
            _write(state, _Record(known.id, root))
    return known.id


def _refuse_copy(known: _Record, root: Path) -> None:
    """Raise ProjectCopied where the folder that had this id is still there, and is not this one by another path."""
    other = known.root / STATE
    try:
        original = _read(other)
        same = original is not None and (other / ID_FILE).samefile(root / STATE / ID_FILE)
    except OSError:
        return
    if original is not None and original.id == known.id and not same:
        raise ProjectCopied(
            "this folder is a copy of another project, with its id",
            where=str(root),
            why=f"{known.root} has the id {known.id} too: each would take the other's containers and volumes for its own",
            hint=f"{sys.executable} -m synos_tasks new-id\nin this folder gives the copy an id of its own; "
            "data in volumes stays with the original",
        )


def _read(state: Path) -> _Record | None:
    """Read the record; None where there is none. Raises SettingsError where it is damaged."""
    path = state / ID_FILE
    try:
        ident, root = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        ident, root = "", ""
    if not NAME.fullmatch(ident):
        raise SettingsError(
            "the project's id cannot be read",
            where=str(path),
            why="it should be two lines: the id, and the project's folder",
            hint=f"the label io.synos.project of its volumes tells the id; remove {path} to start with a new one",
        )
    return _Record(ident, Path(root))


def _record_first(state: Path, record: _Record) -> str:
    """Write the id unless another command was quicker; return the one that counts.

    A state folder that cannot be written is no reason to fail here: what needs it says so. Until then every command
    has another id, and nothing that is there belongs to it.
    """
    try:
        state.mkdir(exist_ok=True)
        with exclusive(state):
            found = _read(state)
            if found is None:
                _write(state, record)
    except OSError:
        return record.id
    return (found or record).id


def _write(state: Path, record: _Record) -> None:
    temporary = state / f"{ID_FILE}.{os.urandom(5).hex()}"
    temporary.write_text(f"{record.id}\n{record.root}\n", encoding="utf-8")
    temporary.replace(state / ID_FILE)


def _random_id(name: str) -> str:
    return f"{name}-{os.urandom(5).hex()}"
