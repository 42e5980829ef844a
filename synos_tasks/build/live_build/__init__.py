"""Convert a live-build configuration into a profile: tables.yaml says what becomes what. No script of it is run."""

from __future__ import annotations

import os
import re
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.build.live_build import files, options, script
from synos_tasks.build.live_build.draft import Draft, Left, tables
from synos_tasks.errors import ProfileError, SettingsError, SynosError, WouldOverwrite, printable, writing
from synos_tasks.iso import inputs, profile
from synos_tasks.iso.scratch import scratch
from synos_tasks.project import fitting_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synos_tasks.settings import Settings

MOST_FILES = 100_000
MOST_ALIKE = 3
STOCK = "/usr/share/live/build/"
"""Where live-build's own hooks are; `lb config` makes links to them."""


@dataclass(frozen=True)
class Imported:
    """A profile that was made, and all that is not in it."""

    profile: str
    text: str
    files: int
    left: tuple[Left, ...]


def import_folder(settings: Settings, folder: Path, name: str = "", *, dry: bool = False) -> Imported:
    """Write the profile of a live-build configuration, with its files, into docker/build; nothing of it when dry.

    Raises SettingsError where there is none, WouldOverwrite where the name is taken, OutputNotWritable, and
    ProfileError where the folder cannot be read or leads elsewhere.
    """
    name = name or fitting_name(Path(os.path.realpath(folder)).name)
    if not (folder / "config").is_dir() and not (folder / "auto/config").is_file():
        hint = "give the folder that has config/ and auto/config"
        raise SettingsError("there is no live-build configuration", where=str(folder), hint=hint)
    if not re.fullmatch(profile.NAME, name):
        hint = "--name NAME, of lower-case letters, digits and -"
        raise SettingsError(f"{name[:80]!r} is no name of a profile", where=str(folder), hint=hint)
    draft, target = read(Path(os.path.realpath(folder)), name), settings.project.build_data
    tops = [*dict.fromkeys(_top(path, name) for path in draft.files), f"profiles/{name}.yaml"]
    for path in tops:
        if os.path.lexists(target / path):
            hint = "choose another name with --name, or remove it"
            raise WouldOverwrite(f"docker/build/{path} is there", where=str(target / path), hint=hint)
    with writing("the profile cannot be written", target), scratch(target, ".import-") as parent:
        staged = parent / "docker/build"
        _copy(draft, staged)
        text = _fit(draft, staged)
        for path in [] if dry else tops:  # the profile last
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (staged / path).rename(target / path)
    # names of files may have control characters
    left = tuple(Left(*(printable(part).replace("\n", " ") for part in astuple(one))) for one in draft.left)
    return Imported(name, text, len(draft.files), left)


def _top(path: str, name: str) -> str:
    """Return the folder of the profile's own that a file is in, as overlays/NAME."""
    first, second, *_ = path.split("/")
    return f"{first}/{second}" if second.startswith(name) else path


def read(folder: Path, name: str) -> Draft:
    """Read a configuration, without writing anything."""
    draft = Draft(folder, name)
    draft.set("description", f"Imported from live-build: {name}", "the folder's name")
    rules = [(re.compile(rule["path"], re.DOTALL), rule) for rule in tables()["files"]]
    found: list[tuple[Path, str, re.Match[str], dict[str, Any]]] = []
    for path in (one for top in ("config", "auto") for one in _walk(folder / top, folder)):
        where = str(path.relative_to(folder))
        match, rule = next((match, rule) for regex, rule in rules if (match := regex.fullmatch(where)))
        is_content = rule.get("as") in {"overlay", "iso_file"}
        if "as" in rule and not is_content:
            _refuse_outside(path, where, folder)
        if is_content or not path.is_dir():
            found.append((path, where, match, rule))
        if len(found) > MOST_FILES:
            hint = "`lb clean` removes what live-build left"
            raise ProfileError(f"there are more than {MOST_FILES} files", where=str(folder), hint=hint)
    found.sort(key=lambda one: (one[1] == "auto/config", "_before_" not in one[1], "/hooks/live/" in one[1]))
    draft.options |= {name: (value, "live-build's default") for name, value in tables()["assumed"].items()}
    for path, where, _, rule in found:
        if rule.get("as") == "options":
            said = script.script if where == "auto/config" else script.assignments
            draft.options |= {
                one: (value, at)
                for one, value, at in said(draft.text(path, script.LARGEST), where, draft.leave)
            }
    options.convert(draft)
    for path, where, match, rule in found:
        if convert := files.CONVERT.get(rule.get("as", "")):
            convert(draft, path, where, match)
        elif "why" in rule:
            draft.left.append(Left(where, path.name, rule["why"], rule.get("do", "")))
    files.repositories(draft)
    _complete(draft)
    draft.left = _together(draft.left)
    return draft


def _together(left: list[Left]) -> list[Left]:
    """Let one entry stand for many files of a folder that are left for the same reason."""
    found: dict[tuple[str, str], list[Left]] = {}
    for one in left:
        found.setdefault(("/".join(one.where.split("/")[:3]), one.why), []).append(one)
    return [
        one
        for (folder, _), group in found.items()
        for one in (
            group
            if len(group) <= MOST_ALIKE
            else [replace(group[0], where=folder, what=f"{len(group)} files")]
        )
    ]


def _walk(top: Path, folder: Path) -> Iterator[Path]:
    """Yield what is below a folder, and below links to folders where they are no content."""
    for path in inputs.walk(top) if inputs.kind(top) == "a folder" else ():
        real = Path(os.path.realpath(path))
        if path.is_symlink() and "includes" not in path.relative_to(folder).parts[1] and real.is_dir():
            yield from (
                path / one.relative_to(real) for one in inputs.walk(real) if real.is_relative_to(folder)
            )
        elif not (path.is_symlink() and str(path.readlink()).startswith(STOCK)):
            yield path  # the engine does by itself what live-build's own hooks do


def _refuse_outside(path: Path, where: str, folder: Path) -> None:
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(folder):
        hint = "copy what it leads to in its place"
        raise ProfileError(f"{where} leads out of the folder", where=str(path), why=f"to {real}", hint=hint)


def _complete(draft: Draft) -> None:
    """Add what live-build and live-config do although nothing says it."""
    table = tables()
    needed = dict.fromkeys(table["packages"]["needed"].split(), "needed for a live system")
    if "--variant=minbase" not in draft.option("debootstrap-options"):
        needed |= dict.fromkeys(table["packages"]["important"].split(), "debootstrap's default")
    for name, origin in needed.items():
        if not draft.lines.pop(("packages", f"- -{name}"), None):
            draft.add("packages", name, origin)
    for path, value in table["defaults"].items():
        key, _, part = path.partition(".")
        if (key, part) not in draft.lines:
            draft.set(path, value, "live-config's default")
    for entry in [one for one in draft.lines if one[0] == "debconf"]:
        if ("packages", f"- {entry[1].split()[1]}") not in draft.lines:
            answer, where = draft.lines.pop(entry)
            draft.leave(where, answer, "asks-nothing")
    user = draft.lines["users", "name"][0]
    draft.leave("live-config's default", f"the password `live` of {user}", "password")
    if ("suite", "") not in draft.lines:
        draft.leave("live-build's default", "the suite", "suite")


def _copy(draft: Draft, staged: Path) -> None:
    (staged / "profiles").mkdir(parents=True)
    for path, source in draft.files.items():
        target = staged / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink() and path.startswith(("overlays/", "iso/")):
            target.symlink_to(source.readlink())
        elif source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            inputs.copy(os.path.realpath(source), target)
            target.chmod(0o755 if target.stat().st_mode & 0o111 else 0o644)


def _fit(draft: Draft, staged: Path) -> str:
    """Write the profile so that it loads: list what is wrong in it, and take that out. Return its text."""
    file = staged / f"profiles/{draft.name}.yaml"
    known = profile.keys()
    for entry in [one for one in draft.lines if one[0] not in known]:
        value, where = draft.lines.pop(entry)
        draft.left.append(Left(where, f"{entry[0]}: {value}", f"profiles have no key {entry[0]!r}"))
    while True:
        lines, entries = draft.render()
        text = "\n".join(lines) + "\n"
        file.write_text(text)
        try:
            profile.load(file.parent, draft.name)
        except ProfileError as error:
            wrong: dict[tuple[str, str], SynosError] = {}
            for one in (error, *error.others):
                place = re.match(rf"{re.escape(str(file))}:(\d+):", f"{one.where}:")
                wrong |= dict.fromkeys(entries[int(place[1]) - 1] if place else [], one)
            if not wrong:
                raise ProfileError(
                    error.what, where=str(draft.folder), why=error.why, hint=error.hint
                ) from error
            for entry, one in wrong.items():
                value, where = draft.lines.pop(entry)
                draft.left.append(Left(where, f"{entry[0]}: {value}", one.what, one.hint))
        else:
            return text
