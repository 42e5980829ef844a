"""The verbs of `inv maint.*` that keep things: volumes as archives, old ISOs, logs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import console
from synos_tasks.cli import Command, verb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from synos_tasks.maint.archiving import Archived, Plan
    from synos_tasks.maint.isos import Left
    from synos_tasks.maint.means import Means
    from synos_tasks.maint.volumes import Listed

JSON = "one JSON object on standard output"
MOST_DIGITS = 6
"""Of a number that somebody types; Python reads thousands of them as a number, and tens of thousands as none."""


@verb(
    "maint.volumes",
    help={
        "inspect": "tell all of one volume",
        "export": "write a volume into an archive, and FILE.json beside it",
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
    json: bool = False,  # noqa: ARG001
) -> None:
    """List the volumes of this project; look into one, copy it, write it into a file, make one of a file.

    A volume may be named in short: by what follows the project's id.
    """
    actions: Mapping[str, Callable[[], None]] = {
        "inspect": lambda: _inspect(command, inspect),
        "export": lambda: _export(command, export, to),
        "import": lambda: _import(command, import_, name),
        "clone": lambda: _clone(command, clone, to),
    }
    given = {"inspect": inspect, "export": export, "import": import_, "clone": clone}
    chosen = _one_of(given)
    _refuse_idle({"to": to}, chosen, ("export", "clone"))
    _refuse_idle({"name": name}, chosen, ("import",))
    actions.get(chosen, lambda: _list(command))()


@verb(
    "maint.archive",
    help={
        "older-than": "only ISOs that were built so long ago: 12h, 30d, 8w",
        "keep-last": "newest ISOs of each profile that stay, 1 at least",
        "restore": "put an archived ISO back: synos-PROFILE-BUILDID",
        "list": "list what was archived",
        "yes": "do not ask",
        "json": JSON,
    },
)
def archive(
    command: Command,
    older_than: str = "30d",
    keep_last: str = "3",
    restore: str = "",
    list: bool = False,  # noqa: A002
    yes: bool = False,
    json: bool = False,  # noqa: ARG001
) -> None:
    """Move old ISOs, with all that belongs to them, into dist/archive, compressed and checked; or put one back."""
    chosen = _one_of({"restore": restore, "list": "list" if list else ""})
    if chosen == "restore":
        _restore(command, restore)
    elif chosen:
        _list_archives(command)
    else:
        _archive(command, older_than, _count("keep-last", keep_last, "ISOs"), yes=yes)


@verb(
    "maint.logs",
    help={"days": "older ones go, 0: none (default: synos.maint.logs_days in invoke.yaml)", "json": JSON},
)
def logs(command: Command, days: str = "", json: bool = False) -> None:  # noqa: ARG001
    """Remove old logs of .synos/logs and compress those of yesterday and before; what is in use is left alone."""
    import time  # noqa: PLC0415

    from synos_tasks.maint.logs import rotate  # noqa: PLC0415

    limit = _count("days", days, "days") if days else command.settings.maint.logs_days
    done = rotate(command.settings, limit, time.time(), dry=command.dry)
    words = ("would remove", "would compress") if command.dry else ("removed", "compressed")
    for word, names in zip(words, (done.removed, done.compressed), strict=True):
        for name in names:
            console.say(f"{word} {name}")
    for name in done.left:
        console.say(f"left alone, as it is in use: {name}")
    sizes = [console.human_bytes(size) for size in (done.before_bytes, done.after_bytes)]
    console.say(f"logs: {sizes[0]} before, {sizes[1]} after")
    command.result(asdict(done))


VERBS = [volumes, archive, logs]


def _list(command: Command) -> None:
    from synos_tasks.maint.volumes import listed, total  # noqa: PLC0415

    found = listed(_means(command))
    rows = [
        [one.short, one.role, _size(one), one.created[:10], ", ".join(one.users) or "nobody", _notes(one)]
        for one in found
    ]
    title = f"volumes of {command.settings.project_id}: {console.human_bytes(total(found))}"
    console.table(title, ["name", "role", "size", "made (UTC)", "used by", ""], rows)
    command.result({"bytes": total(found), "volumes": [asdict(one) for one in found]})


def _inspect(command: Command, name: str) -> None:
    from synos_tasks.maint.volumes import find, inspect  # noqa: PLC0415

    means = _means(command)
    if command.dry:
        command.would(f"look into volume {find(means, name)[0].name}")
        return
    found = inspect(means, name)
    told = {
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
    for label, text in told.items():
        if text:
            console.say(f"{label}: {text}" if label else text)
    command.result(asdict(found))


def _export(command: Command, name: str, to: str) -> None:
    from synos_tasks.maint import copying  # noqa: PLC0415

    means, target = _means(command), Path(to).resolve() if to else None
    if command.dry:
        volume, _ = copying.whole(means, name)
        path = copying.export_path(means, volume, target)
        command.would(f"write volume {volume.name} into {path}", volume=volume.name, file=str(path))
        return
    done = copying.export(means, name, target)
    record = done.record
    console.say(f"{record.files} files, {console.human_bytes(record.bytes)} in {done.path}")
    command.result({"file": str(done.path), **asdict(record)})


def _import(command: Command, file: str, name: str) -> None:
    from synos_tasks.maint import copying, exports  # noqa: PLC0415

    means, archive = _means(command), Path(file).resolve()
    if command.dry:
        record = exports.read(archive)
        full = copying.load_name(means, record, name)
        exports.verify(archive, record)
        command.would(f"make volume {full} of {archive}", volume=full, files=record.files)
        return
    done = copying.load(means, archive, name)
    console.say(f"volume {done.volume}: {done.files} files")
    command.result(asdict(done))


def _clone(command: Command, name: str, to: str) -> None:
    from synos_tasks.errors import SettingsError  # noqa: PLC0415
    from synos_tasks.maint import copying, unfinished, volumes  # noqa: PLC0415

    if not to:
        raise SettingsError("--clone needs a name for the new volume", hint="--clone NAME --to NEW")
    means = _means(command)
    if command.dry:
        volume, _ = copying.whole(means, name)
        full = volumes.new_name(command.settings, to)
        unfinished.refuse_existing(means.volumes, full)
        command.would(f"make volume {full} of volume {volume.name}", volume=full)
        return
    done = copying.clone(means, name, to)
    console.say(f"volume {done.volume}: {done.files} files")
    command.result(asdict(done))


def _archive(command: Command, older_than: str, keep_last: int, *, yes: bool) -> None:
    from synos_tasks.maint import archiving  # noqa: PLC0415
    from synos_tasks.maint.ages import seconds_of  # noqa: PLC0415
    from synos_tasks.maint.asking import confirm  # noqa: PLC0415

    means = _means(command)
    planned = archiving.plan(
        command.settings, older_than=seconds_of(older_than), keep_last=keep_last, now=means.now()
    )
    _show_planned(planned, "would archive" if command.dry else "to be archived:")
    amount = f"{len(planned.builds)} ISOs of {console.human_bytes(planned.bytes)}"
    if command.dry:
        _show_left(planned.left)
        command.would(
            f"archive {amount}",
            builds=[one.name for one in planned.builds],
            bytes=planned.bytes,
            left=[asdict(one) for one in planned.left],
        )
        return
    if planned.builds and not yes:
        confirm(
            f"{amount}. Archive them, and remove the originals?",
            nothing="nothing was archived",
        )
    done = archiving.archive(means, planned)
    _show_archived(command, planned, done)
    command.result(
        {
            "archived": [one.to_json() for one in done.archives],
            "left": [asdict(one) for one in done.left],
            "freed_bytes": done.freed_bytes,
        }
    )


def _show_planned(planned: Plan, words: str) -> None:
    for one in planned.builds:
        console.say(f"{words} {one.iso.name}: {console.human_bytes(one.bytes)}")


def _show_archived(command: Command, planned: Plan, done: Archived) -> None:
    _show_left(done.left)
    freed = console.human_bytes(max(0, done.freed_bytes))
    if done.archives:
        console.say(f"archived {len(done.archives)} ISOs; {command.settings.output_dir} takes {freed} less")
    elif planned.builds:
        console.say("nothing was archived")
    else:
        console.say("nothing to do: no ISO is old enough")


def _show_left(left: Sequence[Left]) -> None:
    for one in left:
        console.say(f"left alone: {one.name}: {one.why}")


def _list_archives(command: Command) -> None:
    from synos_tasks.maint import archiving  # noqa: PLC0415

    found = archiving.listing(_means(command))
    trouble = [archiving.trouble(command.settings, one) for one in found]
    rows = [
        [one.entry.name, one.entry.created[:10], *map(console.human_bytes, (one.entry.bytes, one.bytes)), why]
        for one, why in zip(found, trouble, strict=True)
    ]
    title = f"archives in {archiving.folder_of(command.settings)}"
    console.table(title, ["name", "archived (UTC)", "files", "archive", ""], rows)
    command.result(
        {"archives": [{**one.to_json(), "trouble": why} for one, why in zip(found, trouble, strict=True)]}
    )


def _restore(command: Command, name: str) -> None:
    from synos_tasks.maint import archiving  # noqa: PLC0415

    means = _means(command)
    if command.dry:
        entry = archiving.find(means, name).entry
        command.would(f"put {len(entry.files)} files of {entry.name} back", name=entry.name)
        return
    entry = archiving.restore(means, name).entry
    files = [str(command.settings.output_dir / file.name) for file in entry.files]
    console.say(f"put back: {files[0]}, and {len(files) - 1} files beside it; the archive stays")
    command.result({"name": entry.name, "files": files})


def _means(command: Command) -> Means:
    from synos_tasks.maint.means import Means  # noqa: PLC0415

    return Means(settings=command.settings, say=console.say)


def _count(option: str, text: str, what: str) -> int:
    """Read a number of things; raises SettingsError."""
    from synos_tasks.errors import SettingsError  # noqa: PLC0415

    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise SettingsError(
            f"--{option} {text} is no number of {what}", hint="a whole number, without a sign"
        )
    return int(text)


def _one_of(given: Mapping[str, str]) -> str:
    """Give the name of the option that was given, '' for none; raises SettingsError for two."""
    from synos_tasks.errors import SettingsError  # noqa: PLC0415

    chosen = [name for name, value in given.items() if value]
    if len(chosen) > 1:
        raise SettingsError(
            f"{' and '.join(f'--{name}' for name in chosen)} are two things", hint="one at a time"
        )
    return chosen[0] if chosen else ""


def _refuse_idle(given: Mapping[str, str], chosen: str, belong: Sequence[str]) -> None:
    """Raise SettingsError for an option that says nothing without another."""
    from synos_tasks.errors import SettingsError  # noqa: PLC0415

    for name, value in given.items():
        if value and chosen not in belong:
            raise SettingsError(
                f"--{name} says nothing here", hint=f"it belongs to {', '.join(f'--{one}' for one in belong)}"
            )


def _size(volume: Listed) -> str:
    if volume.alias_of:
        return "-"
    return "?" if volume.bytes is None else console.human_bytes(volume.bytes)


def _notes(volume: Listed) -> str:
    notes = [f"another name of {volume.alias_of}"] if volume.alias_of else []
    notes += ["unfinished: the next import or clone removes it"] if volume.unfinished else []
    return "; ".join(notes)
