"""Old ISOs into dist/archive, and back. An original goes only when its archive was read back from the disk and is right.

Killed at any moment nothing is lost, and the next `inv maint.archive` goes on: an archive has its name when it is
whole, and of a set of files the ISO goes first, so that what is left of one is known by the index.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.backups import CREATED
from synos_tasks.errors import BackupDamaged, SettingsError
from synos_tasks.host.locks import held
from synos_tasks.iso.publish import staging
from synos_tasks.iso.scratch import sync
from synos_tasks.maint import index as indexes
from synos_tasks.maint import isos, packing
from synos_tasks.maint.files import (
    is_regular,
    named_errors,
    read_chunks,
    settle,
    summed,
    sweep,
    write_durably,
)
from synos_tasks.maint.index import Archive, Entry, File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from synos_tasks.maint.isos import Build, Left
    from synos_tasks.maint.means import Means
    from synos_tasks.settings import Settings

LOCK = ".lock"
BUILD = "inv build.image makes it"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be archived, oldest first, and what looks like an ISO of ours and is none. Changes nothing."""

    builds: tuple[Build, ...]
    left: tuple[Left, ...]
    older_than: float
    """In seconds; with the next, what it was made by."""
    keep_last: int

    @property
    def bytes(self) -> int:
        """What they take in the output folder."""
        return sum(one.bytes for one in self.builds)


@dataclass(frozen=True, kw_only=True)
class Archived:
    """What was done. ``freed_bytes`` is what the output folder takes less, archives counted."""

    archives: tuple[Archive, ...]
    left: tuple[Left, ...]
    freed_bytes: int


def folder_of(settings: Settings) -> Path:
    """Where archives are."""
    return settings.output_dir / "archive"


def plan(settings: Settings, *, older_than: float, keep_last: int, now: float) -> Plan:
    """Say what is to be archived; times in seconds. Raises SettingsError where none of a profile would be kept."""
    output = settings.output_dir
    found, left = isos.builds(output)
    chosen = isos.old(found, older_than=older_than, keep_last=keep_last, now=now, linked=isos.linked(output))
    return Plan(builds=tuple(chosen), left=tuple(left), older_than=older_than, keep_last=keep_last)


def archive(means: Means, planned: Plan) -> Archived:
    """Archive what a plan says, one ISO after the other, and finish what a killed command had begun.

    It is planned again once no other command archives: what was not planned before stays, and so does what changed.
    An ISO that is not what its manifest says stays too. Raises BackupDamaged where an archive cannot be read back,
    DiskFull, OutputNotWritable, or as images/building.py does; then the originals are where they were.
    """
    folder, output = folder_of(means.settings), means.settings.output_dir
    if not planned.builds and not folder.is_dir():
        return Archived(archives=(), left=planned.left, freed_bytes=0)
    done = []
    with named_errors(folder, "the archive"):
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / LOCK, lambda: means.say("waiting for another inv maint.archive")):
            sweep(folder)
            before = _taken(output) + _taken(folder)
            known = _known(means, save=True, build=True)
            _finish(means, known)
            builds, left = _again(means, planned, known)
            for one in builds:
                try:
                    entry = _entry(one, means.now())
                except ValueError as error:
                    left.append(isos.Left(name=one.iso.name, why=str(error)))
                    continue
                done.append(_archived(means, known, one, entry))
            freed = before - _taken(output) - _taken(folder)
    return Archived(archives=tuple(done), left=tuple(left), freed_bytes=freed)


def _again(means: Means, planned: Plan, known: Mapping[str, Archive]) -> tuple[list[Build], list[Left]]:
    """Give what of a plan is still to be done, and what is left alone."""
    now = plan(means.settings, older_than=planned.older_than, keep_last=planned.keep_last, now=means.now())
    left, told = list(now.left), {one.name for one in now.left}
    for one in planned.builds:
        if one not in now.builds and one.iso.name not in told:
            archived = one.name in known and not os.path.lexists(one.iso)
            why = "another command archived it" if archived else "it is not as it was when this was planned"
            left.append(isos.Left(name=one.iso.name, why=why))
    return [one for one in now.builds if one in planned.builds], left


def listing(means: Means) -> list[Archive]:
    """Tell what archives there are, by name; changes nothing. A damaged index is made anew in memory.

    An archive that is not in the index is asked itself, where no image must be built for that.
    """
    known = _known(means, save=False, build=False)
    return [known[name] for name in sorted(known)]


def trouble(settings: Settings, archive: Archive) -> str:
    """Say what can be seen to be wrong with an archive without reading it; '' for nothing."""
    path = folder_of(settings) / archive.file
    if not is_regular(path):
        return "it is not there"
    size = path.stat().st_size
    return "" if size == archive.bytes else f"it has {size} bytes, not {archive.bytes}"


def find(means: Means, name: str, *, build: bool = False) -> Archive:
    """Give the archive of an ISO, by its name with or without ``synos-`` and ending; raises SettingsError.

    ``build``: the image that looks into archives which are not in the index may be built.
    """
    wanted = name.removesuffix(indexes.SUFFIX).removesuffix(".iso")
    names, folder = (wanted, f"synos-{wanted}"), folder_of(means.settings)
    known = _known(means, save=False, build=build)
    for one in names:
        if one in known:
            return known[one]
    unread = [path for path in _strange(folder, known) if indexes.name_of(path) in names]
    if unread and not means.can_start():
        raise SettingsError(
            f"the archive {name!r} is not in the index, and cannot be looked into",
            where=str(unread[0]),
            why="the builder image is not there",
            hint=BUILD,
        )
    raise SettingsError(
        f"there is no archive {name!r}",
        where=str(folder),
        hint=f"there are: {', '.join(sorted(known))}" if known else "nothing was archived yet",
    )


def restore(means: Means, name: str) -> Archive:
    """Put the files of an archive back into the output folder; the archive stays.

    Raises SettingsError where there is none, or another file is in the way, and BackupDamaged where it is not what
    the index says; then nothing was put back.
    """
    output = means.settings.output_dir
    chosen = find(means, name, build=True)
    with (
        named_errors(output, "what was archived"),
        held(folder_of(means.settings) / LOCK, lambda: means.say("waiting for another inv maint.archive")),
    ):
        _refuse_others(output, chosen.entry)
        with staging(output) as fresh:
            packing.read(means, _path(means, chosen.entry), chosen, _writer(fresh, chosen.entry))
            for file in reversed(chosen.entry.files):  # the ISO last: who sees it sees the rest
                _put(fresh / file.name, output, file)
            sync(output)
    return chosen


def _archived(means: Means, known: dict[str, Archive], build: Build, entry: Entry) -> Archive:
    """Have an archive of a build, verified and in the index, and only then remove the build."""
    there = known.get(entry.name)
    made = (
        there
        if there and _is_good(means, there, entry)
        else packing.write(means, build.iso.parent, entry, _path(means, entry))
    )
    known[entry.name] = made
    _save(means, known)
    _remove(means.settings.output_dir, made.entry)
    means.say(f"archived {build.iso.name}")
    return made


def _is_good(means: Means, there: Archive, entry: Entry) -> bool:
    """Tell whether an archive of an earlier time has these very files, whole."""
    if there.entry.files != entry.files:
        return False
    try:
        packing.read(means, _path(means, entry), there)
    except BackupDamaged as error:
        means.say(f"warning: {error.what} ({error.why}); it is made anew of the ISO")
        return False
    return True


def _entry(build: Build, now: float) -> Entry:
    """Read a build's files through; raises ValueError where the ISO is not what its manifest says."""
    files = []
    for path in build.files:
        status, total = path.stat(), summed(read_chunks(path))
        files.append(
            File(name=path.name, bytes=total.bytes, sha256=total.sha256, mtime_ns=status.st_mtime_ns)
        )
    if files[0].sha256 != build.sha256:
        raise ValueError("its SHA-256 is not what its manifest says: it is damaged")
    return Entry(
        name=build.name,
        profile=build.profile,
        build_id=build.build_id,
        created=dt.datetime.fromtimestamp(now, dt.UTC).strftime(CREATED),
        files=tuple(files),
    )


def _remove(output: Path, entry: Entry) -> None:
    """Remove the originals that are, byte for byte, in a verified archive; the ISO first, the manifest last."""
    for file in entry.files:
        path = output / file.name
        if _is_same(path, file):
            path.unlink()
    sync(output)


def _finish(means: Means, known: dict[str, Archive]) -> None:
    """Remove what a killed command has left of a set whose ISO it had removed already."""
    output = means.settings.output_dir
    for one in known.values():
        iso, *beside = one.entry.files
        rest = [file for file in beside if _is_same(output / file.name, file)]
        if not rest or os.path.lexists(output / iso.name):
            continue
        try:
            packing.read(means, _path(means, one.entry), one)
        except BackupDamaged as error:
            means.say(f"warning: {error.what}: {error.why}")
            continue
        _remove(output, one.entry)


def _is_same(path: Path, file: File) -> bool:
    if not is_regular(path) or path.stat().st_size != file.bytes:
        return False
    return summed(read_chunks(path)).same_as(file.bytes, file.sha256)


def _refuse_others(output: Path, entry: Entry) -> None:
    others = [
        file.name
        for file in entry.files
        if os.path.lexists(output / file.name) and not _is_same(output / file.name, file)
    ]
    if others:
        raise SettingsError(
            "another file is where one was to be put back: nothing was touched",
            where="\n".join(str(output / name) for name in others),
            hint="move it away first",
        )


def _writer(folder: Path, entry: Entry) -> Callable[[str, Iterable[bytes]], None]:
    times = {file.name: file.mtime_ns for file in entry.files}

    def write(name: str, parts: Iterable[bytes]) -> None:
        with (folder / name).open("xb") as stream:
            for part in parts:
                stream.write(part)
            settle(stream)
        os.utime(folder / name, ns=(times[name], times[name]))

    return write


def _put(fresh: Path, output: Path, file: File) -> None:
    """Give a file its place, unless it is there already."""
    if not os.path.lexists(output / file.name):
        fresh.rename(output / file.name)


def _known(means: Means, *, save: bool, build: bool) -> dict[str, Archive]:
    """Read the index; what it does not know of the archives that are there, they are asked themselves.

    Without ``build`` only where no image is to be built for that.
    """
    folder = folder_of(means.settings)
    path = folder / indexes.FILE
    known: dict[str, Archive] = {}
    damaged = False
    try:
        known = indexes.read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RecursionError) as error:
        damaged = True
        means.say(f"warning: {path} is damaged ({error}); it is made anew of the archives")
    strange = _strange(folder, known)
    if strange and not build and not means.can_start():
        names = ", ".join(map(indexes.name_of, strange))
        means.say(f"warning: {len(strange)} archives are not in {path}: {names}")
        means.say(f"the builder image, which would look into them, is not there; {BUILD}")
        return known
    for one in strange:
        try:
            known[indexes.name_of(one)] = packing.ask(means, one)
        except (ValueError, OSError) as error:
            means.say(f"warning: {one} is no archive of ours, or damaged: {error}")
    if save and (strange or damaged):
        _save(means, known)
    return known


def _strange(folder: Path, known: Mapping[str, Archive]) -> list[Path]:
    """Give the archives that an index does not know."""
    return [one for one in sorted(folder.glob(f"*{indexes.SUFFIX}")) if indexes.name_of(one) not in known]


def _save(means: Means, known: dict[str, Archive]) -> None:
    write_durably(folder_of(means.settings) / indexes.FILE, indexes.text_of(known.values()))


def _path(means: Means, entry: Entry) -> Path:
    return folder_of(means.settings) / f"{entry.name}{indexes.SUFFIX}"


def _taken(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.iterdir() if is_regular(path))
