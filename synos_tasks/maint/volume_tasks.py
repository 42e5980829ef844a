"""The verb `inv maint.volumes`: each of its options, one function."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import console
from synos_tasks.cli import Command, verb
from synos_tasks.errors import SettingsError

if TYPE_CHECKING:
    from synos_tasks.maint.resources import Context
    from synos_tasks.maint.volumes import Listed

JSON = "one JSON object on standard output"


@verb(
    "maint.volumes",
    help={
        "inspect": "show all about one volume",
        "export": "write a volume into an archive, and its manifest, FILE.json, beside it",
        "import_": "make a new volume of such an archive",
        "clone": "make a new volume with what this one holds",
        "to": "--export: the file (default: .synos/volumes/NAME-TIME.tar.zst); --clone: the new volume",
        "name": "--import: the new volume (default: as the one that was exported)",
        "json": JSON,
    },
)
def volumes(
    command: Command,
    inspect: str = "",
    export: str = "",
    import_: str = "",
    clone: str = "",
    to: str = "",
    name: str = "",
) -> None:
    """List the volumes of this project; look into one, copy it, write it into a file, make one of a file.

    The project's id in front of a volume's name may be left out.
    """
    given = {"inspect": inspect, "export": export, "import": import_, "clone": clone}
    chosen = [option for option, value in given.items() if value]
    if len(chosen) > 1:
        what = " and ".join(f"--{option}" for option in chosen)
        raise SettingsError(f"{what} cannot be combined", hint="give one at a time")
    action = chosen[0] if chosen else ""
    if to and action not in {"export", "clone"}:
        raise SettingsError("--to is only valid with --export or --clone")
    if name and action != "import":
        raise SettingsError("--name is only valid with --import")
    match action:
        case "inspect":
            _inspect(command, inspect)
        case "export":
            _export(command, export, Path(to).resolve() if to else None)
        case "import":
            _import(command, Path(import_).resolve(), name)
        case "clone":
            _clone(command, clone, to)
        case _:
            _list(command)


VERBS = [volumes]


def _list(command: Command) -> None:
    from synos_tasks.maint.volumes import listing  # noqa: PLC0415

    found = listing(_context(command))
    total = sum(one.bytes or 0 for one in found)  # what has two names counts once
    rows = [
        [one.short, one.role, _size(one), one.created[:10], ", ".join(one.users) or "nobody", _notes(one)]
        for one in found
    ]
    title = f"volumes of {command.settings.project_id}: {console.human_bytes(total)}"
    console.table(title, ["name", "role", "size", "made (UTC)", "used by", ""], rows)
    command.result({"bytes": total, "volumes": [asdict(one) for one in found]})


def _inspect(command: Command, name: str) -> None:
    from synos_tasks.maint.volumes import inspect, snapshot  # noqa: PLC0415

    context = _context(command)
    if command.dry:
        command.would(f"look into volume {snapshot(context).find(name).name}")
        return
    found = inspect(context, name)
    lines = {
        "volume": found.volume.name,
        "role": found.volume.role,
        "size": _size(found.volume),
        "made": found.volume.created,
        "files": f"{found.files} in {found.folders} folders",
        "newest change": found.changed,
        "used by": ", ".join(found.volume.users) or "nobody",
        "": _notes(found.volume),
        "exports": "\n".join(found.exports) or "none",
        "backups": ", ".join(found.backups),
    }
    for label, text in lines.items():
        if text:
            console.say(f"{label}: {text}" if label else text)
    command.result(asdict(found))


def _export(command: Command, name: str, to: Path | None) -> None:
    from synos_tasks.maint import copying  # noqa: PLC0415

    context = _context(command)
    if command.dry:
        volume = copying.whole(context, name)
        path = copying.export_path(context, volume, to)
        command.would(f"write volume {volume.name} into {path}", volume=volume.name, file=str(path))
        return
    path, done = copying.export(context, name, to)
    console.say(f"{done.files} files, {console.human_bytes(done.bytes)} in {path}")
    command.result({"file": str(path), **asdict(done)})


def _import(command: Command, path: Path, name: str) -> None:
    from synos_tasks.maint import copying  # noqa: PLC0415

    context = _context(command)
    if command.dry:
        export, full = copying.check_import(context, path, name)
        command.would(f"make volume {full} of {path}", volume=full, files=export.files)
        return
    done = copying.load(context, path, name)
    console.say(f"volume {done.volume}: {done.files} files")
    command.result(asdict(done))


def _clone(command: Command, name: str, to: str) -> None:
    from synos_tasks.maint import copying  # noqa: PLC0415

    if not to:
        raise SettingsError("--clone needs a name for the new volume", hint="--clone NAME --to NEW")
    context = _context(command)
    if command.dry:
        volume, full = copying.whole(context, name), copying.free_name(context, to)
        command.would(f"make volume {full} of volume {volume.name}", volume=full)
        return
    done = copying.clone(context, name, to)
    console.say(f"volume {done.volume}: {done.files} files")
    command.result(asdict(done))


def _context(command: Command) -> Context:
    from synos_tasks.maint.resources import Context  # noqa: PLC0415

    return Context(settings=command.settings, say=console.say)


def _size(volume: Listed) -> str:
    if volume.alias_of:
        return "-"
    return "?" if volume.bytes is None else console.human_bytes(volume.bytes)


def _notes(volume: Listed) -> str:
    notes = [f"another name of {volume.alias_of}"] if volume.alias_of else []
    notes += ["unfinished: the next import or clone removes it"] if volume.unfinished else []
    return "; ".join(notes)
