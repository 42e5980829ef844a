"""`inv build.diff`: what changed between two ISOs, or two locks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks import builder
from synos_tasks.build.containers import builder_spec
from synos_tasks.build.planning import lock_path, read_profile
from synos_tasks.engine.spec import Bind
from synos_tasks.errors import IsoNotFound, SettingsError
from synos_tasks.iso import lock as locks
from synos_tasks.iso.protocol import Compare, Compared

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from synos_tasks.build.planning import Context
    from synos_tasks.settings import Settings

LOCK_ENDING = ".lock.yaml"
KINDS = ("added", "removed", "changed")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What changed from one to the other.

    ``packages`` is None where an ISO has no manifest, and ``files`` for locks; see iso/compare.py for its fields.
    """

    packages: list[locks.Change] | None
    files: Mapping[str, Any] | None


def diff(context: Context, one: str, two: str) -> Difference:
    """Compare two ISOs or two locks; a profile's name stands for its lock. Raises SettingsError, IsoNotFound."""
    paths = [_find(context.settings, text) for text in (one, two)]
    are_locks = [path.name.endswith(LOCK_ENDING) for path in paths]
    if all(are_locks):
        before, after = (locks.load(path) for path in paths)
        if after is None:
            raise IsoNotFound("there is no such lock", where=str(paths[1]))
        return Difference(packages=locks.changes(before, after), files=None)
    if any(are_locks):
        raise SettingsError(
            "an ISO and a lock cannot be compared", where=f"{one} {two}", hint="give two of a kind"
        )
    old, new = (_packages(path, context.say) for path in paths)
    packages = None if old is None or new is None else locks.version_changes(old, new)
    return Difference(packages=packages, files=files_of(context, *paths))


def sections(found: Difference) -> list[tuple[str, list[str]]]:
    """Return what changed as titles and lines for people; nothing where nothing did."""
    files = found.files or {}
    shown = [("packages", [change.line for change in found.packages or ()])]
    for kind in KINDS:
        entries = [(path, " -> ".join(map(str, sizes))) for path, *sizes in files.get(kind, [])]
        shown.append((f"files {kind}", [f"  {path}  {sizes}" for path, sizes in entries]))
    one, two = files.get("sizes", (0, 0))
    shown.append(("size", [f"  {one} -> {two} bytes ({two - one:+})"] if one != two else []))
    return [(title, lines) for title, lines in shown if lines]


def files_of(context: Context, one: Path, two: Path) -> dict[str, Any]:
    """Compare two ISOs file by file, in a container without network; see iso/compare.py for the fields."""
    spec = builder_spec(
        context,
        network=False,
        store=None,
        packages_bytes=one.stat().st_size + two.stat().st_size,
        more=(Bind(source=one.parent, target="/one"), Bind(source=two.parent, target="/two")),
    )
    request = Compare(one=Path("/one", one.name), two=Path("/two", two.name))
    return dict(builder.ask(context, spec, request, Compared).result)


def _find(settings: Settings, text: str) -> Path:
    name = read_profile(settings, text).name if "@" in text else text
    for path in (Path(text), lock_path(settings, name), settings.output_dir / text):
        if path.is_file():
            return path.resolve()
    raise IsoNotFound(
        f"there is no {text}",
        where=str(path),
        hint="give an ISO, a lock, a profile that has a lock, or the name of an ISO in dist",
    )


def _packages(iso: Path, say: Callable[[str], None]) -> dict[str, tuple[str, bool]] | None:
    """Return version by package from the manifest of an ISO; None, with a warning, where it cannot be read."""
    try:
        manifest = json.loads(Path(f"{iso}.manifest.json").read_text())
        return {package["name"]: (package["version"], False) for package in manifest["packages"]}
    except (OSError, ValueError, KeyError, TypeError):
        say(f"warning: {iso.name} has no manifest that can be read: packages are not compared, files are")
        return None
