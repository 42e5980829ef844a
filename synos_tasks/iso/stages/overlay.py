"""overlay: what the system says it is, then the files of a person, laid over the layers below without unpacking these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.errors import ProfileError
from synos_tasks.iso import distribution
from synos_tasks.iso.digests import is_executable
from synos_tasks.iso.inputs import copy as copy_file
from synos_tasks.iso.inputs import kind, walk
from synos_tasks.iso.root import within
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.layers import Listing, StageInputs
    from synos_tasks.iso.profile import Profile

OURS = "overlays/synos-base"
"""Under every profile's own overlays."""


def _folders(profile: Profile) -> tuple[str, ...]:
    return OURS, *profile.overlays


STAGE = StageSpec(
    order=40,
    fields=("name", "suite", "project", "title"),
    keys={"distribution": distribution.KEY},
    folders=_folders,
)


def make_files(inputs: StageInputs, lower: Listing, target: Path) -> None:
    """Lay the files out; later folders win. Raises ProfileError."""
    profile = inputs.context.profile
    for path, text in distribution.files(profile).items():
        lower.make_parents(target, path)
        (target / path).write_text(text)
    for name in _folders(profile):
        copy(inputs.context.find(name, folder=True), lower, target)


def copy(source: Path, lower: Listing, target: Path) -> None:
    """Copy a folder into the layer: modes from git (755 or 644), owner root, links kept.

    Raises ProfileError where a file or link would replace a folder, or a folder a file.
    """
    for path in walk(source):
        # an overlay before this one may have laid a link where this one has a folder
        laid = within(target, lower.behind_links(str(path.relative_to(source))))
        inside = str(laid.relative_to(target))
        is_folder = path.is_dir() and not path.is_symlink()
        there = kind(target / inside) or lower.kind(inside)
        if there and (there != "a folder" if is_folder else there == "a folder"):
            raise ProfileError(
                f"overlay {source.name}: /{inside} is {kind(path)}, in the root it is {there}",
                where=str(path),
                hint="an overlay adds and replaces files; a hook can remove folders",
            )
        lower.make_parents(target, inside)
        if is_folder:
            lower.make_folder(target, inside)
            continue
        (target / inside).unlink(missing_ok=True)
        if path.is_symlink():
            (target / inside).symlink_to(path.readlink())
        else:
            copy_file(path, target / inside)
            (target / inside).chmod(0o755 if is_executable(path) else 0o644)
